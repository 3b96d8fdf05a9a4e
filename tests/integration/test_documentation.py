"""
The documentation matches the code: options and notifications of the plugin, directives, variables, status and metrics of
the module. Everything exists that architecture.md, CONTRIBUTING.md, tests/README.md and SECURITY.md name, such as files,
functions and tests.
"""

import re
import subprocess

import pytest

from gateway import account
from harness import BUILD, ROOT, temp_dir
from harness.collectd import Config, refusal

PLUGIN = ROOT / "collectd-plugin"
POD = PLUGIN / "collectd-aisearch.pod"
MAN_PAGE = POD.read_text()
MANUAL = (ROOT / "docs/collectd.md").read_text()
MODULE_MANUAL = (ROOT / "docs/nginx.md").read_text()

BLOCKS = {"plugin": "Plugin options", "account": "Account options", "instance": "Instance options"}

# A configuration with an unknown option in each kind of block.
UNKNOWN = {
    "plugin": "Nobody 1",
    "account": '<Account "docs">\nNobody 1\n</Account>',
    "instance": '<Account "docs">\nAccountID "c3dc"\nAPIURL "http://localhost"\n<Instance "x">\nNobody 1\n</Instance>\n'
                "</Account>",
}


@pytest.fixture(scope="module")
def accepted() -> dict[str, list[str]]:
    """The options by block, as listed in the plugin's own messages. Removed options are not listed."""
    with temp_dir() as tmp:
        log = refusal(Config("\n".join(UNKNOWN.values())), tmp).log
    lists = re.findall(r"`Nobody' is unknown in a `(\w+)' block: use one of (.*)$", log, re.MULTILINE)
    assert len(lists) == len(BLOCKS), log
    return {block.lower(): names.split(", ") for block, names in lists}


def manual_options() -> list[str]:
    """The options in the tables of docs/collectd.md."""
    tables = re.findall(r"^\| option \| value .*\n\|[-|]+\n((?:\|.*\n)+)", MANUAL, re.MULTILINE)
    cells = [row.split("|")[1] for table in tables for row in table.splitlines()]
    return [name for cell in cells for name in re.findall(r"`<?(\w+)", cell)]


def conditions() -> dict[str, str]:
    """The severity of each condition, according to the sources."""
    constants = re.findall(r"^  (CONDITION_\w+),", (PLUGIN / "instance.h").read_text(), re.MULTILINE)
    [table] = re.findall(r"names\[CONDITIONS\] = \{(.*?)\};", (PLUGIN / "instance.c").read_text(), re.DOTALL)
    names = dict(zip(constants, re.findall(r'"(\w+)"', table), strict=True))
    [failures] = re.findall(r"bool conditions_is_failure\(.*?\n\}", (PLUGIN / "conditions.c").read_text(), re.DOTALL)
    return {name: "FAILURE" if re.search(rf"{constant}\b", failures) else "WARNING" for constant, name in names.items()}


def section(title: str) -> str:
    """A section of the man page."""
    return re.search(rf"^=head[12] {title}\n(.*?)(?=^=head|\Z)", MAN_PAGE, re.DOTALL | re.MULTILINE)[1]


def items(title: str) -> list[str]:
    return re.findall(r"^=item (.*)", section(title), re.MULTILINE)


@pytest.mark.parametrize("block", BLOCKS)
def test_options_are_in_the_man_page(accepted, block):
    documented = [re.match(r"(?:E<lt>)?B<(\w+)>", item)[1] for item in items(BLOCKS[block])]
    assert sorted(documented) == sorted(accepted[block])


def test_options_are_in_the_manual(accepted):
    """docs/collectd.md describes all options, and no others."""
    assert set(manual_options()) | {"Account"} == {name for names in accepted.values() for name in names}
    assert re.search(r'^### `<Account "NAME">`$', MANUAL, re.MULTILINE)


