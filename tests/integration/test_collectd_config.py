"""The collectd plugin's configuration: each error and its message, and what collectd does then."""

import re
import time

import pytest

from harness import net
from harness.collectd import INTERVAL, Collectd, Config, refusal
from harness.simulator import ACCOUNT
from reports import account, asked, has, steps


def block(lines: str, name: str = "docs") -> str:
    return f'<Account "{name}">\n{lines}\n</Account>'


BASIC = f'AccountID "{ACCOUNT}"\nTokenFile "@TOKEN@"\n'
VALID = BASIC + 'Instance "handbook"\n'
THROUGH = f'AccountID "{ACCOUNT}"\nInstance "handbook"\n'  # without credential and URL

# A configuration and its message, with the error and the remedy. @TOKEN@ is a file with a token, @EMPTY@ is empty,
# @TWO@ contains two lines, @TMP@ is a directory, and @NOCERT@ is a file without a certificate.
INVALID = {
    "empty configuration": ("", r"No account.*Add a <Plugin aisearch> block"),
    "StateFile twice": ('StateFile "a"\nStateFile "b"', r"`StateFile' is given twice"),
    "StateFile in two blocks": ('StateFile "a"\n</Plugin>\n<Plugin aisearch>\nStateFile "b"', r"`StateFile' is given twice"),
    "StateFile without a name": ('StateFile "/tmp/"', r"StateFile \"/tmp/\" is not a file in an existing directory"),
    "unknown option": ('Acount "docs"', r"`Acount' is unknown in a `Plugin' block: did you mean \"Account\"\?"),
    "unknown account option": (block(VALID + 'Colour 300'),
                               r"`Colour'.*`Account'.*use one of AccountID, TokenFile,.*Timeout, Budget,.* Instance"),
    "unknown instance option": (block(BASIC + '<Instance "x">\nColour "a"\n</Instance>'),
                                r"`Colour'.*`Instance'.*use one of Namespace, Generation, Job"),
    "option twice": (block(VALID + 'Timeout 1\ntimeout 2'), r"`timeout' is given twice.*Remove one"),
    "no name": (f"<Account>\n{VALID}\n</Account>", r"Account takes one string, in quotes"),
    "number for a name": (f"<Account 7>\n{VALID}\n</Account>", r"Account takes one string, in quotes"),
    "dash in a name": (block(VALID, "my-docs"), r'Account "my-docs" is not a valid name\. Use 1 to 28 characters of A-Z, a-z, 0-9, _\.'),
    "name too long": (block(VALID, "a" * 29), r'Account "a{29}" is not a valid name\. Use 1 to 28'),
    "empty name": (block(VALID, ""), r'Account "" is not a valid name\. Use 1 to 28'),
    "name twice": (block(VALID) + "\n" + block(VALID, "DOCS"), r'"DOCS": Two Account blocks.*Rename one'),
    "no AccountID": (block('TokenFile "@TOKEN@"\nInstance "x"'), r'"docs": AccountID is missing. Copy'),
    "bad AccountID": (block(VALID.replace(ACCOUNT, ACCOUNT.upper())), r"AccountID .*Use the 32 digits of 0-9 and a-f"),
    "AccountID with a slash": (block(VALID.replace(ACCOUNT, "../x")), r'AccountID "../x".*Use the 32 digits'),
    "no credential": (block(THROUGH), r"credential is missing. Add TokenFile, or Email and KeyFile, or the APIURL"),
    "both schemes": (block(VALID + 'Email "u@example.com"\nKeyFile "@TOKEN@"'), r"TokenFile alone, or Email and KeyFile"),
    "KeyFile alone": (block(THROUGH + 'KeyFile "@TOKEN@"'), r"Email is missing"),
    "Email alone": (block(THROUGH + 'Email "u@example.com"'), r"KeyFile is missing"),
    "bad Email": (block(THROUGH + 'Email "nobody"\nKeyFile "@TOKEN@"'), r"KeyFile: .*email address; use"),
    "no such token file": (block(THROUGH + 'TokenFile "@TMP@/none"'), r'TokenFile: .*"@TMP@/none": No such file.*; '),
    "directory for a token file": (block(THROUGH + 'TokenFile "@TMP@"'), r"TokenFile: .*not a regular file; write"),
    "empty token file": (block(THROUGH + 'TokenFile "@EMPTY@"'), r"TokenFile: .*empty; write"),
    "two lines in a token file": (block(THROUGH + 'TokenFile "@TWO@"'), r"TokenFile: .*line break.*; write"),
    "two lines in a key file": (block(THROUGH + 'Email "u@example.com"\nKeyFile "@TWO@"'),
                                r"KeyFile: .*line break.*; write"),
    "relative token file": (block(THROUGH + 'TokenFile "token"'), r"TokenFile must be an absolute path"),
    "number for a token file": (block(THROUGH + "TokenFile 7"), r"TokenFile takes one string, in quotes"),
    "relative key file": (block(THROUGH + 'Email "u@example.com"\nKeyFile "key"'), r"KeyFile must be an absolute"),
    "bad APIURL": (block(VALID + 'APIURL "ftp://example.com/"'), r"APIURL: .*http"),
    "APIURL with a user": (block(VALID + 'APIURL "https://u:p@example.com/"'), r"APIURL: "),
    "APIURL with a query": (block(VALID + 'APIURL "https://example.com/?a=b"'), r"APIURL: "),
    "to another host over plain http": (block(VALID + 'APIURL "http://192.0.2.1/client/v4"'),
                                   r"APIURL would send the credential to another host over plain http.*Use https"),
    "plain http through a proxy": (
        block(VALID + 'APIURL "http://127.0.0.1/client/v4"\nProxy "http://192.0.2.1:3128"'),
        r"APIURL would send the credential to another host over plain http.*Use https"),
    "UnixSocket without APIURL": (block(VALID + 'UnixSocket "/run/x.sock"'), r"UnixSocket cannot be used\. Use APIURL"),
    "UnixSocket with https": (block(VALID + 'APIURL "https://localhost"\nUnixSocket "/run/x.sock"'),
                              r"UnixSocket cannot be used\. Use APIURL"),
    "UnixSocket twice": (block(VALID + 'APIURL "http://unix:/run/y.sock:/client/v4"\nUnixSocket "/run/x.sock"'),
                         r"UnixSocket cannot be used\. Use APIURL"),
    "UnixSocket and Proxy": (
        block(VALID + 'APIURL "http://localhost"\nUnixSocket "/run/x.sock"\nProxy "http://192.0.2.1:3128"'),
        r"Proxy has no effect on a Unix socket. Remove it"),
    "relative UnixSocket": (block(VALID + 'APIURL "http://localhost"\nUnixSocket "x.sock"'), r"UnixSocket cannot be used\. Use APIURL"),
    "long UnixSocket": (block(VALID + f'APIURL "http://localhost"\nUnixSocket "/{"x" * 108}"'),
                        r"UnixSocket cannot be used\. Use APIURL"),
    "no such CACert": (block(VALID + 'CACert "@TMP@/none.pem"'), r'CACert: .*"@TMP@/none.pem": No such file'),
    "CACert without a certificate": (block(VALID + 'CACert "@NOCERT@"'), r"CACert: .*PEM"),
    "relative CACert": (block(VALID + 'CACert "ca.pem"'), r"CACert must be an absolute path"),
    "VerifyPeer is not a boolean": (block(VALID + "VerifyPeer 7"), r"VerifyPeer takes true or false"),
    "VerifyHost is not a boolean": (block(VALID + 'VerifyHost "maybe"'), r"VerifyHost takes true or false"),
    "bad Proxy": (block(VALID + 'Proxy "socks5://192.0.2.1"'), r"Proxy: "),
    "Timeout of 0": (block(VALID + "Timeout 0"), r"Timeout 0 is out of range. Use 1 to 3600000\."),
    "negative Timeout": (block(VALID + "Timeout -5"), r"Timeout -5 is out of range. Use 1 to"),
    "endless Timeout": (block(VALID + "Timeout 99999999999999999999"), r"Timeout 1e\+20 is out of range. Use 1 to"),
    "Timeout is not a number": (block(VALID + 'Timeout "5s"'), r"Timeout takes one number .*, without quotes or a unit"),
    **{f"Budget {name}": (block(VALID + f"Budget {numbers}"),
                          r'"docs": Budget takes a whole number of calls from 1 to 1000000, and 1 to 86400 seconds, such as: Budget 3')
       for name, numbers in (("without a time", "300"), ("with a unit", '300 "5m"'), ("of three", "300 300 1"),
                             ("of 0 calls", "0 300"), ("of less", "-1 300"), ("of half a call", "1.5 300"),
                             ("of too many calls", "1000001 300"), ("of no time", "300 0"),
                             ("of two days", "300 172800"), ("without numbers", '"300" "300"'))},
    "five Budgets": (block(VALID + "\n".join(f"Budget 10 {n}" for n in range(1, 6))),
                     r"There are more than 4 Budget options. Remove some"),
    "five Budgets for one credential": (
        block(VALID + "Budget 1 1\nBudget 2 2\nBudget 3 3") + "\n" + block(VALID + "Budget 4 4\nBudget 5 5", "more"),
        r'"more": It shares its credential with Account "docs", and together.*more than 4 .*Use the same'),
    "StalledAfter below 0": (block(VALID + "StalledAfter -1"),
                             r"StalledAfter -1 is out of range. Use 1 to 31536000, or 0 for never"),
    "OverdueAfter is not a number": (block(VALID + 'OverdueAfter "12h"'),
                                  r"OverdueAfter takes one number .*, without quotes or a unit"),
    "OverdueAfter of two years": (block(VALID + "OverdueAfter 63072000"), r"OverdueAfter 63072000 is out of range"),
    "ReportItems is not a boolean": (block(VALID + "ReportItems 1"), r"ReportItems takes true or false"),
    "ReportDetails twice": (block(VALID + "ReportDetails true\nReportDetails false"), r"`ReportDetails' is given twice"),
    "ActiveInterval of 0": (block(VALID + "ActiveInterval 0"), r"ActiveInterval 0 is out of range. Use 0\.001 to 86400"),
    "ActiveInterval is not a number": (block(VALID + 'ActiveInterval "20s"'), r"ActiveInterval takes one number .*, without quotes or a unit"),
    "endless IdleInterval": (block(VALID + "IdleInterval 1000000000"), r"IdleInterval 1000000000 is out of range. Use 0\.001 to 864"),
    "IdleInterval below ActiveInterval": (block(VALID + "ActiveInterval 60\nIdleInterval 30"),
                                          r"IdleInterval 30 is below ActiveInterval 60. Use a longer one"),
    "DiscoverInstances maybe": (block(BASIC + 'DiscoverInstances 7'), r"DiscoverInstances takes true or false"),
    "DiscoverInstance of nothing": (block(BASIC + 'DiscoverInstance ""'),
                                    r'DiscoverInstance "" cannot be used: no instance can have this name. Use .*such as "/\^docs-/"'),
    "DiscoverInstance is not an expression": (block(BASIC + 'DiscoverInstance "/a(b/"'),
                                          r'DiscoverInstance "/a\(b/" cannot be used: Unmatched \( or .*Use the name'),
    **{f"DiscoverInstance {name}": (block(BASIC + f'DiscoverInstance "{name}"'),
                                    r'DiscoverInstance ".*" cannot be used: no instance can have this name. Use the name')
       for name in ("docs-*", "^docs-", "/^docs-", "Docs", "docs handbook")},
    "DiscoverInstance is not a string": (block(BASIC + "DiscoverInstance 1"), r"DiscoverInstance takes one string, in quotes"),
    "bad DiscoverNamespace": (block(BASIC + 'DiscoverNamespace "a@b"'),
                              r'DiscoverNamespace "a@b" is not the name of a namespace. Use 1 to 28 characters of a-z, 0-9 and -, '),
    "DiscoverNamespace twice": (block(BASIC + 'DiscoverNamespace "a"\nDiscoverNamespace "b"\nDiscoverNamespace "a"'),
                                r'DiscoverNamespace "a" is given twice\.'),
    "IgnoreSelected twice": (block(VALID + "IgnoreSelected true\nIgnoreSelected true"), r"`IgnoreSelected' is given twice"),
    "DiscoveryInterval of 0": (block(VALID + "DiscoveryInterval 0"), r"DiscoveryInterval 0 is out of range. Use 0\.001 to 86400"),
    "endless DiscoveryInterval": (block(VALID + "DiscoveryInterval 1000000000"), r"DiscoveryInterval 1000000000 is out of range"),
    "DiscoverInstances false": (block(BASIC + 'DiscoverInstances false\nDiscoverInstance "a"'), r"No instance is configured"),
    "no Instance": (block(BASIC), r'"docs": No instance is configured. Add an <Instance> block, or DiscoverInstances true'),
    "Instance without a name": (block(BASIC + '<Instance>\nJob "a"\n</Instance>'), r"Instance takes one string, in quotes"),
    "bad Instance": (block(BASIC + 'Instance "Hand-Book"'), r'Instance "Hand-Book": This is not the name of an instance\. Use 1 to 64 characters of a-z'),
    "long Instance": (block(BASIC + f'Instance "{"i" * 65}"'), r"is not the name of an instance. Use 1 to 64"),
    "long autorag": (block(BASIC + f'<Instance "{"i" * 33}">\nGeneration "autorag"\n</Instance>'), r"Use 1 to 32 characters of a-z"),
    "Instance with a slash": (block(BASIC + 'Instance "a/../b"'), r'Instance "a/../b": This is not the name of an instance\. Use 1 to 64'),
    **{f"Namespace {name}": (block(BASIC + f'<Instance "x">\nNamespace "{name}"\n</Instance>'),
                             rf'Instance "x": Namespace "{name}" is not the name of a namespace\. Use 1 to 28 characters of a-z, 0-9 and -, '
                             r"but no - at the beginning or end\.") for name in ("a@b", "team_blue", "n" * 29, "-a")},
    "bad Generation": (block(BASIC + '<Instance "x">\nGeneration "rag"\n</Instance>'),
                       r'Generation "rag" is not known. Use "instance" or "autorag"'),
    "autorag in a namespace": (block(BASIC + '<Instance "x">\nGeneration "autorag"\nNamespace "n"\n</Instance>'),
                               r"AutoRAG has no namespaces. Remove Namespace or Generation"),
    "bad Job": (block(BASIC + '<Instance "x">\nJob "a b"\n</Instance>'), r'Job "a b" is not.*Use 1 to 64 characters of A-Z'),
    "long Job": (block(BASIC + f'<Instance "x">\nJob "{"j" * 65}"\n</Instance>'), r"is not a job id. Use 1 to 64"),
    "Job twice": (block(BASIC + '<Instance "x">\nJob "a"\nJob "b"\nJob "a"\n</Instance>'),
                  r'Job "a" is given twice\.'),
    "Instance twice": (block(VALID + 'Instance "handbook"'), r'both report as "docs-handbook". Put all Job options'),
    "default namespace": (block(VALID + '<Instance "handbook">\nNamespace "default"\n</Instance>'),
                          r'both report as "docs-handbook"'),
    "autorag of the same name": (block(VALID + '<Instance "handbook">\nGeneration "autorag"\n</Instance>'),
                                 r'both report as "docs-handbook".*two Account blocks'),
}


