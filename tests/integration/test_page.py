"""The status page, in Debian's Chromium: content, delays, and the number of calls to the API."""

import base64
import os
import re
import time

import pytest

from clients import packages
from gateway import account
from harness import ROOT, SLOWNESS, fleet, net, page
from harness.browser import Browser, missing

pytestmark = [pytest.mark.page, pytest.mark.skipif(bool(missing()), reason=f"not installed: {', '.join(missing())}")]

SERVER = """
    location /client/v4/ { aisearch_pass docs; aisearch_events on; aisearch_valid list 4s; }
    location = /aisearch_status { aisearch_status; }
"""
DOCS = "instances/docs"

# Runs before any script of the page; records the time of the first row, long tasks, and violations of the policy.
WITNESS = """
    window.first = null; window.long = []; window.violations = [];
    new MutationObserver((_, observer) => {
        if (document.querySelector('.row .timeline')) {
            first = performance.now();
            observer.disconnect();
        }
    }).observe(document, { childList: true, subtree: true });
    new PerformanceObserver((list) => long.push(...list.getEntries().map(({ startTime, duration }) => [startTime, duration])))
        .observe({ type: 'longtask', buffered: true });
    document.addEventListener('securitypolicyviolation', ({ violatedDirective }) => violations.push(violatedDirective));
"""

ROW = "return [...document.querySelectorAll('.row')].find((one) => one.querySelector('.name').textContent.includes(arguments[0]))"


class Page:
    """The page in a browser."""

    def __init__(self, browser, server):
        self.browser = browser
        self.run = browser.run
        browser.devtools("Page.addScriptToEvaluateOnNewDocument", source=WITNESS)
        browser.size(1280, 900)
        browser.open(server.url + page.PATH)

    def row(self, name):
        return self.run(f"{ROW}?.textContent ?? ''", name)

    def text(self, selector):
        return self.run("return document.querySelector(arguments[0])?.textContent ?? ''", selector)

    def names(self):
        return [name.split()[-1] for name in self.run(
            "return [...document.querySelectorAll('.row:not([hidden]) .name')].map((one) => one.textContent)")]

    def open_job(self, name):
        self.run(f"({ROW.removeprefix('return ')}).querySelector('.name').click()", name)

    def wait(self, condition, timeout, what):
        return net.wait_until(condition, timeout, what, every=0.05)

    def wait_row(self, name, text, timeout=8):
        self.wait(lambda: text in self.row(name), timeout, f"{text!r} of {name}")

    def wait_alert(self, text, timeout=8):
        self.wait(lambda: text in self.text("#alerts"), timeout, f"an alert of {text!r}")

    def is_clean(self):
        """The console is empty, and the policy was not violated."""
        return (self.browser.console(), self.run("return violations")) == ([], [])


@pytest.fixture
def looked_at(nginx, simulator, tmp):
    """A factory that starts nginx with these directives, and opens the page."""
    opened = []

    def factory(*directives, http="", server=SERVER):
        running = nginx(http=account(simulator, *directives) + http, server=server + page.location(tmp))
        browser = Browser(tmp)
        opened.append(browser)
        browser.__enter__()
        return running, Page(browser, running)

    yield factory
    for browser in opened:
        browser.__exit__()


def lists(simulator):
    return simulator.count(r"/(jobs|stats)\?|/stats$")


# Content and delays.


def test_a_change_in_the_list(looked_at, simulator):
    """With as many instances as in the demo."""
    for name in ("docs", "other", "third"):
        simulator.job(f"instances/{name}", "a", state="running")
    _, shown = looked_at("instance docs other third;")
    shown.wait_row("docs", "running")
    for job, state, end in (("a", "succeeded", {}), ("b", "running", {}), ("b", "failed", {"end_reason": "no source"})):
        simulator.job(DOCS, job, state=state, **end)
        changed = time.monotonic()
        shown.wait_row("docs", state, 15)
        assert time.monotonic() - changed < 6 * SLOWNESS
        time.sleep(3)
    assert "no source" in shown.row("docs")
    assert shown.is_clean()


