"""
What the plugin accepts and what it may notify of is in its man page and in its documentation, and nothing else; so are
directives, cache statuses and metrics of the module in its; and what SECURITY.md promises is held by tests that there are.
"""

import re
import subprocess

import pytest

from harness import BUILD, ROOT, temp_dir
from harness.collectd import Config, refusal

PLUGIN = ROOT / "collectd-plugin"
POD = PLUGIN / "collectd-aisearch.pod"
MAN_PAGE = POD.read_text()
MANUAL = (ROOT / "docs/collectd.md").read_text()
MODULE_MANUAL = (ROOT / "docs/nginx.md").read_text()

BLOCKS = {"plugin": "Plugin options", "account": "Account options", "instance": "Instance options"}

# What has an option that nobody knows, in each kind of block.
UNKNOWN = {
    "plugin": "Nobody 1",
    "account": '<Account "docs">\nNobody 1\n</Account>',
    "instance": '<Account "docs">\nAccountID "c3dc"\nAPIURL "http://localhost"\n<Instance "x">\nNobody 1\n</Instance>\n'
                "</Account>",
}


@pytest.fixture(scope="module")
def accepted() -> dict[str, list[str]]:
    """The options by block, as the plugin itself lists them, but for those that are gone."""
    with temp_dir() as tmp:
        log = refusal(Config("\n".join(UNKNOWN.values())), tmp).log
    lists = re.findall(r"`Nobody' is not known in a `(\w+)' block: use one of (.*)$", log, re.MULTILINE)
    assert len(lists) == len(BLOCKS), log
    return {block.lower(): names.split(", ") for block, names in lists}


def manual_options() -> list[str]:
    """Those in the tables of docs/collectd.md."""
    tables = re.findall(r"^\| option \| value .*\n\|[-|]+\n((?:\|.*\n)+)", MANUAL, re.MULTILINE)
    cells = [row.split("|")[1] for table in tables for row in table.splitlines()]
    return [name for cell in cells for name in re.findall(r"`<?(\w+)", cell)]


def conditions() -> dict[str, str]:
    """The severity of each, from the sources."""
    constants = re.findall(r"^  (CONDITION_\w+),", (PLUGIN / "instance.h").read_text(), re.MULTILINE)
    [table] = re.findall(r"names\[CONDITIONS\] = \{(.*?)\};", (PLUGIN / "instance.c").read_text(), re.DOTALL)
    names = dict(zip(constants, re.findall(r'"(\w+)"', table), strict=True))
    [failures] = re.findall(r"bool conditions_is_failure\(.*?\n\}", (PLUGIN / "conditions.c").read_text(), re.DOTALL)
    return {name: "FAILURE" if re.search(rf"{constant}\b", failures) else "WARNING" for constant, name in names.items()}


def section(title: str) -> str:
    """Of the man page."""
    return re.search(rf"^=head[12] {title}\n(.*?)(?=^=head|\Z)", MAN_PAGE, re.DOTALL | re.MULTILINE)[1]


def items(title: str) -> list[str]:
    return re.findall(r"^=item (.*)", section(title), re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_options_are_in_the_man_page(accepted, block):
    documented = [re.match(r"(?:E<lt>)?B<(\w+)>", item)[1] for item in items(BLOCKS[block])]
    assert sorted(documented) == sorted(accepted[block])


def test_options_are_in_the_manual(accepted):
    """Those of discovery are named twice, where they stand and where they are explained."""
    assert set(manual_options()) | {"Account"} == {name for names in accepted.values() for name in names}
    assert re.search(r'^### `<Account "NAME">`$', MANUAL, re.MULTILINE)


def test_options_that_are_gone_are_named_as_such(accepted):
    sources = "".join(path.read_text() for path in sorted(PLUGIN.glob("config*.c")))
    gone = re.findall(r'\{\.name = "(\w+)", \.read = read_gone\}', sources)
    assert len(gone) == 3 and not set(gone) & set(accepted["account"])
    [line] = re.findall(r"^`UnixSocket`, .* of earlier releases are still accepted, with a warning\.$", MANUAL, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", line)) == {"UnixSocket", *gone}


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


PAGES = [*(ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md")), *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: str) -> set[str]:
    """Of its headings, as GitHub makes them."""
    headings = re.findall(r"^#+ (.*)", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: page.name)
def test_links_between_pages(page):
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not target.startswith("http") and (not file.exists() or anchor and anchor not in anchors(file.read_text())):
            lost.append(target)
    assert lost == []


def test_pages_are_in_a_package():
    """But for those that are about the sources."""
    packaged = {name for docs in (ROOT / "debian").glob("*.docs") for name in docs.read_text().split()}
    assert packaged >= {str(page.relative_to(ROOT)) for page in PAGES} - {"CHANGELOG.md", "docs/architecture.md"}
    plugin = (ROOT / "debian/collectd-plugin-aisearch.docs").read_text().split()
    assert set(re.findall(r"\]\((\w+\.md)[)#]", MANUAL)) <= {name.removeprefix("docs/") for name in plugin}


@pytest.mark.parametrize("title, directory, prefix", [("A miss", "nginx-module", "ngx_http_aisearch_"),
                                                      ("A response", "collectd-plugin", "")])
def test_the_way_of_an_answer_is_short(title, directory, prefix):
    """In docs/architecture.md: nine files, which are there."""
    [chapter] = re.findall(rf"^## {title}\n(.*?)(?=^## )", (ROOT / "docs/architecture.md").read_text(), re.DOTALL | re.MULTILINE)
    steps = re.findall(r"^    (\d)\. (\S+\.c)\s", chapter, re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, 10))
    files = [ROOT / (name if "/" in name else f"{directory}/{prefix}{name}") for _, name in steps]
    assert [file for file in files if not file.exists()] == []


def layers() -> list[str]:
    """The plugin's files in docs/architecture.md, from the highest to the lowest."""
    page = (ROOT / "docs/architecture.md").read_text()
    [chapter] = re.findall(r"^## The files of the collectd plugin\n(.*?)(?=^## )", page, re.DOTALL | re.MULTILINE)
    return re.findall(r"^    (\w+)  ", chapter, re.MULTILINE)


def test_all_files_of_the_plugin_are_explained():
    """And no other ones; and each begins with what it is for."""
    sources = sorted(PLUGIN.glob("*.c"))
    assert sorted(layers()) == [source.stem for source in sources]
    assert [source.name for source in sources if not source.read_text().startswith("/*")] == []


def test_files_of_the_plugin_take_what_they_need_from_below():
    """By what the linker sees."""
    names = layers()
    defined, used = {}, set()
    for name in names:
        run = subprocess.run(["nm", BUILD / f"collectd-plugin/{name}.o"], stdout=subprocess.PIPE, check=True, text=True)
        symbols = [line.split()[-2:] for line in run.stdout.splitlines()]
        defined |= {symbol: name for kind, symbol in symbols if kind in "TDBRC"}
        used |= {(name, symbol) for kind, symbol in symbols if kind == "U"}
    taken = {(name, defined[symbol]) for name, symbol in used if symbol in defined}
    assert len(taken) > 2 * len(names)
    assert {(name, other) for name, other in taken if names.index(other) < names.index(name)} == set()


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
