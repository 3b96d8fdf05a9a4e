"""The simulator's lists and their pages: jobs, logs, instances and namespaces."""

import pytest

from harness import net
from simulator import schema
from simulator_requests import GENERATIONS, PLAIN, bad_query, error, get, listing, pages, read


# Pages.


@pytest.mark.parametrize("instance", GENERATIONS)
@pytest.mark.parametrize("per_page", [1, 7, 40, 50])
def test_all_pages_of_a_job_list(simulator, instance, per_page):
    ids = [f"job-{n:03}" for n in range(120)]
    simulator.instance(instance, [{"id": job_id} for job_id in ids])
    seen = []
    for number, page in enumerate(pages(simulator, instance, per_page), 1):
        assert schema.violations(schema.LIST, page) == []
        assert page["result_info"] == {"count": len(page["result"]), "page": number, "per_page": per_page,
                                       "total_count": 120}
        seen += [job["id"] for job in page["result"]]
    assert sorted(seen) == ids
    assert seen != ids and seen[::-1] != ids, "with a sorted list, tests would not notice code that relies on the order"


def test_page_and_per_page_have_defaults(simulator):
    simulator.instance(PLAIN, [{"id": f"{n}"} for n in range(30)])
    first = get(simulator, PLAIN).json()
    assert first["result_info"] == {"count": 20, "page": 1, "per_page": 20, "total_count": 30}
    assert get(simulator, PLAIN, query="?page=2").json()["result_info"]["count"] == 10
    assert get(simulator, PLAIN, query="?per_page=0").json()["result"] == []
    assert get(simulator, PLAIN, query="?page=999").json()["result"] == []


@pytest.mark.parametrize("query", ["page=0", "page=-1", "page=x", "page=", "page=1.5", "page=%2B1", "per_page=51",
                                   "per_page=-1", "per_page=ten", "per_page="])
def test_invalid_pages(simulator, query):
    simulator.job(PLAIN, "a")
    name = query.partition("=")[0]
    assert bad_query(get(simulator, PLAIN, query=f"?{query}")) == name
    if query != "per_page=51":
        assert bad_query(get(simulator, PLAIN, "a", logs=True, query=f"?{query}")) == name


@pytest.mark.parametrize("resource, least, most", [
    (f"{PLAIN}/jobs", 0, 50), (f"{PLAIN}/jobs/a/logs", 0, 500), ("instances", 1, 100),
    ("namespaces/default/instances", 1, 100), ("namespaces", 1, 100)])
def test_per_page_has_limits(simulator, resource, least, most):
    simulator.job(PLAIN, "a", state="running")
    for per_page in (least, most):
        page = read(simulator, resource, query=f"?per_page={per_page}").json()
        assert page["result_info"]["per_page"] == per_page
    for per_page in (least - 1, most + 1):
        assert bad_query(read(simulator, resource, query=f"?per_page={per_page}")) == "per_page"
    assert read(simulator, resource).json()["result_info"]["per_page"] == 20


# Instances.


def test_all_pages_of_instances(simulator):
    names = [f"docs-{n:03}" for n in range(230)]
    for name in names:
        simulator.instance(f"instances/{name}")
    seen = []
    for number in range(1, 5):
        page = listing(simulator, query=f"?page={number}&per_page=100").json()
        assert schema.violations(schema.INSTANCES, page) == []
        count = (100, 100, 30, 0)[number - 1]
        assert page["result_info"] == {"count": count, "page": number, "per_page": 100, "total_count": 230}
        seen += [instance["id"] for instance in page["result"]]
    assert sorted(seen) == names and seen != names
    assert listing(simulator).json()["result_info"]["per_page"] == 20


def test_instances_of_all_namespaces_and_of_one(simulator):
    for name in ("instances/a", "namespaces/team/instances/a", "namespaces/team/instances/b", "rags/c"):
        simulator.instance(name)

    def found(namespace=None):
        return {(one["namespace"], one["id"]) for one in listing(simulator, namespace).json()["result"]}

    assert found() == {("default", "a"), ("team", "a"), ("team", "b")}
    assert found("default") == {("default", "a")}
    assert found("team") == {("team", "a"), ("team", "b")}
    assert error(listing(simulator, "nowhere")) == (404, 7063, "namespace_not_found")


