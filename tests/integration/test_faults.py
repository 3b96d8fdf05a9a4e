"""The fault matrix in docs/faults.md: how nginx and collectd handle each misbehavior of an upstream."""

import os
import re

import pytest

import faults_collectd
import faults_nginx
import faults_table
from behaviours import NAMES, REFUSALS, Behaviour, groups
from faults_nginx import Cell
from harness import SLOWNESS, net, stall, temp_dir

# The rows of docs/faults.md to test. "make faults ROW=NAME" selects a single row.
ROWS = os.environ.get("AIS_FAULTS_ROWS", "").split() or NAMES
if unknown := sorted(set(ROWS) - set(NAMES)):
    pytest.exit(f"docs/faults.md has no row {', '.join(unknown)}", returncode=2)

# Additional response time on a busy machine, in seconds.
SLACK = 5

REFUSED = [behaviour.name for behaviour in groups("http://trap.invalid")[REFUSALS] if behaviour.name in ROWS]


@pytest.fixture(scope="module")
def trap():
    """The URL of a server that must not get any request."""
    trapped = []
    with stall.Server(trapped.append) as (host, port):
        yield f"http://{host}:{port}"
    assert trapped == []


@pytest.fixture(scope="module")
def behaviours(trap):
    return [behaviour for group in groups(trap).values() for behaviour in group if behaviour.name in ROWS]


@pytest.fixture(scope="module")
def nginx_cells(certificates, behaviours):
    with temp_dir() as tmp:
        return faults_nginx.run(tmp, certificates, behaviours)


@pytest.fixture(scope="module")
def collectd_cells(certificates, behaviours):
    with temp_dir() as tmp:
        return faults_collectd.run(tmp, certificates, behaviours)


# ---- nginx ----------------------------------------------------------------------------------------------------------

@pytest.mark.parametrize("name, state", [*((name, state) for state in faults_nginx.STATES for name in ROWS),
                                         *((name, faults_nginx.SLOTS) for name in REFUSED)])
def test_nginx(nginx_cells, name, state):
    cell = nginx_cells[name, state]
    for response in cell.ill:
        assert response.elapsed < (cell.behaviour.timeout + SLACK) * SLOWNESS
    CHECKS[state](cell, cell.behaviour)
    for response in (*cell.ill, cell.again):
        assert "poison" not in repr(response)
    if cell.behaviour.unverified:
        assert cell.asked == 0
    check_recovery(cell)


def check_absent(cell: Cell, behaviour: Behaviour) -> None:
    [response] = cell.ill
    assert (response.status, response.header("X-Aisearch-Cache")) == (behaviour.status, "MISS")
    check_answer(cell, behaviour, response)
    assert cell.again.header("X-Aisearch-Cache") == remembered(behaviour)
    assert (cell.again.status, cell.again.body) == (response.status, response.body)


def check_slots(cell: Cell, behaviour: Behaviour) -> None:
    """The second credential is used if the first one is rejected, and only then."""
    if behaviour.cause != "credential":
        check_absent(cell, behaviour)
        return
    for response, cache in zip((*cell.ill, cell.again), ("MISS", "HIT")):
        assert (response.status, response.header("X-Aisearch-Cache")) == (200, cache)
        assert response.body == cell.body(1)
    assert [line.count('; trying "') for line in cell.lines] == [1]


def check_fresh(cell: Cell, _behaviour: Behaviour) -> None:
    """The response comes from the cache, and the upstream gets no request."""
    for response in (*cell.ill, cell.again):
        assert (response.status, response.header("X-Aisearch-Cache")) == (200, "HIT")
        assert response.body == cell.before.body == cell.body(1)
    assert (cell.asked, cell.lines) == (0, [])


def check_stale(cell: Cell, behaviour: Behaviour) -> None:
    """During a fault, the stale response is served. A valid response, such as a 404, replaces it."""
    [response] = cell.ill
    if behaviour.cause is None:
        assert (response.status, response.header("X-Aisearch-Cache")) == (behaviour.status, "EXPIRED")
        check_answer(cell, behaviour, response)
        return
    for response in (*cell.ill, cell.again):
        assert (response.status, response.header("X-Aisearch-Cache")) == (200, "STALE")
        assert response.body == cell.before.body == cell.body(1)
    check_line(cell, behaviour)


def check_waiters(cell: Cell, behaviour: Behaviour) -> None:
    assert len(cell.ill) == faults_nginx.WAITERS
    for response in cell.ill:
        assert (response.status, response.body) == (behaviour.status, cell.ill[0].body)
        check_answer(cell, behaviour, response)
    caches = sorted(response.header("X-Aisearch-Cache") for response in cell.ill)
    if faults_nginx.can_be_held(behaviour):
        assert caches == ["COALESCED"] * (len(caches) - 1) + ["MISS"]
    else:
        assert set(caches) <= {"COALESCED", "MISS", "HIT"} and caches.count("MISS") == 1
    assert cell.again.header("X-Aisearch-Cache") == remembered(behaviour)
    assert (cell.again.status, cell.again.body) == (behaviour.status, cell.ill[0].body)