@pytest.mark.parametrize("wrong", INVALID)
def test_invalid_configuration(tmp, wrong):
    """collectd -T logs the reason and fails. Without -T, collectd starts."""
    aisearch, message = INVALID[wrong]
    files = {"TOKEN": "s3cret-token", "EMPTY": "", "TWO": "s3cret-token\nline", "NOCERT": "no certificate"}
    for name, content in files.items():
        (tmp / name.lower()).write_text(content)
    for name in files:
        aisearch = aisearch.replace(f"@{name}@", str(tmp / name.lower()))
    refused = refusal(Config(aisearch.replace("@TMP@", str(tmp))), tmp)

    assert refused.status == 1
    assert "Initialization complete" not in refused.log
    assert re.search("aisearch plugin: .*" + message.replace("@TMP@", str(tmp)), refused.log), refused.log
    assert "s3cret" not in refused.log


def test_invalid_block_does_not_affect_others(simulator, collectd):
    """If two blocks conflict, the first is used. The conditions of a rejected block do not end."""
    for name in ("handbook", "wiki"):
        simulator.instance(f"instances/{name}", [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator, 'Instance "handbook"', 'Instance "wiki"'),
                      account(simulator, 'Instance "handbook"', name="more"))
    for name in ("docs-handbook", "docs-wiki", "more-handbook"):
        daemon.wait_report(name.partition("-")[0], lambda r: r.get(f"{name}/gauge-state") == 1)
    for name in ("handbook", "wiki"):
        simulator.job(f"instances/{name}", "a", state="failed", ends_in=0)
    net.wait_until(lambda: len(daemon.notifications()) == 3, 10, "three failures")
    daemon.stop()

    right = daemon.config.aisearch
    wrong = right.replace('Instance "wiki"', '<Instance "wiki">\nJobs "a"\n</Instance>\nInstance "handbook"')
    wrong = wrong.replace('<Account "more">', '<Account "more">\nBugdet 300 300')
    daemon.config.aisearch = f"Acount 7\n{wrong}\n" + account(simulator, 'Instance "other"')
    since = time.time()
    daemon.start()
    report = daemon.wait_report("docs", has("docs-handbook/gauge-state"), since=since)
    assert {name.partition("/")[0] for name in report} == {"docs", "docs-handbook"}
    assert report["docs-handbook/gauge-failed"] == 1
    for message in ("`Acount' is unknown", "`Jobs' is unknown", 'both report as "docs-handbook"',
                    "`Bugdet' is unknown", "Two Account blocks have this name"):
        assert len(daemon.log_lines(rf"\[error\] aisearch plugin: .*{message}")) == 1, message
    daemon.wait_reads(3)
    assert len(daemon.notifications()) == 3
    daemon.stop()

    daemon.config.aisearch = right
    since = time.time()
    daemon.start()
    for name in ("docs-handbook", "docs-wiki", "more-handbook"):
        report = daemon.wait_report(name.partition("-")[0], has(f"{name}/gauge-failed"), since=since)
        assert report[f"{name}/gauge-failed"] == report[f"{name}/operations-failed"] == 1
    assert len(daemon.notifications()) == 3