def test_instances_are_added_changed_and_removed(simulator):
    simulator.freeze()
    simulator.instance("instances/a", [{"id": "1"}])
    simulator.advance(60)
    simulator.instance("instances/a", paused=True, status="indexing")
    [instance] = listing(simulator).json()["result"]
    assert (instance["paused"], instance["status"]) == (True, "indexing")
    assert instance["created_at"] < instance["modified_at"]
    simulator.instance("instances/a", extra={"paused": "yes", "more": 1})
    [instance] = listing(simulator).json()["result"]
    assert (instance["paused"], instance["more"]) == ("yes", 1)
    simulator.remove_instances("instances/a", "instances/never-was")
    assert listing(simulator).json()["result"] == []
    assert error(get(simulator, "instances/a")) == (404, 7002, "ai_search_not_found")


def test_settings_of_an_instance(simulator):
    simulator.freeze()
    simulator.set_clock(1_800_000_000)
    made = "2027-01-15T08:00:00Z"
    simulator.instance("namespaces/team/instances/a")
    usual = {"id": "a", "namespace": "team", "created_at": made, "modified_at": made, "type": "r2", "source": "bucket",
             "sync_interval": 21600, "enable": True, "paused": False, "status": "waiting", "last_activity": None}
    assert listing(simulator, "team").json()["result"] == [usual]
    assert read(simulator, "namespaces/team/instances/a").json()["result"] == usual

    settings = {"type": "web-crawler", "source": "docs.example.org", "sync_interval": 900, "enable": False,
                "paused": True, "status": "error", "last_activity": "2027-01-15 07:00:00"}
    simulator.instance("namespaces/team/instances/a", **settings)
    answer = read(simulator, "namespaces/team/instances/a").json()
    assert answer["result"] == usual | settings
    assert schema.violations(schema.INSTANCE, answer) == []
    for kind, source in ((None, None), ("web-crawler", "example.org"), ("r2", "bucket")):
        simulator.instance("namespaces/team/instances/a", type=kind)
        answer = read(simulator, "namespaces/team/instances/a").json()
        assert (answer["result"]["type"], answer["result"]["source"]) == (kind, source)
        assert schema.violations(schema.INSTANCE, answer) == []


def test_a_plain_instance_is_the_same_in_the_default_namespace(simulator):
    simulator.instance("instances/a", status="indexing")
    for what in ("", "/stats", "/jobs"):
        plain, namespaced = [read(simulator, f"{form}instances/a{what}") for form in ("", "namespaces/default/")]
        assert plain.status == 200 and plain.body == namespaced.body


def test_stats_of_an_instance(simulator):
    nothing = {"queued": 0, "running": 0, "completed": 0, "error": 0, "skipped": 0, "outdated": 0,
               "file_embed_errors": {}, "index_source_errors": {}}
    simulator.instance("instances/a")
    answer = read(simulator, "instances/a/stats").json()
    assert schema.violations(schema.STATS, answer) == []
    assert answer["result"].pop("last_activity") and answer["result"] == nothing

    for stats in ({"degraded": True}, {**nothing, "outdated": 23, "last_activity": "2026-10-02 09:00:00",
                                       "file_embed_errors": {"workers_ai_out_of_capacity_error": 23}}):
        simulator.instance("instances/a", stats=stats)
        answer = read(simulator, "instances/a/stats").json()
        assert schema.violations(schema.STATS, answer) == []
        assert answer["result"] == stats


def test_missing_instances_and_stats(simulator):
    simulator.instance("rags/a")
    for what in ("", "/stats"):
        assert error(read(simulator, f"instances/a{what}")) == (404, 7002, "ai_search_not_found")
        assert error(read(simulator, f"namespaces/nowhere/instances/a{what}")) == (404, 7063, "namespace_not_found")
        autorag = net.request(simulator.address, simulator.path("rags/a").removesuffix("/jobs") + what,
                              simulator.credential_headers)
        assert error(autorag)[:2] == (404, 7000)