def test_removed_options_are_documented(accepted):
    sources = "".join(path.read_text() for path in sorted(PLUGIN.glob("config*.c")))
    gone = re.findall(r'\{\.name = "(\w+)", \.read = read_gone\}', sources)
    assert len(gone) == 3 and not set(gone) & set(accepted["account"])
    [line] = re.findall(r"^`UnixSocket`, .* of earlier releases are still accepted, with a warning\.$", MANUAL, re.MULTILINE)
    assert set(re.findall(r"`(\w+)`", line)) == {"UnixSocket", *gone}


def test_notifications():
    known = conditions()
    assert len(known) >= 8
    assert dict(re.match(r"B<(\w+)> \((\w+)\)", item).groups() for item in items("NOTIFICATIONS")) == known
    assert [name for name in known if f"`{name}`" not in MANUAL] == []


def test_man_page_is_valid():
    run = subprocess.run(["podchecker", "-warnings", "-warnings", POD], stdout=subprocess.PIPE,
                         stderr=subprocess.STDOUT, check=False)
    assert run.returncode == 0 and b"WARNING" not in run.stdout, run.stdout.decode()


def test_links_of_the_man_page():
    targets = re.findall(r'L</"([^"]+)">', MAN_PAGE)
    assert targets
    assert [target for target in targets if not re.search(rf"^=head[12] {target}$", MAN_PAGE, re.MULTILINE)] == []


PAGES = [*(ROOT / name for name in ("README.md", "SECURITY.md", "CHANGELOG.md", "CONTRIBUTING.md", "tests/README.md")),
         *sorted((ROOT / "docs").glob("*.md"))]


def anchors(page: str) -> set[str]:
    """The anchors of all headings on a page, as GitHub generates them."""
    headings = re.findall(r"^#+ (.*)", page, re.MULTILINE)
    return {re.sub(r"[^\w\- ]", "", heading.lower()).replace(" ", "-") for heading in headings}


@pytest.mark.parametrize("page", PAGES, ids=lambda page: str(page.relative_to(ROOT)))
def test_links_between_pages(page):
    lost = []
    for target in re.findall(r"\]\(([^)\s]+)\)", page.read_text()):
        path, _, anchor = target.partition("#")
        file = page.parent / path if path else page
        if not target.startswith("http") and (not file.exists() or anchor and anchor not in anchors(file.read_text())):
            lost.append(target)
    assert lost == []


def test_pages_are_in_a_package():
    """The packages contain all pages except for those about the sources."""
    packaged = {name for docs in (ROOT / "debian").glob("*.docs") for name in docs.read_text().split()}
    sources = {"CHANGELOG.md", "CONTRIBUTING.md", "tests/README.md", "docs/architecture.md", "docs/building.md",
               "docs/container.md"}
    assert packaged >= {str(page.relative_to(ROOT)) for page in PAGES} - sources
    plugin = (ROOT / "debian/collectd-plugin-aisearch.docs").read_text().split()
    assert set(re.findall(r"\]\((\w+\.md)[)#]", MANUAL)) <= {name.removeprefix("docs/") for name in plugin}


@pytest.mark.parametrize("title, directory, prefix", [("A miss", "nginx-module", "ngx_http_aisearch_"),
                                                      ("A response", "collectd-plugin", "")])
def test_path_of_a_response_in_the_architecture(title, directory, prefix):
    """docs/architecture.md describes the path of a response in nine steps, each with an existing file."""
    [chapter] = re.findall(rf"^## {title}\n(.*?)(?=^## )", (ROOT / "docs/architecture.md").read_text(), re.DOTALL | re.MULTILINE)
    steps = re.findall(r"^    (\d)\. (\S+\.c)\s", chapter, re.MULTILINE)
    assert [int(number) for number, _ in steps] == list(range(1, 10))
    files = [ROOT / (name if "/" in name else f"{directory}/{prefix}{name}") for _, name in steps]
    assert [file for file in files if not file.exists()] == []