def test_lists_with_active_jobs_come_first(looked_at, simulator):
    """With more visible instances than available calls."""
    for n in range(16):
        simulator.instance(f"instances/i{n:02}", [{"id": "a", "state": "succeeded" if n else "running"}])
    _, shown = looked_at("instance " + " ".join(f"i{n:02}" for n in range(16)) + ";")
    shown.browser.size(1280, 2400)
    shown.wait(lambda: all("items" in shown.row(f"i{n:02}") for n in range(16)), 60, "all lists and stats")
    before = simulator.count()
    asked = [simulator.count(f"/i{n:02}/jobs") for n in range(16)]
    time.sleep(40)
    asked = [simulator.count(f"/i{n:02}/jobs") - before for n, before in enumerate(asked)]
    assert simulator.count() - before <= 44
    assert asked[0] >= 4 and min(asked) >= 1 and asked[0] > max(asked[1:])


def test_an_open_job(looked_at, simulator):
    simulator.job(DOCS, "a", state="running", description="one", logs=[{"message": "it begins"}])
    server, shown = looked_at("instance docs;")
    shown.wait_row("docs", "running")
    shown.open_job("docs")
    shown.wait(lambda: "it begins" in shown.text("#log"), 5, "the log")

    def watchers():
        return server.get("/aisearch_status").json()["accounts"]["docs"]["watchers"]

    net.wait_until(lambda: watchers() == 2, 5, "two streams")
    for description, fields in (("two", {}), ("three", {"state": "failed", "end_reason": "no space"})):
        simulator.job(DOCS, "a", description=description, **fields)
        shown.wait(lambda: description in shown.text("#job-facts"), 15, "the change")
        now = time.monotonic()
        told = [seen for seen in simulator.requests("/jobs/a$") if seen.ended is not None][-1].ended
        assert now - told < 1 * SLOWNESS  # from the end of the API's response
    assert "no space" in shown.text("#job-facts") and "has ended" in shown.text("#job-live")
    net.wait_until(lambda: watchers() == 0, 5, "the streams to end")
    shown.browser.press("\ue00c")
    assert shown.run("return document.querySelector('dialog').open") is False
    assert shown.is_clean()


def test_without_events_a_job_is_polled(looked_at, simulator):
    simulator.job(DOCS, "a", state="running", description="one")
    _, shown = looked_at("instance docs;", server=SERVER.replace("aisearch_events on;", ""))
    shown.wait_row("docs", "running")
    shown.open_job("docs")
    shown.wait(lambda: "one" in shown.text("#job-facts"), 5, "the job")
    simulator.job(DOCS, "a", description="two")
    shown.wait(lambda: "two" in shown.text("#job-facts"), 15, "the change")


def test_states_match_those_of_nginx(looked_at, simulator):
    ends = [None, "", "Completed", "done", "OK", "cancelled by user", "new_job_has_started", "superseded by x", "no", "okay",
            "new_job_has_started!"]
    jobs = [{"id": f"job-{n}", "state": "failed", "end_reason": reason} for n, reason in enumerate(ends)]
    jobs += [{"id": "run", "state": "running"}, {"id": "wait", "state": "queued"}]
    simulator.instance(DOCS, jobs)
    server, shown = looked_at("instance docs;")
    shown.wait_row("docs", "queued")
    found = shown.run(f"return ({ROW.removeprefix('return ')}).row.list.jobs.map(({{ id, state }}) => [id, state])", "docs")
    wanted = {job["id"]: server.get(f"/client/v4/{DOCS}/jobs/{job['id']}").header("X-Aisearch-State") for job in jobs}
    assert dict(found) == wanted and len(set(wanted.values())) == 5


def test_failed_jobs_come_first_and_a_filter(looked_at, simulator):
    states = {"aa": "succeeded", "bb": "running", "cc": "cancelled", "dd": "failed", "ee": "succeeded"}
    for name, state in states.items():
        simulator.instance(f"instances/{name}", [{"id": "x", "state": state}])
    simulator.instance("namespaces/team/instances/ff", [{"id": "x", "state": "failed"}])
    simulator.instance("instances/ee", stats={"error": 3})
    _, shown = looked_at()  # without "instance", so that the names come from the list of instances
    shown.wait(lambda: shown.names() == ["dd", "team/ff", "ee", "cc", "bb", "aa"], 15, "the order")
    assert "3 items" in shown.row("ee")
    shown.run("const filter = document.querySelector('#filter'); filter.focus(); filter.value = 'fail';"
              "filter.dispatchEvent(new Event('input'))")
    assert shown.names() == ["dd", "team/ff"] and shown.text("#shown") == "2 of 6 instances"