def test_all_errors_of_a_block_are_logged(tmp):
    """All errors are logged, not only the first, and each message names its block."""
    wrong = block('Bugdet 300 300\nTimeout 0\nTimeout 1\n<Instance "x">\nJob "a b"\nJobs "a"\n</Instance>\nCACert "ca.pem"')
    refused = refusal(Config(wrong), tmp)
    assert refused.status == 1
    for message in (": The option `Bugdet' is unknown", ": Timeout 0 is out of range", ": The option `Timeout' is given twice",
                    ': Instance "x": Job "a b" is not a job id', ': Instance "x": The option `Jobs\' is unknown',
                    ": CACert must be an absolute path"):
        assert len(re.findall(rf'aisearch plugin: Account "docs"{message}', refused.log)) == 1, message


def test_no_valid_account(simulator, collectd):
    """Without any valid account, collectd continues with its other plugins."""
    daemon = collectd(block(VALID.replace("TokenFile", "TokenFiel")), extra="LoadPlugin uptime")
    assert daemon.log_lines("`TokenFiel' is unknown") and daemon.log_lines("No account can be used")
    net.wait_until(lambda: len(daemon.series("uptime", "uptime")) >= 2, 10)


def test_token_instead_of_its_file(tmp):
    refused = refusal(Config(block(THROUGH + 'TokenFile "s3cret-token"')), tmp)
    assert refused.status == 1
    assert "TokenFile must be an absolute path" in refused.log and "s3cret" not in refused.log