def test_files_and_functions_in_the_architecture_exist():
    """docs/architecture.md names files without their prefixes."""
    page = (ROOT / "docs/architecture.md").read_text()
    prefixes = ["", "nginx-module/ngx_http_aisearch_", "collectd-plugin/", "common/", "tests/integration/", "tests/unit/"]
    files = set(re.findall(r"`([\w/.-]+\.(?:c|h|py|pod))`", page))
    assert len(files) > 60
    assert [file for file in files if not any((ROOT / f"{prefix}{file}").exists() for prefix in prefixes)] == []
    sources = "".join(path.read_text() for part in ("nginx-module", "common", "collectd-plugin")
                      for path in (ROOT / part).glob("*.[ch]"))
    functions = set(re.findall(r"`(\w+)\(\)`", page))
    assert len(functions) > 15
    assert [name for name in functions if not re.search(rf"\b(?:ngx_http_aisearch_)?{name}\(", sources)] == []


def layers() -> list[str]:
    """The files of the plugin in docs/architecture.md, from the highest layer to the lowest."""
    page = (ROOT / "docs/architecture.md").read_text()
    [chapter] = re.findall(r"^## The files of the collectd plugin\n(.*?)(?=^## )", page, re.DOTALL | re.MULTILINE)
    return re.findall(r"^    (\w+)  ", chapter, re.MULTILINE)


def test_files_of_the_plugin_are_explained():
    """docs/architecture.md lists all files of the plugin, and each file begins with a comment."""
    sources = sorted(PLUGIN.glob("*.c"))
    assert sorted(layers()) == [source.stem for source in sources]
    assert [source.name for source in sources if not source.read_text().startswith("/*")] == []


def test_files_of_the_plugin_only_use_lower_layers():
    """According to the symbols in the object files, no file uses one of a higher layer in docs/architecture.md."""
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


def test_output_of_the_demo_in_the_readme():
    """The steps, headers and values in the README are those in the source of the demo."""
    [quoted] = re.findall(r"^`make demo` starts .*?(?=^Ctrl-C ends)", (ROOT / "README.md").read_text(), re.DOTALL | re.MULTILINE)
    demo = (ROOT / "scripts/demo.py").read_text()
    steps = re.findall(r"^    \d+\. (.*)$", quoted, re.MULTILINE)
    headers = re.findall(r"^        ([A-Z][\w-]+): ", quoted, re.MULTILINE)
    values = re.findall(r"^        aisearch-(\S+) +\d+  (.*)$", quoted, re.MULTILINE)
    assert len(steps) == len(values) == 3 and len(headers) == 4
    assert [text for text in (*steps, *(f'"{header}"' for header in headers)) if text not in demo] == []
    assert [name for name, meaning in values if meaning not in demo or name not in demo] == []


def module(name: str) -> str:
    return (ROOT / f"nginx-module/ngx_http_aisearch_{name}.c").read_text()


CONTEXTS = {"NGX_HTTP_MAIN_CONF": "http", "NGX_HTTP_SRV_CONF": "server", "NGX_HTTP_LOC_CONF": "location",
            "NGX_HTTP_LIF_CONF": "if in location", "NGX_HTTP_LMT_CONF": "limit_except"}


def commands(name: str) -> dict[str, list[str]]:
    """The flags of each directive in the command table of a file."""
    table = re.search(r"static ngx_command_t  \w+\[\] = \{(.*?)ngx_null_command", module(name), re.DOTALL)[1]
    return {directive: flags.split("|") for directive, flags in re.findall(r'ngx_string\("(\w+)"\),\s+(\w[\w|]+),', table)}


def directives(title: str) -> dict[str, dict[str, str]]:
    """The directives of a chapter in docs/nginx.md, with the cells Syntax, Default and Context of their tables."""
    chapter = re.search(rf"^## {title}$(.*?)^## ", MODULE_MANUAL, re.DOTALL | re.MULTILINE)[1]
    found = {}
    for heading, text in re.findall(r"^### (.+?)\n(.*?)(?=^### |\Z)", chapter, re.DOTALL | re.MULTILINE):
        cells = dict(re.findall(r"^\| (Syntax|Default|Context): \| (.*) \|$", text, re.MULTILINE))
        found |= dict.fromkeys(heading.split(", "), cells)
    return found


