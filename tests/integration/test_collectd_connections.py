"""How the collectd plugin reaches the API: its requests, Unix sockets, TLS, a forward proxy, and through nginx."""

import re
import time

import pytest

from harness import SLOWNESS, VALGRIND
from harness.collectd import INTERVAL
from harness.proxy import ForwardProxy
from reports import (OF_JOBS, account, asked, check_rolling, errors, has, many, near, needs_nginx, of_instance, of_lists,
                     through_nginx)


# ---- requests -------------------------------------------------------------------------------------------------------

def test_headers_of_a_request(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "succeeded"}])
    daemon = collectd(account(simulator, 'Instance "handbook"'))
    daemon.wait_report("docs", has("docs-handbook/gauge-state"))
    request = simulator.requests()[0]
    assert request.method == "GET" and not request.has_body
    assert request.header_names() == {"host", "accept", "user-agent", "authorization"}
    assert request.header("authorization") == f"Bearer {simulator.token}"
    assert re.fullmatch(r"aisearch-jobs/[0-9.]+", request.header("user-agent"))


def test_no_credential_is_required_over_a_unix_socket(simulator, collectd):
    """Configured as for nginx on this host. Here, nothing adds a credential, so the API rejects the request."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "succeeded"}])
    options = f'APIURL "http://localhost{simulator.base}"\nUnixSocket "{simulator.unix}"'
    daemon = collectd(account(simulator, 'Instance "handbook"', options=options))
    daemon.wait_report("docs", lambda r: r["docs/errors-credential"] > 0)
    request = simulator.requests()[0]
    assert request.header("host") == "localhost"
    assert request.header_names() == {"host", "accept", "user-agent"}

    options += f'\nTokenFile "{simulator.token_file}"'
    daemon = collectd(account(simulator, 'Instance "handbook"', name="with_token", options=options))
    assert daemon.wait_report("with_token", has("with_token-handbook/gauge-state"))["with_token-handbook/gauge-state"] == 2


# ---- TLS ------------------------------------------------------------------------------------------------------------

@pytest.mark.skipif(VALGRIND, reason="so many handshakes take longer there than a round")
def test_tls(simulator, edge, certificates, collectd):
    """HTTP/2 over one connection; a peer that cannot be verified receives no request."""
    jobs = "abcd"
    simulator.instance("instances/handbook", [{"id": job, "state": "queued"} for job in jobs])
    bad = ("wrong_host", "expired", "self_signed", "old_tls")
    instances = {"good": '<Instance "handbook">\n' + "\n".join(f'Job "{job}"' for job in jobs) + "\n</Instance>",
                 **dict.fromkeys(bad, 'Instance "handbook"')}
    options = f'TokenFile "{simulator.token_file}"\nCACert "{certificates.ca_file}"\n'
    daemon = collectd(*(account(simulator, lines, name=kind, options=options + f'APIURL "{edge.url(kind)}"')
                        for kind, lines in instances.items()), interval=max(1, SLOWNESS / 2))

    report = daemon.wait_report("good", has(*(f"good-handbook/gauge-state-{job}" for job in jobs)))
    assert errors(report, "good") == {}
    for kind in bad:
        report = daemon.wait_report(kind, lambda r: r[f"{kind}/errors-tls"] > 0)
        assert set(errors(report, kind)) == {"tls"}
        assert not set(of_instance(report, f"{kind}-handbook")) & OF_JOBS

    seen = edge.requests()
    assert {request["server"] for request in seen} == {"good"}
    assert {request["protocol"] for request in seen} == {"HTTP/2.0"}
    assert len({request["connection"] for request in seen}) == 1


def test_certificates_that_do_not_exist_yet(simulator, edge, certificates, collectd, tmp):
    """An error is logged, and no lookup succeeds until the file exists."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    path = tmp / "ca.pem"
    daemon = collectd(account(simulator, 'Instance "handbook"',
                              options=f'TokenFile "{simulator.token_file}"\nCACert "{path}"\nAPIURL "{edge.url("good")}"'))
    daemon.wait_log(rf'\[error\] .*"docs": CACert: .*"{path}": No such file')
    report = daemon.wait_report("docs", lambda r: r["docs/errors-tls"] > 0)
    assert set(errors(report)) == {"tls"}
    path.write_bytes(certificates.ca_file.read_bytes())
    daemon.next_report("docs", has("docs-handbook/gauge-state"), 20)