CHECKS = {"absent": check_absent, "fresh": check_fresh, "stale": check_stale, "waiters": check_waiters,
          faults_nginx.SLOTS: check_slots}

def remembered(behaviour: Behaviour) -> str:
    """The cache status of the next lookup. A rejected credential is not cached in the entry."""
    return "MISS" if behaviour.cause == "credential" else "HIT"


def check_answer(cell: Cell, behaviour: Behaviour, response: net.Response) -> None:
    """Checks the response to a client that has waited for the upstream."""
    check_line(cell, behaviour)
    assert response.header("Content-Type") == "application/json"
    if behaviour.status == 200:
        assert response.json()["result"]["id"] == cell.name
    elif behaviour.words is not None:
        assert response.body == behaviour.words.encode()
    else:
        answer = response.json()
        message = answer["errors"][0].pop("message")
        assert answer == {"success": False, "errors": [{"code": behaviour.status}], "messages": [], "result": None}
        assert re.fullmatch("[A-Za-z ]+", message)
    if behaviour.cause is not None:
        assert response.header("Cache-Control") == "no-store"
    if behaviour.status in (502, 503, 504):
        # rounded up; the clock of one worker may be slightly behind that of another
        assert int(response.header("Retry-After")) in range(1, max(behaviour.patience, faults_nginx.MEMORY) + 2)


def check_line(cell: Cell, behaviour: Behaviour) -> None:
    """The cause of a fault is logged once."""
    assert cell.cause() in (behaviour.causes() or [None])
    assert len(cell.lines) == (0 if behaviour.cause is None else 1), cell.lines


def check_recovery(cell: Cell) -> None:
    if cell.closed is not None and cell.state != faults_nginx.SLOTS:
        assert (cell.closed.status, cell.closed.body) == (cell.again.status, cell.again.body)
    assert cell.after.status == 200
    assert cell.after.body == cell.body(1 if cell.state == "fresh" else 2)
    kept = cell.state in ("stale", faults_nginx.SLOTS) or remembered(cell.behaviour) == "HIT"
    assert cell.after.header("X-Aisearch-Cache") == ("HIT" if cell.state == "fresh" else "EXPIRED" if kept else "MISS")
    assert cell.later == []


# ---- collectd -------------------------------------------------------------------------------------------------------

# The remaining values of a job that cannot be read: the age of the last response, and its values until it is too old.
LEFT = {"new": {"duration-since_read"}, "known": {"duration-since_read", "gauge-state", "duration-job"}}

GOOD_NEWS = {False: "can be read again.", True: "The API accepts the credential again."}


@pytest.mark.parametrize("state", faults_collectd.STATES)
@pytest.mark.parametrize("name", ROWS)
def test_collectd(collectd_cells, name, state):
    cell = collectd_cells[name, state]
    behaviour = cell.behaviour
    if behaviour.status == 200:
        assert cell.is_read(cell.ill)
        assert cell.lines == cell.later == []
    else:
        assert set(cell.values(cell.ill)) == LEFT[state]
        # (the log quotes the API's own message about a rejection)
        says_no = behaviour.cause in (None, "refused")
        causes = ["refused"] if says_no else behaviour.causes(in_haste=True)
        late = cell.may_be_late & set(cell.causes())
        errors, logged = cell.errors(cell.ill) - late, set(cell.causes()) - late
        assert errors and errors <= set(causes)
        assert logged and logged <= set([f"the API returns {behaviour.status}"] if says_no else causes)
        assert cell.later[-1].endswith(GOOD_NEWS[behaviour.cause == "credential"]), cell.later
        if len(causes) <= 1 and not late:
            assert len(cell.lines) == len(cell.later) == 1, (cell.lines, cell.later)
    if behaviour.unverified:
        assert cell.asked == 0
    if behaviour.patience:
        assert LEFT["new"] <= set(cell.values(cell.closed)) <= LEFT[state]
    assert cell.is_read(cell.after)
    assert cell.states == {1.0}
    assert cell.longest < 3


# ---- the table ------------------------------------------------------------------------------------------------------

def test_table(nginx_cells, collectd_cells, behaviours, trap):
    """docs/faults.md matches the results of these tests. "make faults" writes it."""
    page = faults_table.PATH
    if ROWS != NAMES:
        rows = [faults_table.row(behaviour, nginx_cells, collectd_cells) for behaviour in behaviours]
        print(*rows, sep="\n")
        assert [row for row in rows if row not in page.read_text(encoding="utf-8").splitlines()] == []
        return
    text = faults_table.render(groups(trap), nginx_cells, collectd_cells)
    if os.environ.get("AIS_WRITE_FAULTS"):
        page.write_text(text, encoding="utf-8")
    assert page.read_text(encoding="utf-8") == text, "if the new behavior is intended, run make faults"