def test_directives_of_the_module():
    """docs/nginx.md describes exactly the directives of the command tables, with the contexts that their flags allow."""
    documented = directives("Directives")
    contexts = {name: ", ".join(text for flag, text in CONTEXTS.items() if flag in flags)
                for name, flags in commands("module").items()}
    assert {name: cells["Context"] for name, cells in documented.items()} == contexts
    assert sorted(directives("The account block")) == sorted(commands("account_conf"))


@pytest.mark.parametrize("title", ["Directives", "The account block"])
def test_syntax_and_default_of_each_directive(title):
    """Syntax and default name the directive. The syntax of a flag shows both on and off."""
    flags = commands("module") | commands("account_conf")
    for name, cells in directives(title).items():
        assert f"**{name}**" in cells["Syntax"], name
        assert (r"`on` \| `off`" in cells["Syntax"]) == ("NGX_CONF_FLAG" in flags[name]), name
        assert re.match(rf"- ?|(?:{name} [^;]+;(?:<br>)?)+$", cells["Default"]), name


# Fields of the configuration that have other names than their directives.
FIELDS = {"limit_status": "limit_fetches_status", "limit": "limit_fetches", "bypass": "cache_bypass"}

UNITS = {"": 1, "ms": 1, "s": 1000, "m": 60_000, "h": 3_600_000}
CONSTANTS = {"SECOND": 1000, "MINUTE": 60_000, "DAY": 86_400_000, "NGX_HTTP_TOO_MANY_REQUESTS": 429, "NULL": 0}


def number(text: str) -> int:
    """The number in a documented value. Times are converted to milliseconds."""
    amount, unit = re.fullmatch(r"(\d+)(\w*)", {"on": "1", "off": "0", "-": "0"}.get(text, text)).groups()
    return int(amount) * UNITS[unit]


def test_defaults_of_directives():
    """The documented defaults are those in the code that merges and initializes configurations."""
    code = re.findall(r"ngx_conf_(?:merge|init)_\w*value\(\w+->(\w+),(?:\s*prev->\w+,)?\s*(\w+)\)",
                      module("loc_conf") + module("account"))
    assert len(code) >= 13
    documented = directives("Directives") | directives("The account block")
    for field, value in code:
        name = FIELDS.get(field, field)
        name = name if name in documented else f"aisearch_{name}"
        default = documented[name]["Default"].removeprefix(name).strip(" ;")
        assert number(default) == int(CONSTANTS.get(value, value)), name


def test_default_lifetimes():
    text = (ROOT / "common/ais_policy.c").read_text()
    table = re.search(r"ais_valid_default = \{(.*?)\};", text, re.DOTALL)[1]
    code = {name: eval(value, dict(CONSTANTS)) for name, value in re.findall(r"\.(\w+) = (.*),", table)}
    shown = dict(re.findall(r"aisearch_valid (\w+) ([^;]+);", directives("Directives")["aisearch_valid"]["Default"]))
    shown["active"], shown["active_max"] = shown["active"].split()
    assert {name: number(time) for name, time in shown.items()} == code


def test_variables_of_the_module():
    [chapter] = re.findall(r"^## Variables$(.*?)^## ", MODULE_MANUAL, re.DOTALL | re.MULTILINE)
    assert re.findall(r"^\| `\$(\w+)` \| .+ \|$", chapter, re.MULTILINE) == re.findall(
        r'\{ ngx_string\("(\w+)"\), NULL,', module("variables"))