def test_a_queue(looked_at, simulator):
    jobs = [{"id": "r", "state": "running"}, {"id": "q1", "state": "queued"}, {"id": "q2", "state": "queued"}]
    simulator.instance(DOCS, jobs)
    _, shown = looked_at("instance docs;")
    shown.wait_row("docs", "queued, 1 running, 2 queued")
    label = shown.run("return document.querySelector('.timeline svg').getAttribute('aria-label')")
    assert label.startswith("The last 24 hours: 3 jobs: ") and "1 running" in label and "2 queued" in label
    times = shown.run("return [...document.querySelectorAll('.timeline title')].map((one) => one.textContent)")
    assert any(re.search(r"running, by user\nstarted .* \(\d{4}-\d\d-\d\d [\d:]+ UTC\)\nfor \d+ ", text) for text in times), times


def test_keyboard_navigation(looked_at, simulator):
    for name in ("aa", "bb"):
        simulator.instance(f"instances/{name}", [{"id": "x", "state": "succeeded"}])
    _, shown = looked_at("instance aa bb;")
    shown.wait_row("bb", "succeeded")
    shown.run("document.querySelector('#filter').focus()")
    shown.browser.press("\ue004", "\ue015", "\ue007")  # Tab, down, Enter
    shown.wait(lambda: "bb" in shown.text("#job-title"), 3, "the job")


def test_several_accounts_and_one_without_a_location(looked_at, simulator):
    simulator.job(DOCS, "a", state="failed")
    _, shown = looked_at("instance docs;", http=account(simulator, "instance docs;", name="other"))
    shown.wait_alert("Account other: no location")
    shown.wait_row("docs", "failed")
    assert shown.run("return document.querySelectorAll('#accounts section').length") == 2 and shown.names() == ["docs"]


# Failures.


def test_a_reload_and_a_lost_connection_to_nginx(looked_at, simulator):
    simulator.job(DOCS, "a", state="running", description="one")
    server, shown = looked_at("instance docs;")
    shown.wait_row("docs", "running")
    shown.open_job("docs")
    shown.wait(lambda: "one" in shown.text("#job-facts"), 5, "the job")
    loaded = shown.text("#nginx").partition("loaded")
    time.sleep(1)
    server.reload()
    shown.wait(lambda: shown.text("#nginx").partition("loaded") != loaded and "answered 0 s" in shown.text("#nginx"), 8, "a reload")
    simulator.job(DOCS, "a", description="two")
    shown.wait(lambda: "two" in shown.text("#job-facts"), 15, "a change after a reload")
    assert shown.text("#alerts") == "" and shown.run("return violations") == []

    shown.browser.press("\ue00c")
    server.stop()
    shown.wait_alert("nginx has not answered since")
    time.sleep(2)
    assert "running" in shown.row("docs") and "answered 0 s" not in shown.text("#nginx")
    simulator.job(DOCS, "a", state="succeeded")
    server._launch()
    shown.wait(lambda: shown.text("#alerts") == "", 15, "the alert to go")
    shown.wait_row("docs", "succeeded")


def test_a_failing_api(looked_at, simulator):
    simulator.job(DOCS, "a", state="running")
    simulator.job("instances/new", "a", state="running")
    fault = simulator.fault("/instances/new/", status=500, body='{"success":false,"errors":[{"code":7001,"message":"Internal Error"}]}')
    _, shown = looked_at("instance docs new;", "retries 0;")
    shown.wait_row("docs", "running")
    shown.wait_row("new", "the API fails: Internal Error")
    simulator.clear_fault(fault)
    simulator.fault("", status=503, body="down")
    shown.wait_row("docs", "old answer of", 30)
    shown.wait_alert("the API fails", 30)
    assert " s ago" in shown.row("docs")


