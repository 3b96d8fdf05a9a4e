"""The ready-to-use configuration files and the examples in the documentation. Only paths and addresses are replaced."""

import re
import time

import pytest

from harness import ROOT, net
from harness.collectd import Collectd, Config as CollectdConfig
from harness.examples import COLLECTD_HANDBOOK, NGINX_HANDBOOK, config_text
from harness.nginx import Config, config_test


def place(text: str, simulator, nginx_socket: str = "@PREFIX@/aisearch.sock") -> str:
    """Replaces paths in a configuration with paths of the test, and the API with the simulator."""
    for pattern, replacement in (
        (r" *api_url +https://api\.cloudflare\.com/client/v4;", ""),
        (r"/etc/aisearch/[a-z]+\.token;", f"{simulator.token_file};\napi_url {simulator.url};"),
        (r"/etc/aisearch/[a-z]+\.token\.next;", f"{simulator.key_file};"),
        (r"listen 127\.0\.0\.1:\d+;", f"listen 127.0.0.1:{net.free_port()};"),
        (r"/run/aisearch/nginx\.sock", nginx_socket),
        (r"/var/log/nginx/", "@PREFIX@/"),
    ):
        text = re.sub(pattern, replacement, text)
    return text


def aisearch_block(text: str) -> str:
    return re.search(r"<Plugin aisearch>\n(.*)</Plugin>", text, re.DOTALL)[1]


def test_nginx_and_collectd_work_together(simulator, nginx, tmp):
    simulator.instance("instances/my-ai-search", [{"id": "a", "state": "succeeded"}, {"id": "b", "state": "running"}])
    simulator.instance("instances/handbook", [{"id": "c", "state": "failed"}])
    socket = str(tmp / "aisearch.sock")

    http = place(config_text("nginx.conf", NGINX_HANDBOOK), simulator, socket)
    server = nginx(http=http)
    site = ("127.0.0.1", int(re.search(r"listen 127\.0\.0\.1:(\d+);", http)[1]))
    answer = net.request(site, "/jobs/handbook/c")
    assert (answer.status, answer.header("X-Aisearch-State")) == (200, "failed")
    assert net.request(site, "/").status == net.request(socket, "/").status == 404
    line = net.wait_until(lambda: server.access_log("aisearch.log"), what="the access log")[0]
    assert line.partition('" ')[2].startswith("200 MISS failed 0 0.0"), line

    plugin = aisearch_block(config_text("collectd.conf", COLLECTD_HANDBOOK)).replace("/run/aisearch/nginx.sock", socket)
    with Collectd(tmp, CollectdConfig(plugin)) as collectd:
        report = collectd.wait_report("docs", lambda report: "docs-handbook/gauge-state" in report
                                      and "docs-my-ai-search/gauge-state" in report)
    assert report["docs-handbook/gauge-state"] == 3
    assert report["docs-my-ai-search/gauge-state"] == 1
    assert all(request.header("Authorization") == f"Bearer {simulator.token}" for request in simulator.requests())


def wait_looks(simulator, count: int) -> None:
    wanted = simulator.count("/my-ai-search/jobs") + count
    net.wait_until(lambda: simulator.count("/my-ai-search/jobs") >= wanted, 20, f"{count} more lookups")


@pytest.mark.parametrize("left_out, youngest", [("", (0, 1)), ("aisearch_use_stale error=1h;", (2, 4))],
                         ids=["as recommended", "with the default"])
def test_age_of_the_responses_that_collectd_gets(left_out, youngest, simulator, nginx, tmp):
    """
    With the recommended aisearch_use_stale, collectd gets a new response with each lookup, here every 3 s. With the
    default, which includes "updating", it gets the response to its previous lookup.
    """
    simulator.instance("instances/my-ai-search", [{"id": "a", "state": "running"}])
    simulator.instance("instances/handbook", [])
    socket = str(tmp / "aisearch.sock")
    http = config_text("nginx.conf", NGINX_HANDBOOK).replace(left_out, "")
    nginx(http="aisearch_valid list 1s;\n" + place(http, simulator, socket))

    plugin = aisearch_block(config_text("collectd.conf", COLLECTD_HANDBOOK)).replace("/run/aisearch/nginx.sock", socket)
    plugin = plugin.replace('<Account "docs">', '<Account "docs">\nActiveInterval 3\nIdleInterval 3')
    with Collectd(tmp, CollectdConfig(plugin, interval=0.4)) as collectd:
        wait_looks(simulator, 2)
        begin = time.time()
        wait_looks(simulator, 2)
        ages = [age for at, age in collectd.series("docs-my-ai-search/duration-since_read") if at >= begin]
    least, most = youngest
    assert least <= min(ages) < most


def documented() -> list[str]:
    """The examples in the documentation that contain an account block of nginx."""
    texts = [path.read_text() for path in (ROOT / "README.md", ROOT / "docs/nginx.md")]
    blocks = [block for text in texts for block in re.findall(r"```nginx\n(.*?)```", text, re.DOTALL)]
    return [block for block in blocks if "aisearch_account" in block]


@pytest.mark.parametrize("block", documented())
def test_documented_configuration_is_accepted(block, simulator, tmp):
    http = re.search(r"^http \{\n(.*)^\}", block, re.DOTALL | re.MULTILINE)
    result = config_test(Config(http=place(http[1] if http else block, simulator)), tmp)
    assert result.ok, result.output
