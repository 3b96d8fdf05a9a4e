"""The simulator's jobs over time, its clock, and its fleets of instances."""

import datetime
import time

import pytest

from harness import fleet, net
from simulator_requests import AUTORAG, NAMESPACED, PLAIN, error, get, listing, result


# The clock.


def parsed(text):
    return datetime.datetime.fromisoformat(text.replace("Z", "+00:00")).timestamp()


@pytest.mark.parametrize("times, text", [
    ("rfc3339", "2027-01-15T08:00:00Z"),
    ("fraction", "2027-01-15T08:00:00.500000Z"),
    ("offset", "2027-01-15T10:00:00+02:00"),
    ("plain", "2027-01-15 08:00:00"),
    ("zoneless", "2027-01-15T08:00:00"),
    ("number", 1_800_000_000),
])
def test_time_formats(simulator, times, text):
    simulator.freeze()
    simulator.set_clock(1_800_000_000.5)
    simulator.job(PLAIN, "a", starts_in=0, times=times)
    assert result(simulator, PLAIN, "a")["started_at"] == text
    created_at = result(simulator, PLAIN, "a", logs=True)[0]["created_at"]
    assert created_at == (1_800_000_000.5 if times == "fraction" else 1_800_000_000)


def test_real_time_by_default(simulator):
    simulator.job(PLAIN, "a", starts_in=0, last_seen_every=0.05, times="fraction")
    assert abs(parsed(result(simulator, PLAIN, "a")["started_at"]) - time.time()) < 5
    before = result(simulator, PLAIN, "a")["last_seen_at"]
    net.wait_until(lambda: result(simulator, PLAIN, "a")["last_seen_at"] != before, what="last_seen_at to change")


def test_clock_can_be_frozen_and_resumed(simulator):
    simulator.freeze()
    frozen = simulator.now()
    simulator.advance(3600)
    assert simulator.now() == frozen + 3600
    simulator.thaw()
    net.wait_until(lambda: simulator.now() > frozen + 3600, what="the clock to advance")
    assert simulator.now() < frozen + 3660


def test_clock_can_run_faster(simulator):
    simulator.run(3600)
    asked = time.monotonic()
    before, answered = simulator.now(), time.monotonic()
    net.wait_until(lambda: simulator.now() >= before + 3600, what="an hour")
    assert time.monotonic() - answered > 0.9
    simulator.run(1)
    assert simulator.now() < before + 3600 * (time.monotonic() - asked) + 1
    with pytest.raises(ValueError):
        simulator.run(0)


# Jobs.


@pytest.mark.parametrize("end_reason", [None, "", "completed", "cancelled by user", "error: no memory", 'Ωmega "x"'])
def test_life_of_a_job(simulator, end_reason):
    simulator.freeze()
    simulator.set_clock(1_800_000_000)
    simulator.job(PLAIN, "a", starts_in=10, ends_in=100, end_reason=end_reason)

    def reported():
        fields = result(simulator, PLAIN, "a")
        return [fields[name] for name in ("started_at", "last_seen_at", "ended_at", "end_reason")]

    assert reported() == [None, None, None, None]
    simulator.advance(9.5)
    assert reported() == [None, None, None, None]
    simulator.advance(0.5)
    assert reported() == ["2027-01-15T08:00:10Z", "2027-01-15T08:00:10Z", None, None]
    simulator.advance(9)
    assert reported() == ["2027-01-15T08:00:10Z", "2027-01-15T08:00:10Z", None, None]
    simulator.advance(1)
    assert reported() == ["2027-01-15T08:00:10Z", "2027-01-15T08:00:20Z", None, None]
    simulator.advance(80)
    assert reported() == ["2027-01-15T08:00:10Z", "2027-01-15T08:01:40Z", "2027-01-15T08:01:40Z", end_reason]
    simulator.advance(86400)
    assert reported() == ["2027-01-15T08:00:10Z", "2027-01-15T08:01:40Z", "2027-01-15T08:01:40Z", end_reason]


def test_stalled_job_is_no_longer_seen(simulator):
    simulator.freeze()
    simulator.job(PLAIN, "a", starts_in=-100, silent_in=-50, last_seen_every=1)
    before = result(simulator, PLAIN, "a")["last_seen_at"]
    simulator.advance(1000)
    assert result(simulator, PLAIN, "a")["last_seen_at"] == before
    assert result(simulator, PLAIN, "a")["ended_at"] is None


def test_job_that_appears_later(simulator):
    simulator.freeze()
    simulator.job(PLAIN, "a", appears_in=10, starts_in=20, ends_in=30)
    assert result(simulator, PLAIN) == []
    assert error(get(simulator, PLAIN, "a")) == error(get(simulator, PLAIN, "a", logs=True)) == (
        404, 7021, "job_not_found")
    simulator.advance(10)
    assert [job["started_at"] for job in result(simulator, PLAIN)] == [None]
    simulator.advance(10)
    assert result(simulator, PLAIN, "a")["started_at"] is not None


def test_census(simulator):
    simulator.freeze()
    began = simulator.now()
    for n, reason in enumerate((None, "Done", "error: x", "user cancelled", "unsuccessful")):
        simulator.job(PLAIN, f"{n}", appears_in=10, starts_in=20, ends_in=30 + n, end_reason=reason)
    simulator.job(NAMESPACED, "a", state="succeeded")
    simulator.job("namespaces/default/instances/b", "a", state="queued")
    simulator.instance(AUTORAG)
    nothing = {"queued": 0, "running": 0, "succeeded": 0, "failed": 0, "cancelled": 0}

    assert simulator.census() == {PLAIN: nothing, NAMESPACED: nothing | {"succeeded": 1},
                                  "instances/b": nothing | {"queued": 1}, AUTORAG: nothing}
    assert simulator.census(since=began)[NAMESPACED] == nothing
    simulator.advance(10)
    assert simulator.census()[PLAIN] == nothing | {"queued": 5}
    simulator.advance(20)
    assert simulator.census()[PLAIN] == nothing | {"running": 4, "succeeded": 1}
    simulator.advance(10)
    assert simulator.census()[PLAIN] == nothing | {"succeeded": 2, "failed": 2, "cancelled": 1}
    assert simulator.census(since=began + 31)[PLAIN] == nothing | {"failed": 2, "cancelled": 1}


