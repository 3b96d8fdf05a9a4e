"""The fault matrix: whatever an upstream does, to whatever entry, in nginx and in collectd. docs/faults.md shows it."""

import re

import pytest

import faults_nginx
from behaviours import NAMES, Behaviour, behaviours
from faults_nginx import STATES, Cell
from harness import SLOWNESS, net, stall, temp_dir

# What a busy machine may add to the time that an answer takes, in seconds.
SLACK = 5


@pytest.fixture(scope="module")
def trap():
    """Where no request may ever go."""
    trapped = []
    with stall.Server(trapped.append) as (host, port):
        yield f"http://{host}:{port}"
    assert trapped == []


@pytest.fixture(scope="module")
def nginx_cells(certificates, trap):
    with temp_dir() as tmp:
        yield faults_nginx.run(tmp, certificates, behaviours(trap))


@pytest.mark.parametrize("state", STATES)
@pytest.mark.parametrize("name", NAMES)
def test_nginx(nginx_cells, name, state):
    cell = nginx_cells[name, state]
    for response in cell.ill:
        assert response.elapsed < (cell.behaviour.timeout + SLACK) * SLOWNESS
    CHECKS[state](cell, cell.behaviour)
    for response in (*cell.ill, cell.again):
        assert "poison" not in repr(response)
    check_recovery(cell)


def check_absent(cell: Cell, behaviour: Behaviour) -> None:
    [response] = cell.ill
    assert (response.status, response.header("X-Aisearch-Cache")) == (behaviour.status, "MISS")
    check_answer(cell, behaviour, response)
    assert cell.again.header("X-Aisearch-Cache") == remembered(behaviour)
    assert (cell.again.status, cell.again.body) == (response.status, response.body)


def check_fresh(cell: Cell, _behaviour: Behaviour) -> None:
    """Nothing is asked for."""
    for response in (*cell.ill, cell.again):
        assert (response.status, response.header("X-Aisearch-Cache")) == (200, "HIT")
        assert response.body == cell.before.body == cell.body(1)
    assert cell.lines == []


def check_stale(cell: Cell, behaviour: Behaviour) -> None:
    """The old answer hides a fault, and nothing else."""
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


CHECKS = {"absent": check_absent, "fresh": check_fresh, "stale": check_stale, "waiters": check_waiters}


def remembered(behaviour: Behaviour) -> str:
    """What a look-up is told next: a credential that is refused is no affair of the entry."""
    return "MISS" if behaviour.cause == "credential" else "HIT"


def check_answer(cell: Cell, behaviour: Behaviour, response: net.Response) -> None:
    """To somebody who waited for the upstream."""
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
        # of the one time that counts, rounded up; the clock of one worker may be a moment behind that of another
        assert int(response.header("Retry-After")) in range(1, max(behaviour.patience, faults_nginx.MEMORY) + 2)


def check_line(cell: Cell, behaviour: Behaviour) -> None:
    """The cause of a fault is told once."""
    assert cell.cause() == behaviour.cause
    assert len(cell.lines) == (0 if behaviour.cause is None else 1), cell.lines


def check_recovery(cell: Cell) -> None:
    if cell.closed is not None:
        assert (cell.closed.status, cell.closed.body) == (cell.again.status, cell.again.body)
    assert cell.after.status == 200
    assert cell.after.body == cell.body(1 if cell.state == "fresh" else 2)
    kept = cell.state == "stale" or remembered(cell.behaviour) == "HIT"
    assert cell.after.header("X-Aisearch-Cache") == ("HIT" if cell.state == "fresh" else "EXPIRED" if kept else "MISS")
    assert cell.later == []