def test_no_configuration_at_all(tmp):
    """With only LoadPlugin, collectd continues without the plugin, as with others, and logs that."""
    with Collectd(tmp, Config(None)) as daemon:
        line = daemon.wait_log("No account is configured")
        assert "[error] aisearch plugin:" in line and "Add a <Plugin aisearch> block" in line


def test_two_plugin_blocks(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "queued"}])
    daemon = collectd(account(simulator, 'Instance "handbook"') + "\n</Plugin>\n<Plugin aisearch>",
                      account(simulator, 'Instance "handbook"', name="more"))
    daemon.wait_report("docs", has("docs-handbook/gauge-state"))
    daemon.wait_report("more", has("more-handbook/gauge-state"))


def test_removed_options_have_no_effect(simulator, collectd):
    """Each option is accepted, with one warning that it has no effect."""
    simulator.instance("instances/handbook")
    gone = ("MaxStreams 7", "ReportJobs true", "ReportSource true")
    daemon = collectd(account(simulator, *gone, 'Instance "handbook"'))
    daemon.wait_report("docs", has("docs-handbook/count-running"))
    for option in gone:
        assert len(daemon.log_lines(rf'\[warning\] .*"docs": {option.split()[0]} no longer has any effect\. Remove it')) == 1


def test_incomplete_account_id(simulator, collectd):
    daemon = collectd(account(simulator, 'Instance "handbook"').replace(ACCOUNT, ACCOUNT[:-1]))
    daemon.wait_log(r'Account "docs": AccountID ".*" has 31 digits instead of 32, so the API will reject it\. Copy')


def test_timeout_longer_than_the_interval(simulator, collectd):
    simulator.instance("instances/handbook")
    simulator.fault(delay=10 * INTERVAL)
    options = f'TokenFile "{simulator.token_file}"\nAPIURL "{simulator.url}"\nTimeout 60000'
    daemon = collectd(account(simulator, 'Instance "handbook"', options=options))
    assert daemon.log_lines(r'\[warning\] aisearch plugin: Account "docs": Timeout 60000 is too long for an ActiveInterval')
    report = daemon.wait_report("docs", lambda r: r["docs/errors-timeout"] >= 3)
    assert report["docs/http_requests"] in range(3, 6), "one lookup for each interval"


def test_active_interval_below_the_interval(simulator, collectd):
    simulator.instance("instances/handbook", [{"id": "a", "state": "running"}])
    daemon = collectd(account(simulator, 'Instance "handbook"', pacing=f"ActiveInterval {INTERVAL / 10}"))
    assert daemon.log_lines(r'\[warning\] aisearch plugin: Account "docs": ActiveInterval .* is below the Interval of')
    net.wait_until(lambda: simulator.count("/jobs") >= 5)
    assert min(steps(asked(simulator, "/jobs"))[1:]) > 0.5 * INTERVAL