def test_new_job_ends_the_running_one(simulator):
    simulator.freeze()
    simulator.instance(PLAIN, [{"id": "ended", "state": "succeeded"}, {"id": "queued", "state": "queued"},
                               {"id": "first", "starts_in": -10, "ends_in": 100, "end_reason": "completed"}])
    untouched = result(simulator, PLAIN, "ended"), result(simulator, PLAIN, "queued")
    simulator.advance(30)
    simulator.start_job(PLAIN, "second", source="schedule")
    first, second = result(simulator, PLAIN, "first"), result(simulator, PLAIN, "second")
    assert first["end_reason"] == "new_job_has_started"
    assert first["ended_at"] == first["last_seen_at"] == second["started_at"]
    assert (second["source"], second["ended_at"]) == ("schedule", None)
    assert (result(simulator, PLAIN, "ended"), result(simulator, PLAIN, "queued")) == untouched
    simulator.start_job(PLAIN, "ended", ends_in=5)
    assert simulator.census()[PLAIN] == {"queued": 1, "running": 1, "succeeded": 0, "failed": 0, "cancelled": 2}
    simulator.advance(5)
    assert simulator.census()[PLAIN]["succeeded"] == 1
    simulator.start_job(NAMESPACED, "alone")
    assert result(simulator, NAMESPACED, "alone")["ended_at"] is None


@pytest.mark.parametrize("reason", ["new_job_has_started", "New_Job_Has_Started", "job superseded by another"])
def test_a_superseded_job_counts_as_cancelled(simulator, reason):
    simulator.job(PLAIN, "a", state="superseded")
    assert result(simulator, PLAIN, "a")["end_reason"] == "new_job_has_started"
    simulator.job(PLAIN, "a", end_reason=reason)
    assert simulator.census()[PLAIN]["cancelled"] == 1


def test_a_job_can_be_changed_ended_and_removed(simulator):
    simulator.job(PLAIN, "a", state="running", description="kept")
    simulator.job(PLAIN, "a", ends_in=0, end_reason="cancelled")
    job = result(simulator, PLAIN, "a")
    assert (job["end_reason"], job["description"], job["ended_at"] is None) == ("cancelled", "kept", False)
    simulator.instance(PLAIN, remove=["a"])
    assert get(simulator, PLAIN, "a").status == 404
    assert result(simulator, PLAIN) == []


def test_jobs_of_an_instance_can_be_replaced(simulator):
    simulator.instance(PLAIN, [{"id": "a"}, {"id": "b"}])
    simulator.instance(PLAIN, [{"id": "c"}], replace=True)
    assert [job["id"] for job in result(simulator, PLAIN)] == ["c"]


def test_logs_grow(simulator):
    simulator.freeze()
    simulator.job(PLAIN, "a", starts_in=10, ends_in=100)
    lengths = []
    for _ in range(4):
        lengths.append(len(result(simulator, PLAIN, "a", logs=True)))
        simulator.advance(30)
    assert lengths == [0, 2, 4, 6]
    simulator.job(PLAIN, "a", logs=[{"id": 5, "created_at": 1, "message": "m", "message_type": 2}])
    assert result(simulator, PLAIN, "a", logs=True) == [{"id": 5, "created_at": 1, "message": "m", "message_type": 2}]


# Fleets.


@pytest.mark.parametrize("most_active", [60, 10])
def test_day_of_a_fleet_matches_its_plan(simulator, most_active):
    orders = fleet.day(300, most_active=most_active, seconds=6 * 3600)
    assert orders == fleet.day(300, most_active=most_active, seconds=6 * 3600)
    assert fleet.most_active(orders) == most_active or fleet.most_active(orders) < 60 == most_active
    jobs = [job for order in orders for job in order["jobs"]]
    assert len({job["id"] for job in jobs}) == len(jobs) > 300
    assert all(job["appears_in"] <= job["starts_in"] < job["ends_in"] for job in jobs)

    simulator.freeze()
    began = simulator.now()
    simulator.instances(orders)
    for at in range(0, 7 * 3600, 1800):
        simulator.set_clock(began + at)
        counts = simulator.census().values()
        for state, planned in {
            "queued": sum(job["appears_in"] <= at < job["starts_in"] for job in jobs),
            "running": sum(job["starts_in"] <= at < job["ends_in"] for job in jobs),
            "failed": sum(job["ends_in"] <= at and job["end_reason"].startswith("error") for job in jobs),
        }.items():
            assert sum(count[state] for count in counts) == planned


def test_fleet_that_starts_all_jobs_at_once(simulator):
    orders = fleet.at_once(300, at=60)
    assert fleet.most_active(orders) == 300
    simulator.freeze()
    simulator.instances(orders)
    assert sum(sum(count.values()) for count in simulator.census().values()) == 0
    simulator.advance(95)
    assert sum(count["running"] for count in simulator.census().values()) == 300
    assert len({instance["id"] for page in (1, 2, 3)
                for instance in listing(simulator, query=f"?page={page}&per_page=100").json()["result"]}) == 300