def test_tls_without_verification(simulator, edge, certificates, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    options = {
        "peer": f'APIURL "{edge.url("self_signed")}"\nVerifyPeer false\nVerifyHost false',
        "host": f'APIURL "{edge.url("wrong_host")}"\nVerifyHost false\nCACert "{certificates.ca_file}"',
    }
    daemon = collectd(*(account(simulator, 'Instance "handbook"', name=name,
                                options=f'TokenFile "{simulator.token_file}"\n{lines}')
                        for name, lines in options.items()))
    for name in options:
        daemon.wait_report(name, has(f"{name}-handbook/gauge-state"))
        assert daemon.log_lines(rf'\[warning\] aisearch plugin: Account "{name}": Without VerifyPeer and VerifyHost')


def test_through_a_forward_proxy(simulator, edge, certificates, collectd):
    """A tunnel: the proxy sees its destination, but no credential."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    with ForwardProxy() as proxy:
        options = (f'TokenFile "{simulator.token_file}"\nAPIURL "{edge.url()}"\nCACert "{certificates.ca_file}"\n'
                   f'Proxy "{proxy.url}"')
        daemon = collectd(account(simulator, 'Instance "handbook"', options=options), interval=2.5 * INTERVAL)
        daemon.wait_report("docs", has("docs-handbook/gauge-state"))
        assert {(request.method, request.target) for request in proxy.requests} == {
            ("CONNECT", f"localhost:{edge.port()}")}
        assert simulator.token not in repr(proxy.requests)
        daemon.stop()


def test_https_url_of_a_plain_http_server(simulator, collectd):
    """The peer does not use TLS."""
    options = f'TokenFile "{simulator.token_file}"\nAPIURL "https://127.0.0.1:{simulator.port}"'
    daemon = collectd(account(simulator, 'Instance "handbook"', options=options))
    report = daemon.wait_report("docs", lambda r: r["docs/errors-tls"] > 0)
    assert set(errors(report)) == {"tls"}
    assert simulator.count() == 0


# ---- through nginx --------------------------------------------------------------------------------------------------

@needs_nginx
def test_through_nginx(simulator, nginx, collectd):
    """nginx has the credential and the cache. The age of a cached response counts in duration-since_read."""
    simulator.instance("instances/handbook", [{"id": "a", "state": "succeeded"}, {"id": "r", "state": "running"}])
    _, options = through_nginx(nginx, simulator, location="aisearch_valid active 1h 1h; aisearch_valid list 1h;")
    daemon = collectd(account(simulator, 'Instance "handbook"', '<Instance "none">\nJob "a"\n</Instance>',
                              options=options, pacing="ActiveInterval @INTERVAL@\nIdleInterval 5"))
    report = daemon.wait_report("docs", lambda r: r.get("docs-handbook/duration-since_read", 0) > 2)
    values = of_instance(report, "docs-handbook")
    assert (values["gauge-state"], values["count-running"]) == (1, 1)
    assert values["duration-job"] == near(60), "at the time of the response, not of the lookup"
    assert simulator.count("/handbook/jobs") == 1
    assert simulator.requests()[0].header("authorization") == f"Bearer {simulator.token}"
    assert set(errors(report)) == {"refused"}
    assert daemon.log_lines('Instance "none", Job "a": cannot be read: the API returns 404')


@needs_nginx
def test_cache_hits_of_nginx_do_not_use_the_budget(simulator, nginx, collectd):
    """Cached responses are read in every interval; only responses that nginx must fetch count."""
    interval = 2 * INTERVAL
    names = many(simulator, 6)
    _, options = through_nginx(nginx, simulator, location="aisearch_valid active 1h 1h; aisearch_valid list 1h;")
    seconds = 5 * interval
    daemon = collectd(account(simulator, *of_lists(*names), options=options, budget=f"Budget 5 {seconds}"),
                      interval=interval)
    daemon.wait_report("docs", has(*(f"docs-{name}/gauge-state" for name in names)), timeout=60 * interval)
    daemon.wait_log("lookups per minute are due, but the budget allows only")
    check_rolling(asked(simulator), 5, seconds)

    report = daemon.next_report("docs", lambda r: r["docs/gauge-budget_stretch"] == 1, timeout=40 * interval)
    enough = report["docs/http_requests"] + 60
    began = time.monotonic()
    daemon.next_report("docs", lambda r: r["docs/http_requests"] >= enough, timeout=30 * interval)
    assert time.monotonic() - began < 16 * interval * SLOWNESS, "six in an interval, rather than one"
    assert simulator.count("/jobs") == 6
    daemon.wait_log("The budget is sufficient again for all lookups that are due", timeout=20)


@needs_nginx
def test_through_nginx_that_has_stopped(simulator, nginx, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "succeeded"}])
    proxy, options = through_nginx(nginx, simulator)
    daemon = collectd(account(simulator, 'Instance "handbook"', options=options))
    before = errors(daemon.wait_report("docs", has("docs-handbook/gauge-state")))
    proxy.stop()
    report = daemon.next_report("docs", lambda r: "docs-handbook/gauge-state" not in r and r["docs/errors-connect"] > 0, 10)
    assert {fault for fault, count in errors(report).items() if count > before.get(fault, 0)} == {"connect"}
