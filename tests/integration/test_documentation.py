"""
What the plugin accepts and what it may notify of is in its man page and in its documentation, and nothing else; so are
directives, cache statuses and metrics of the module in its; and what SECURITY.md promises is held by tests that there are.
"""

import re
import subprocess

import pytest

from harness import ROOT

PLUGIN = ROOT / "collectd-plugin"
POD = PLUGIN / "collectd-aisearch.pod"
MAN_PAGE = POD.read_text()
MANUAL = (ROOT / "docs/collectd.md").read_text()
MODULE_MANUAL = (ROOT / "docs/nginx.md").read_text()

BLOCKS = {"plugin": "Plugin options", "account": "Account options", "instance": "Instance options"}


def accepted(block: str) -> set[str]:
    """The options in the table of the sources that the configuration is checked by, but for those that are gone."""
    sources = "".join(path.read_text() for path in sorted(PLUGIN.glob("config*.c")))
    [table] = re.findall(rf"\b{block}_options\[\] = \{{(.*?)NULL", sources, re.DOTALL)
    return set(re.findall(r'\{"(\w+)", (?!GONE)', table))


def conditions() -> dict[str, str]:
    """The severity of each, from the sources."""
    names = dict(re.findall(r'\[(CONDITION_\w+)\] = "(\w+)"', (PLUGIN / "instance.c").read_text()))
    [failures] = re.findall(r"bool conditions_is_failure\(.*?\n\}", (PLUGIN / "conditions.c").read_text(), re.DOTALL)
    return {name: "FAILURE" if re.search(rf"{constant}\b", failures) else "WARNING" for constant, name in names.items()}


def section(title: str) -> str:
    """Of the man page."""
    return re.search(rf"^=head[12] {title}\n(.*?)(?=^=head|\Z)", MAN_PAGE, re.DOTALL | re.MULTILINE)[1]


def items(title: str) -> list[str]:
    return re.findall(r"^=item (.*)", section(title), re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_options(block):
    options = accepted(block)
    assert len(options) >= 2
    documented = [re.match(r"(?:E<lt>)?B<(\w+)>", item)[1] for item in items(BLOCKS[block])]
    assert sorted(documented) == sorted(options)
    missing = [option for option in options if not re.search(rf"^(?:\| |### ).*`<?{option}\b", MANUAL, re.MULTILINE)]
    assert missing == []


def test_notifications():
    told = conditions()
    assert len(told) == 8
    assert dict(re.match(r"B<(\w+)> \((\w+)\)", item).groups() for item in items("NOTIFICATIONS")) == told
    assert [name for name in told if f"`{name}`" not in MANUAL] == []


def test_man_page_is_sound():
    run = subprocess.run(["podchecker", "-warnings", "-warnings", POD], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, check=False)
    assert run.returncode == 0 and b"WARNING" not in run.stdout, run.stdout.decode()


def test_links_of_the_man_page():
    targets = re.findall(r'L</"([^"]+)">', MAN_PAGE)
    assert targets
    assert [target for target in targets if not re.search(rf"^=head[12] {target}$", MAN_PAGE, re.MULTILINE)] == []


def module(name: str) -> str:
    return (ROOT / f"nginx-module/ngx_http_aisearch_{name}.c").read_text()


def test_directives_of_the_module():
    [table] = re.findall(r"ngx_http_aisearch_commands\[\] = \{(.*?)ngx_null_command", module("module"), re.DOTALL)
    [chapter] = re.findall(r"^## Directives$(.*?)^## ", MODULE_MANUAL, re.DOTALL | re.MULTILINE)
    assert sorted(re.findall(r"^### (\w+)$", chapter, re.MULTILINE)) == sorted(re.findall(r'ngx_string\("(\w+)"\)', table))


def test_cache_statuses_of_the_module():
    [names] = re.findall(r"ngx_http_aisearch_cache_statuses\[\] = \{(.*?)\};", module("stats"), re.DOTALL)
    [row] = re.findall(r"^\| `\$aisearch_cache_status` \| (.*)$", MODULE_MANUAL, re.MULTILINE)
    assert sorted(re.findall(r"`([A-Z]+)`: ", row)) == sorted(re.findall(r'ngx_string\("([A-Z]+)"\)', names))


def test_metrics_of_the_module():
    metrics = set(re.findall(r'"(aisearch_\w+)", "(?:gauge|counter|histogram)"', module("metrics")))
    assert len(metrics) >= 20
    metrics |= set(re.findall(r'"(aisearch_\w+)", "', (ROOT / "common/ais_exposition.c").read_text()))
    assert len(metrics) >= 30
    assert [metric for metric in metrics if not re.search(rf"`{metric}[`{{]", MODULE_MANUAL)] == []


def promises() -> list[tuple[str, list[str]]]:
    """Of the tables in SECURITY.md: what is promised, and "FILE::TEST" of each that holds it."""
    [chapter] = re.findall(r"^## What is promised.*?(?=^## )", (ROOT / "SECURITY.md").read_text(), re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| (.*) \| (.*) \|$", chapter, re.MULTILINE)
    return [(promise, re.findall(r"`([^`]+)`", tests)) for promise, tests in rows if tests != "held by"]


def is_there(test: str) -> bool:
    file, _, name = test.partition("::")
    path = ROOT / "tests" / file
    return path.exists() and re.search(rf"^(?:def|static void) {re.escape(name)}\(", path.read_text(), re.MULTILINE) is not None


def test_promises_are_held_by_tests():
    assert len(promises()) >= 26
    assert [promise for promise, tests in promises() if not tests] == []
    assert [test for _, tests in promises() for test in tests if not is_there(test)] == []