def test_cache_statuses_of_the_module():
    [names] = re.findall(r"ngx_http_aisearch_cache_statuses\[\] = \{(.*?)\};", module("stats"), re.DOTALL)
    [row] = re.findall(r"^\| `\$aisearch_cache_status` \| (.*)$", MODULE_MANUAL, re.MULTILINE)
    assert sorted(re.findall(r"`([A-Z]+)`: ", row)) == sorted(re.findall(r'ngx_string\("([A-Z]+)"\)', names))


def status_rows() -> list[tuple[str, str]]:
    """The rows in the chapter "Status": the JSON member, and the Prometheus metric (if any)."""
    [chapter] = re.findall(r"^## Status$(.*?)^## ", MODULE_MANUAL, re.DOTALL | re.MULTILINE)
    return re.findall(r"^\| `([\w.]+)` \| (?:`([\w{}]+)`)? ?\|", chapter, re.MULTILINE)


def members(status: dict) -> set[str]:
    """The members of the JSON status: of an account, of the zone, and at the top level."""
    groups = {"budget", "breaker", "credential"}
    [account] = status["accounts"].values()
    found = {key for key in account if key not in groups}
    found |= {f"{group}.{key}" for group in groups for key in account[group]}
    found |= {key for key in status if key not in ("accounts", "zone")}
    return found | {f"zone.{key}" for key in status["zone"] if key != "name"}


def families(exposition: str) -> dict[str, str]:
    """The type of each metric in the Prometheus format. Each metric must have a HELP text that is a sentence."""
    helps = dict(re.findall(r"^# HELP (\w+) (.*)$", exposition, re.MULTILINE))
    kinds = dict(re.findall(r"^# TYPE (\w+) (\w+)$", exposition, re.MULTILINE))
    assert set(helps) == set(kinds)
    assert [name for name, text in helps.items() if not re.fullmatch(r"[A-Z0-9].*\.", text)] == []
    return kinds


def test_status_of_the_module(nginx, simulator):
    """docs/nginx.md documents exactly the JSON members and the metrics (with their labels) that nginx returns."""
    server = nginx(http=account(simulator), server="location = /status { aisearch_status; }")
    rows = status_rows()
    assert sorted(key for key, _ in rows) == sorted(members(server.get("/status").json()))
    exposition = server.get("/status?format=prometheus").body.decode()
    kinds = families(exposition)
    assert sorted(re.sub("{.*", "", metric) for _, metric in rows if metric) == sorted(kinds)
    assert [name for name, kind in kinds.items() if (kind == "counter") != name.endswith("_total")] == []
    labels = set(re.findall(r'^(\w+)\{(?:account="\w+",)?(\w+)=', exposition, re.MULTILINE))
    assert {tuple(metric.rstrip("}").split("{")) for _, metric in rows if "{" in metric} == {
        (name, label) for name, label in labels if label not in ("account", "zone", "le")}


def test_metrics_of_jobs():
    """docs/nginx.md documents exactly the metrics of aisearch_metrics."""
    [chapter] = re.findall(r"^## Metrics of jobs$(.*?)^## ", MODULE_MANUAL, re.DOTALL | re.MULTILINE)
    documented = re.findall(r"^\| `(\w+)(?:\{\w+\})?` \| .* \| .* \|$", chapter, re.MULTILINE)
    written = re.findall(r'"(aisearch_\w+)",\s*"[A-Z0-9][^"]*\."', (ROOT / "common/ais_exposition.c").read_text())
    assert len(written) >= 10 and sorted(documented) == sorted(written)


def test_names_in_the_manual_of_the_module():
    """Each name with the prefix aisearch_ is an existing directive, variable or metric, or a name in an example."""
    names = set(re.findall(r"(?<![\w/.-])\$?aisearch_\w+", MODULE_MANUAL))
    known = {*commands("module"), *(f"${name}" for name in re.findall(r'ngx_string\("(\w+)"\), NULL', module("variables"))),
             *re.findall(r'"(?:# HELP )?(aisearch_\w+)[" ]', module("metrics") + module("status") + (ROOT / "common/ais_exposition.c").read_text())}
    examples = {"$aisearch_is_timed", "aisearch_limit"}
    assert sorted(names - known - examples) == []


