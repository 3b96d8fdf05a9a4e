"""What the tests of the collectd plugin share: accounts on the simulator, their reports, and request times."""

import itertools

import pytest

import gateway
from harness import SLOWNESS
from harness import nginx as nginx_harness
from harness.collectd import INTERVAL
from harness.simulator import ACCOUNT

needs_nginx = pytest.mark.skipif(not nginx_harness.MODULE.exists(), reason="the nginx module is not built")

FAULTS = ("body", "connect", "credential", "rate_limited", "refused", "server", "timeout", "tls")

# The values from a response, which are no longer reported once the response is too old.
OF_JOBS = {"gauge-state", "duration-job", "duration-last_seen", "count-running"}

# For account(): look up everything once per interval, whatever the result.
EVERY_INTERVAL = "ActiveInterval @INTERVAL@\nIdleInterval @INTERVAL@"

# Less often, for tests in which a late lookup would matter. A lookup may take nine tenths of the interval, which is
# enough even on a busy machine.
PACE = 3 * INTERVAL
AT_LEISURE = f"ActiveInterval {PACE}\nIdleInterval {PACE}"


def account(simulator, *instances: str, name: str = "docs", options: str = "", budget: str = "Budget 100000 1",
            pacing: str = EVERY_INTERVAL) -> str:
    """
    Returns an Account block. instances are lines of configuration, as are options, which replace the credential and the
    URL. The default budget and pacing are not suitable for intervals as short as in tests.
    """
    options = options or f'TokenFile "{simulator.token_file}"\nAPIURL "{simulator.url}"'
    body = "\n".join(instances)
    more = "" if "ReportDetails" in body else "ReportDetails true"
    return f'<Account "{name}">\nAccountID "{ACCOUNT}"\n{options}\n{budget}\n{pacing}\n{more}\n{body}\n</Account>'


def through_nginx(nginx, simulator, *directives: str, location: str = "") -> tuple[nginx_harness.Nginx, str]:
    """
    Starts nginx with the credential, and with these directives of the account and the location. Returns it with the
    options of account() to connect to its Unix socket.
    """
    proxy = nginx(http=gateway.account(simulator, *directives, api_url=simulator.unix_url),
                  server=f"location /client/v4/ {{ aisearch_pass docs; {location} }}")
    return proxy, f'APIURL "http://localhost/client/v4"\nUnixSocket "{proxy.socket}"'


def of_lists(*names: str) -> list[str]:
    return [f'Instance "{name}"' for name in names]


def many(simulator, count: int) -> list[str]:
    names = [f"i{n}" for n in range(count)]
    for name in names:
        simulator.instance(f"instances/{name}", [{"id": "a", "state": "running"}])
    return names


def of_instance(report: dict[str, float], plugin_instance: str) -> dict[str, float]:
    """Returns the values of one plugin instance, by "TYPE[-TYPE_INSTANCE]"."""
    return {name.partition("/")[2]: value for name, value in report.items()
            if name.partition("/")[0] == plugin_instance}


def errors(report: dict[str, float], name: str = "docs") -> dict[str, float]:
    """Returns the error counters that are not 0."""
    values = of_instance(report, name)
    return {fault: values[f"errors-{fault}"] for fault in FAULTS if values[f"errors-{fault}"] != 0}


def has(*names: str):
    """For wait_report(): all these values are present. A report may precede the end of the first round."""
    return lambda report: all(name in report for name in names)


def near(value: float, slack: float = 3.0):
    return pytest.approx(value, abs=slack * SLOWNESS)


def asked(simulator, path: str = "") -> list[float]:
    """Returns the times of the requests to the API, in order."""
    return sorted(request.began for request in simulator.requests(path))


def steps(times: list[float]) -> list[float]:
    return [later - earlier for earlier, later in itertools.pairwise(times)]


def check_rolling(times: list[float], calls: int, interval: float) -> None:
    """Checks that any calls + 1 requests span more than the interval."""
    apart = [late - early for early, late in zip(times, times[calls:])]
    assert not apart or min(apart) > interval, f"{calls + 1} calls within {min(apart):.3f} s"


def gaps(daemon, name: str, value: str) -> list[float]:
    """Returns the times of the account's reports without this value, after the first one with it."""
    has_it = [(when, value in report) for when, report in daemon.reports(name)]
    return [when for when, there in itertools.dropwhile(lambda one: not one[1], has_it) if not there]


def check_no_gaps(daemon, *names: str, value: str = "gauge-state") -> None:
    """Ignores gaps that a busy machine caused: collectd logs them, or a lookup is late."""
    for name in names:
        assert gaps(daemon, "docs", f"docs-{name}/{value}") == [] or daemon.log_lines(
            rf'Not sleeping because the next interval|"{name}".*: cannot be read: timeout'), name
