"""docs/faults.md, made of what was observed."""

import faults_collectd
import faults_nginx
from behaviours import REFUSALS, Behaviour
from harness import ROOT

PATH = ROOT / "docs" / "faults.md"

_TEXT = """\
# When the API misbehaves

What nginx and collectd make of each behaviour of an upstream, as the tests have observed it
(`tests/integration/test_faults.py`; `make faults` writes this page, and `make check` fails where it is not true).
`make faults ROW=fin_in_body` repeats the row of that name alone, and compares it with this page.

The columns of **nginx** are what a client gets whose entry of the cache is *absent*, *fresh* or *stale* (with
`aisearch_use_stale error=1h`) when the upstream has begun to misbehave, and what {waiters} clients get who wait for one
entry at the same time: the status, `X-Aisearch-Cache`, and the fault that the one line in the error log names. An entry
that was absent is a `MISS` and one that was stale is `EXPIRED`, unless the old answer hides the fault, as `STALE`. A
fresh one is a `HIT`, and nothing is asked for. Of refusals, a column more is about an account with *two credentials*, of
which the first is refused.

The columns of **collectd** are what it reports of a job that it has *never* read before, and of one that it *has*: the
job's values (read); those of the last answer, until that is old (kept); or only how old it is (age). Then comes which of
its counters of errors has grown. The log names the same cause, once.

Also observed for each cell: the answer comes within `timeout`; nothing of what misbehaves gets to clients, into the
cache or into values; there is one log line for a fault, and none for an answer; and the first look-up after the
recovery gets the new answer, at once or as soon as the upstream wants to be asked again. An upstream that fails
verification gets no request, and neither does whatever a redirect leads to.
"""

_HEAD = """
## {title}

| row | the API | nginx: absent | fresh | stale | waiters |{more} collectd: never read | read before |
| --- | --- | --- | --- | --- | --- |{rule} --- | --- |
"""


Cells = dict[tuple[str, str], faults_nginx.Cell] | dict[tuple[str, str], faults_collectd.Cell]


def render(groups: dict[str, list[Behaviour]], nginx: Cells, collectd: Cells) -> str:
    text = _TEXT.format(waiters=faults_nginx.WAITERS)
    for title, behaviours in groups.items():
        slots = title == REFUSALS
        text += _HEAD.format(title=title, more=" two credentials |" * slots, rule=" --- |" * slots)
        text += "".join(row(behaviour, nginx, collectd) + "\n" for behaviour in behaviours)
    return text


def row(behaviour: Behaviour, nginx: Cells, collectd: Cells) -> str:
    cells = [*(nginx[behaviour.name, state].text() for state in faults_nginx.states(behaviour)),
             *(collectd[behaviour.name, state].text() for state in faults_collectd.STATES)]
    assert all(cells)
    return f"| {' | '.join([f'`{behaviour.name}`', behaviour.text, *cells])} |"