def test_version_is_the_same_everywhere():
    [version] = re.findall(r'AIS_VERSION "(.+)"', (ROOT / "common/ais_version.h").read_text())
    assert re.search(r"^## (\S+) - ", (ROOT / "CHANGELOG.md").read_text(), re.MULTILINE)[1] == version
    assert (ROOT / "debian/changelog").read_text().startswith(f"aisearch-jobs ({version}) ")


def test_files_and_names_in_the_guide_exist():
    """The paths, functions, types and constants that CONTRIBUTING.md names exist."""
    text = (ROOT / "CONTRIBUTING.md").read_text()
    quoted = set(re.findall(r"`([^`\n]+)`", text))
    paths = {name for name in quoted if re.fullmatch(r"[a-z][\w-]*(/[\w.-]+)+", name) and "NAME" not in name}
    assert len(paths) > 30
    assert sorted(path for path in paths if not (ROOT / path).exists() and not path.startswith("build/")) == []
    code = "".join(path.read_text() for directory in ("common", "nginx-module", "collectd-plugin", "tests/fuzz")
                   for path in sorted((ROOT / directory).glob("*.[ch]")))
    code += (ROOT / "tests/integration/test_outlets.py").read_text()
    names = {name.removesuffix("()").split()[-1] for name in quoted if re.fullmatch(
        r"(?:struct |enum )?\w*_\w*(?:\(\))?|[a-z]+\(\)", name)} - {"ngx_http_aisearch_", "ais_", "AIS_", "_t"}
    assert len(names) > 40
    assert sorted(name for name in names if not re.search(rf"\b{name}\b", code)) == []


@pytest.mark.parametrize("directory, ending", [("unit", "c"), ("integration", "py")])
def test_files_are_in_the_guide_to_the_tests(directory, ending):
    """The tables in tests/README.md list each test file once."""
    chapter = (ROOT / "tests/README.md").read_text().split(f" in `{directory}` (without ")[1].split("\n\n")[1]
    named = [name for row in chapter.splitlines()[2:] for name in re.findall(r"`(\w+)`", row.split("|")[2])]
    assert sorted(named) == sorted(path.stem.removeprefix("test_")
                                   for path in (ROOT / "tests" / directory).glob(f"test_*.{ending}"))


def test_gates_are_in_the_guide():
    """CONTRIBUTING.md lists the gates of .ci/run."""
    gates = re.findall(r"^gate ([\w-]+) ", (ROOT / ".ci/run").read_text(), re.MULTILINE)
    [sentence] = re.findall(r"^The gates are (.*?)\.", (ROOT / "CONTRIBUTING.md").read_text(), re.DOTALL | re.MULTILINE)
    assert re.findall(r"`([\w-]+)`", sentence) == gates


def promises() -> list[tuple[str, list[str]]]:
    """The rows of the tables in SECURITY.md: a promise, and its tests as "FILE::TEST"."""
    [chapter] = re.findall(r"^## What is promised.*?(?=^## )", (ROOT / "SECURITY.md").read_text(), re.DOTALL | re.MULTILINE)
    rows = re.findall(r"^\| (.*) \| (.*) \|$", chapter, re.MULTILINE)
    return [(promise, re.findall(r"`([^`]+)`", tests)) for promise, tests in rows if tests != "held by"]


def exists(test: str) -> bool:
    file, _, name = test.partition("::")
    path = ROOT / "tests" / file
    return path.exists() and re.search(rf"^(?:def|static void) {re.escape(name)}\(", path.read_text(), re.MULTILINE) is not None


def test_promises_are_tested():
    """Each promise in SECURITY.md names at least one test, and all of these tests exist."""
    assert len(promises()) >= 26
    assert [promise for promise, tests in promises() if not tests] == []
    assert [test for _, tests in promises() for test in tests if not exists(test)] == []