def test_instance_filters(simulator):
    simulator.freeze()
    for name, settings in (("instances/web-1", {"type": "web-crawler", "source": "example.org"}),
                           ("instances/docs", {}), ("namespaces/team/instances/web-2", {}),
                           ("namespaces/team/instances/old", {"type": "web-crawler", "source": "old.example.org"})):
        simulator.instance(name, **settings)
        simulator.advance(60)

    def found(query, namespace=None):
        return [instance["id"] for instance in listing(simulator, namespace, query).json()["result"]]

    assert sorted(found("?search=web")) == ["web-1", "web-2"]
    assert found("?search=web", "team") == ["web-2"]
    assert found("?search=Web") == []
    assert found("?hostname=example.org") == ["web-1"]
    assert sorted(found("?namespace=team")) == ["old", "web-2"]
    assert found("?namespace=nowhere") == []
    assert sorted(found("?namespace=default", "team")) == ["old", "web-2"]  # the namespace in the path takes precedence
    oldest_first = ["web-1", "docs", "web-2", "old"]
    assert found("?order_by=created_at") == found("?order_by_direction=asc") == oldest_first
    assert found("?order_by=created_at&order_by_direction=desc") == oldest_first[::-1]
    assert found("?order_by=created_at&search=web&per_page=1&page=2") == ["web-2"]
    for query, name in (("order_by=id", "order_by"), ("order_by=", "order_by"),
                        ("order_by_direction=up", "order_by_direction"), ("per_page=0", "per_page"),
                        ("page=0", "page")):
        assert bad_query(listing(simulator, query=f"?{query}")) == name


# Namespaces.


def test_all_pages_of_namespaces(simulator):
    names = [f"team--{n:02}" for n in range(24)]
    for name in names:
        simulator.namespace(name)
    seen = []
    for number, count in enumerate((10, 10, 5, 0), 1):
        page = read(simulator, "namespaces", f"?page={number}&per_page=10").json()
        assert schema.violations(schema.NAMESPACES, page) == []
        assert page["result_info"] == {"count": count, "page": number, "per_page": 10, "total_count": 25}
        seen += [namespace["name"] for namespace in page["result"]]
    assert sorted(seen) == sorted(["default", *names]) and seen != sorted(seen)
    found = read(simulator, "namespaces", "?search=m--1&per_page=100").json()["result"]
    assert sorted(namespace["name"] for namespace in found) == names[10:20]


def test_a_namespace(simulator):
    simulator.freeze()
    simulator.set_clock(1_800_000_000)
    simulator.namespace("team", "Ours")
    answer = read(simulator, "namespaces/team").json()
    assert schema.violations(schema.NAMESPACE, answer) == []
    assert answer["result"] == {"name": "team", "created_at": "2027-01-15T08:00:00Z", "description": "Ours"}
    simulator.advance(60)
    simulator.namespace("team", "Theirs")
    assert read(simulator, "namespaces/team").json()["result"] == answer["result"] | {"description": "Theirs"}
    assert read(simulator, "namespaces/default").json()["result"]["description"] is None

    simulator.instance("namespaces/team/instances/a")
    simulator.instance("namespaces/other/instances/a")
    assert read(simulator, "namespaces/other").status == 200
    simulator.remove_namespaces("team", "never-was")
    assert error(read(simulator, "namespaces/team")) == (404, 7063, "namespace_not_found")
    assert [instance["namespace"] for instance in listing(simulator).json()["result"]] == ["other"]


@pytest.mark.parametrize("name, good", [
    ("a", True), ("0", True), ("team--blue", True), ("x" * 28, True), ("x" * 29, False), ("team_blue", False),
    ("-a", False), ("a-", False), ("A", False), ("", False)])
def test_namespace_names(simulator, name, good):
    for make in (lambda: simulator.namespace(name), lambda: simulator.instance(f"namespaces/{name}/instances/a")):
        if good:
            make()
            assert read(simulator, f"namespaces/{name}").status == 200
        else:
            with pytest.raises(ValueError):
                make()


# Logs.


def test_all_pages_of_a_log(simulator):
    simulator.job(PLAIN, "a", starts_in=-600, ends_in=-1)
    entries = [entry for page in pages(simulator, PLAIN, 7, "a", logs=True) for entry in page["result"]]
    assert [entry["id"] for entry in entries] == list(range(1, len(entries) + 1))
    assert len(entries) == 1 + 599 // 15 + 1
    assert entries == sorted(entries, key=lambda entry: entry["created_at"])


def test_long_log_in_large_pages(simulator):
    log = [{"id": n, "created_at": 1763902700 + n / 4, "message": "m", "message_type": 0} for n in range(1, 1101)]
    simulator.job(PLAIN, "a", logs=log)
    found = list(pages(simulator, PLAIN, 500, "a", logs=True))
    assert [len(page["result"]) for page in found] == [500, 500, 100, 0]
    assert [entry for page in found for entry in page["result"]] == log
    assert [schema.violations(schema.LOGS, page) for page in found] == [[]] * 4
