"""Generates docs/faults.md from the results of test_faults.py."""

import faults_collectd
import faults_nginx
from behaviours import REFUSALS, Behaviour
from harness import ROOT

PATH = ROOT / "docs" / "faults.md"

_TEXT = """\
# When the API misbehaves

This page shows how nginx and collectd handle each misbehavior of an upstream, as observed by the tests
(`tests/integration/test_faults.py`). `make faults` generates the page, and `make check` fails if it is not up to date.
`make faults ROW=fin_in_body` repeats the row of that name and compares the result with this page.

The columns of **nginx** show the response to a client if its entry in the cache is *absent*, *fresh* or *stale* (with
`aisearch_use_stale error=1h`) when the upstream starts to misbehave. The column *waiters* shows the response to
{waiters} clients that wait for one entry at the same time. Each cell contains the status, `X-Aisearch-Cache`, and the
fault, which is logged once. An absent entry results in `MISS`. A stale entry results in `STALE` if the stale response is
served in spite of the fault, and otherwise in `EXPIRED`. A fresh entry results in `HIT`, and the upstream is not called.
For rejections, an additional column shows an account with *two credentials*, the first of which is rejected.

The columns of **collectd** show the values of a job that collectd has *never read* or has *read before*: the values of
the new response (read), the values of the last response until it is too old (kept), or only the age (age). They are
followed by the error counter that has increased. The same fault is logged once.

The tests also verify the following for each cell: The response arrives within `timeout`. No data of the misbehaving
upstream reaches clients, the cache or values. The log contains one message for a fault, and none for a valid response.
The first lookup after the recovery gets the new response, immediately or as soon as the upstream accepts calls again.
An upstream whose verification fails gets no request, and neither does the target of a redirect.
"""

_HEAD = """
## {title}

| row | behavior of the API | nginx: absent | fresh | stale | waiters |{more} collectd: never read | read before |
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