def test_a_rejected_credential(looked_at, simulator):
    simulator.job(DOCS, "a", state="running")
    simulator.refuse("401")
    _, shown = looked_at("instance docs;")
    shown.wait_alert("the API rejects the credential", 15)
    assert "rejected by the API" in shown.text("#accounts")


# Costs.


def test_a_hidden_page_sends_no_requests(looked_at, simulator):
    simulator.job(DOCS, "a", state="running")
    server, shown = looked_at("instance docs;")
    shown.wait_row("docs", "running")
    shown.open_job("docs")
    net.wait_until(lambda: "Live" in shown.text("#job-live"), 5, "the job")
    time.sleep(1)
    shown.browser.minimize()
    net.wait_until(lambda: shown.run("return document.hidden"), 5, "the page to be hidden")
    time.sleep(1)
    asked, called = len(server.access_log()), simulator.count()
    time.sleep(12)
    assert (len(server.access_log()), simulator.count()) == (asked, called)
    simulator.job(DOCS, "a", state="succeeded")
    shown.browser.restore()
    shown.wait(lambda: "succeeded" in shown.text("#job-facts"), 8, "the news")


def test_lists_pause_if_less_than_half_of_the_budget_is_left(looked_at, simulator):
    simulator.job(DOCS, "a", state="running")
    server, shown = looked_at("instance docs;", "budget 20 1h;")
    shown.wait_row("docs", "running")
    for _ in range(8):
        server.get(f"/client/v4/{DOCS}/jobs/none-{_}")
    shown.wait_alert("less than half of the budget", 15)
    spent = lists(simulator)
    time.sleep(8)
    assert lists(simulator) == spent


def fleet_of_500(simulator):
    """500 instances with the jobs of one day, and one running job."""
    orders = fleet.day(500)
    for job in (job for order in orders for job in order["jobs"]):
        for key in ("appears_in", "starts_in", "ends_in"):
            job[key] -= fleet.DAY
    orders[3]["jobs"].append({"id": "now", "state": "running"})
    simulator.instances(orders)


@pytest.mark.parametrize("with_job", (False, True))
def test_calls_for_five_hundred_instances(with_job, looked_at, simulator):
    fleet_of_500(simulator)
    _, shown = looked_at()
    shown.wait(lambda: shown.run("return first"), 10, "the first row")
    time.sleep(8)
    assert 10 < simulator.count() <= 40
    assert len(shown.names()) == 500
    if with_job:
        shown.open_job("fleet-0003")
        shown.wait(lambda: "Live" in shown.text("#job-live"), 10, "the job")
        time.sleep(2)
    before = simulator.count()
    time.sleep(60)
    assert 10 < simulator.count() - before <= 60
    assert shown.is_clean()


@pytest.mark.alone
def test_five_hundred_instances_cause_no_long_tasks(looked_at, simulator):
    fleet_of_500(simulator)
    _, shown = looked_at()
    shown.wait(lambda: shown.run("return first"), 10, "the first row")
    assert shown.run("return first") < 1000 * SLOWNESS  # milliseconds since the start of the navigation
    shown.wait(lambda: len(shown.names()) == 500, 10, "all rows")
    time.sleep(3)
    began = shown.run("return performance.now()")
    for _ in range(60):
        shown.run("window.scrollBy(0, 400)")
        time.sleep(0.05)
    assert shown.run("return scrollY") > 10_000
    time.sleep(3)
    tasks = [duration for start, duration in shown.run("return long") if start >= began]
    assert max(tasks, default=0) < 100 * SLOWNESS
    shown.run("setTimeout(() => { const end = performance.now() + 150; while (performance.now() < end); })")
    shown.wait(lambda: max(duration for _, duration in shown.run("return long")) >= 150, 3, "a long task")
    assert shown.run("return [...document.querySelectorAll('.row')].some(({ row }) => row.isInView && row.list)")


# Security and accessibility.


def test_injected_code_is_not_executed(looked_at, simulator):
    simulator.job(DOCS, "a", state="failed", description="<img src=x onerror=alert(1)>", end_reason="<b>bold</b>")
    server, shown = looked_at("instance docs;")
    shown.wait_row("docs", "<b>bold</b>")
    shown.open_job("docs")
    shown.wait(lambda: "<img src=x" in shown.text("#job-facts"), 5, "the job")
    assert shown.is_clean()
    shown.run("""
        const script = document.createElement('script');
        script.textContent = 'window.executed = true';
        document.body.append(script);
        fetch('http://127.0.0.1:9/').catch(() => null);
    """)
    # (both policies, from the header and from the page, report each violation)
    shown.wait(lambda: sorted(set(shown.run("return violations"))) == ["connect-src", "script-src-elem"], 3, "violations")
    assert shown.run("return window.executed ?? null") is None
    header = server.get(page.PATH).header("Content-Security-Policy")
    assert header.startswith("default-src 'none'; ") and "unsafe" not in header and "frame-ancestors 'none'" in header
    [policy] = [line for line in (ROOT / "config/html/index.html").read_text().splitlines() if "Security-Policy" in line]
    assert header.removesuffix("; frame-ancestors 'none'") in policy


def demo(simulator):
    """The scene of the tour, and other problems."""
    hour, day = 3600, 86400
    good = [{"id": f"s-{n}", "source": "schedule", "starts_in": -day + n * 6 * hour + 600, "ends_in": -day + n * 6 * hour + 1500,
             "end_reason": "completed"} for n in range(4)]
    simulator.instance("instances/my-ai-search", [*good, {"id": "n", "starts_in": -400, "ends_in": 4000, "source": "user",
                       "description": "Nightly import"}, {"id": "q", "state": "queued"}], stats={"error": 0})
    simulator.instance("instances/handbook", [*good, {"id": "f", "starts_in": -2000, "ends_in": -1500, "source": "user",
                       "end_reason": "error: source not reachable"}], stats={"error": 23})
    simulator.instance("namespaces/support/instances/tickets", [*good, {"id": "c", "starts_in": -5000, "ends_in": -4000,
                       "end_reason": "cancelled by user", "source": "user"}], stats={"error": 0})
    simulator.instance("instances/archive", good, stats={"error": 0})
    simulator.instance("instances/uploads", [*good[:2], {"id": "x", "starts_in": -9000, "ends_in": 9000, "silent_in": -4000}],
                       stats={"error": 2})


def appearance(browser, scheme):
    browser.devtools("Emulation.setEmulatedMedia", features=[{"name": "prefers-color-scheme", "value": scheme}])


@pytest.mark.parametrize("scheme", ("light", "dark"))
@pytest.mark.parametrize("width", (360, 1280))
def test_accessibility_and_pictures(width, scheme, looked_at, simulator):
    """AIS_WRITE_PICTURES=1 updates the pictures in docs/page.md."""
    axe = packages("axe", "the checker of accessibility") / "node_modules/axe-core/axe.min.js"
    demo(simulator)
    server, shown = looked_at("instance my-ai-search handbook support/tickets archive uploads;")
    appearance(shown.browser, scheme)
    shown.browser.size(width, 1000 if width < 1000 else 760)
    shown.run(axe.read_text())

    def check():
        found = shown.run("return axe.run(document)")["violations"]
        assert [(one["id"], one["impact"], [node["html"] for node in one["nodes"]]) for one in found] == []

    if width < 1000:  # so that the list is visible
        shown.run("document.querySelector('#instances-title').scrollIntoView()")
    shown.wait_row("archive" if width > 1000 else "handbook", "items", 20)
    time.sleep(6)
    assert shown.run("return document.documentElement.scrollWidth") <= width
    check()
    if os.environ.get("AIS_WRITE_PICTURES"):
        picture = shown.browser.devtools("Page.captureScreenshot")["data"]
        (ROOT / f"docs/page-{scheme}-{width}.png").write_bytes(base64.b64decode(picture))
    shown.open_job("my-ai-search")
    shown.wait(lambda: "Live" in shown.text("#job-live"), 5, "the job")
    check()
    assert shown.run("return document.documentElement.scrollWidth") <= width
    shown.browser.press("\ue00c")
    server.stop()
    shown.wait_alert("nginx has not answered since")
    check()
