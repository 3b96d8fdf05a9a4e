"""
Mistakes in the configuration of collectd. For each of them, "collectd -T" must print what is wrong, in which block, and how
to fix it. (Plugins do not get the file and the line from collectd.) All configurations are tested at once, in threads.

@FILES@ is the directory with the files of mistakes.py.
"""

import pathlib
import re
from typing import NamedTuple

import mistakes
import pytest

from harness.collectd import Config, Refusal, refusal
from harness.simulator import ACCOUNT

ID = f'AccountID "{ACCOUNT}"'
TOKEN = 'TokenFile "@FILES@/token"'
URL = 'APIURL "http://unix:/nonexistent/api.sock:/client/v4"'
INSTANCE = 'Instance "handbook"'


class Mistake(NamedTuple):
    aisearch: str
    level: str  # "error", or "warning" if the configuration may still work
    block: str  # the block that the message names
    words: str  # a regular expression for what is wrong and how to fix it


def account(*lines: str, name: str = '"docs"') -> str:
    return "\n".join([f"<Account {name}>", *lines, "</Account>"])


def wrong(lines: str, words: str, level: str = "error", basis: tuple = (ID, TOKEN, URL, INSTANCE)) -> Mistake:
    return Mistake(account(*basis, lines), level, 'Account "docs": ', words)


def warned(lines: str, words: str, **more) -> Mistake:
    return wrong(lines, words, "warning", **more)


def account_id(value: str, words: str, level: str = "error") -> Mistake:
    return wrong(f"AccountID {value}", words, level, (TOKEN, URL, INSTANCE))


def token(name: str, words: str, level: str = "error") -> Mistake:
    return wrong(f'TokenFile "@FILES@/{name}"', f'".*/{name}": {words}', level, (ID, URL, INSTANCE))


def url(value: str, words: str) -> Mistake:
    return wrong(f'APIURL "{value}"', words, basis=(ID, TOKEN, INSTANCE))


def in_instance(lines: str, words: str) -> Mistake:
    return Mistake(account(ID, TOKEN, URL, '<Instance "wiki">', lines, "</Instance>"), "error",
                   'Account "docs": Instance "wiki": ', words)


def in_plugin(lines: str, words: str) -> Mistake:
    return Mistake(lines, "error", "", words)


ID_RULE = "is not an account's id. Use the 32 digits of 0-9 and a-f, in lower case, that the dashboard shows"
ALONE = "write the API token alone into it, on one line"
THE_API = "write https://api.cloudflare.com/client/v4"
SECONDS = r"{} takes one number \(of seconds; .*\), without quotes and unit"
BUDGET_RULE = "Budget takes a whole number of calls from 1 to 1000000, and 1 to 86400 seconds, such as: Budget 300 300"
BUDGET = "Budget allows {} calls in 5 minutes, but the API only 1200, .*; set one of at most 1200 calls in 5 minutes"
ENTRY = "cannot be used: no instance can have this name. Use an instance's name, or a regular expression between slashes"

MISTAKES = {
    # near misses, and what belongs elsewhere
    **{f"{word} for {name}": wrong(f"{word} 1", f"`{word}' is not known in a `Account' block: did you mean \"{name}\"")
       for word, name in {"Token": "TokenFile", "TokenPath": "TokenFile", "ApiToken": "TokenFile", "Key": "KeyFile",
                          "URL": "APIURL", "APIURI": "APIURL", "Account_ID": "AccountID",
                          "Instances": "Instance", "DiscoverInstanceS_": "DiscoverInstances", "Bugdet": "Budget",
                          "HTTPProxy": "Proxy", "ConnectTimeout": "Timeout", "StaledAfter": "StalledAfter"}.items()},
    "nothing like it": wrong('Colour "red"', "`Colour' is not known in a `Account' block: use one of AccountID, TokenFile"),
    "Interval in Account": wrong("Interval 60", "`Interval' does not belong here. Put it into <LoadPlugin aisearch>"),
    "Interval in Plugin": in_plugin("Interval 60", "`Interval' does not belong here. Put it into <LoadPlugin aisearch>"),
    "TokenFile in Plugin": in_plugin(TOKEN, "`TokenFile' does not belong here. Put it into an <Account> block"),
    "Job in Account": wrong('Job "a"', "`Job' does not belong here. Put it into an <Instance> block"),
    "Namespace in Account": wrong('Namespace "team"', "`Namespace' does not belong .*. Put it into an <Instance> block"),
    "StateFile in Account": wrong('StateFile "/tmp/x"', "`StateFile' does not belong .*. Put it into the <Plugin aisearch> block"),
    "Account in Account": wrong(account(), "`Account' does not belong .*. Put it into the <Plugin aisearch> block"),
    "TokenFile in Instance": in_instance(TOKEN, "`TokenFile' does not belong here. Put it into an <Account>"),
    "Jobs in Instance": in_instance('Jobs "a"', "`Jobs' is not known in a `Instance' block: did you mean \"Job\""),
    "Acount": in_plugin('Acount "docs"', "`Acount' is not known in a `Plugin' block: did you mean \"Account\""),
    "an option twice": wrong("Timeout 900\ntimeout 800", "`timeout' is given twice. Keep one"),

    # the account
    "nothing": in_plugin("", "No account is configured. Add a <Plugin aisearch> block with an <Account> in it"),
    "a dash in the name": Mistake(account(ID, TOKEN, INSTANCE, name='"my-docs"'), "error", 'Account "my-docs"', "is not a valid name. Use 1 to 28"),
    "no name": in_plugin(account(ID, name=""), "Account takes one string, in quotes"),
    "a name twice": Mistake(account(ID, TOKEN, URL, INSTANCE) + "\n" + account(ID, TOKEN, URL, INSTANCE), "error", 'Account "docs": ', "Two Account blocks have this name. Rename one"),
    "no AccountID": wrong("", "AccountID is missing. Add it from the dashboard", basis=(TOKEN, URL, INSTANCE)),
    "31 digits": account_id(f'"{ACCOUNT[:-1]}"', "has 31 digits instead of 32, .*Copy it again", "warning"),
    "33 digits": account_id(f'"{ACCOUNT}0"', ID_RULE),
    "upper case": account_id(f'"{ACCOUNT.upper()}"', ID_RULE),
    "a name for an id": account_id('"Example Inc."', ID_RULE),
    "blanks around": account_id(f'" {ACCOUNT} "', ID_RULE),
    "a number for an id": account_id("12345678901234567890", "AccountID takes one string, in quotes"),

    # the credential
    "no credential": wrong("", "The credential is missing. Add TokenFile, or Email and KeyFile; or APIURL", basis=(ID, INSTANCE)),
    "the API without a credential": wrong('APIURL "https://api.cloudflare.com/client/v4"', "APIURL is the API, without a credential. Add TokenFile", basis=(ID, INSTANCE)),
    "the token for its file": wrong(f'TokenFile "{mistakes.TOKEN}"', "TokenFile has to be an absolute path, and not what is in the file", basis=(ID, URL, INSTANCE)),
    "the token for its file, with a slash": wrong(f'TokenFile "/{mistakes.TOKEN}"', "its name looks like the API token itself; write that into a file", basis=(ID, URL, INSTANCE)),
    "a token file that is missing": token("missing", "No such file or directory; check the path"),
    "a directory for a file": wrong('TokenFile "@FILES@"', "not a regular file; write the API token", basis=(ID, URL, INSTANCE)),
    "an empty file": token("empty", "empty; write the API token into it"),
    "quotes in the file": token("quoted", f"a quotation mark at offset 0; {ALONE}"),
    "KEY=value": token("short_env", f'a "=", as in NAME=VALUE, at offset 5; {ALONE}'),
    "a byte order mark": token("bom", f"a byte order mark at offset 0; {ALONE}"),
    "Bearer in front": token("bearer", f'begins with a header\'s name, or with "Bearer"; {ALONE}'),
    "a whole header": token("header", f'begins with a header\'s name, or with "Bearer"; {ALONE}'),
    "JSON": token("json", f"a character that is in no token or key at offset 0; {ALONE}"),
    "two lines": token("lines", f"a line break at offset 6; {ALONE}"),
    "two lines of Windows": token("crlf_lines", f"a line break at offset 6; {ALONE}"),
    "a blank behind": token("space", f"white space at offset 6; {ALONE}"),
    "a global key": token("global_key", "what is in it looks like an API key, not like a token; a key needs its email", "warning"),
    "an id for a token": token("zone_id", "what is in it looks like the id of an account or a zone; write", "warning"),
    "a token for a key": warned('Email "a@example.com"\nKeyFile "@FILES@/an_api_token"', "looks like an API token, not like a key; a token goes without", basis=(ID, URL, INSTANCE)),
    "a file that all can read": wrong('TokenFile "@FILES@/open"', "Any user of this host can read or write .*chmod 0600", "warning", (ID, URL, INSTANCE)),
    "a credential of systemd in a shell": wrong('TokenFile "credential:docs"', "CREDENTIALS_DIRECTORY is not set: .*: sudo CREDENTIALS_DIRECTORY=/run/credentials/collectd.service collectd -T", basis=(ID, URL, INSTANCE)),
    "both credentials": wrong('Email "a@example.com"\nKeyFile "@FILES@/key"', "Use TokenFile alone, or Email and KeyFile"),
    "Email alone": wrong('Email "a@example.com"', "KeyFile is missing", basis=(ID, URL, INSTANCE)),
    "no email address": wrong('Email "admin"\nKeyFile "@FILES@/key"', "not an email address; give the address", basis=(ID, URL, INSTANCE)),
    "two files in one option": wrong('TokenFile "/a" "/b"', "TokenFile takes one string, in quotes", basis=(ID, URL, INSTANCE)),

    # the URL
    "no scheme": url("api.cloudflare.com/client/v4", "must begin with https:// or http://"),
    "without /client/v4": url("https://api.cloudflare.com", f'must end in "/client/v4"; {THE_API}'),
    "plain http to the API": url("http://api.cloudflare.com/client/v4", f"takes no plain http; {THE_API}"),
    "the dashboard": url("https://dash.cloudflare.com/client/v4", "this is the dashboard; the API is at https://api"),
    "a query": url("https://api.example/client/v4?x=canary", "may not have a query .*; remove it"),
    "a user": url("https://admin:canary@api.example/client/v4", 'remove what is in front of the "@"'),
    "plain http to another host": url("http://api.example/client/v4", "over plain http to another host. Use https; or"),
    "a socket alone": url("/run/aisearch/api.sock", "must begin with https:// or http://"),
    "a relative socket": url("http://unix:api.sock:/client/v4", "must be an absolute path, as in http://unix:/run"),
    "a proxy to a socket": wrong('Proxy "http://proxy.example:3128"', "Proxy has no effect on a Unix socket. Remove it"),
    "a proxy without http://": wrong('Proxy "proxy.example:3128"', "Proxy: the proxy must be given as http://HOST:PORT"),
    "CACert without a certificate": wrong('APIURL "https://localhost:1/client/v4"\nCACert "@FILES@/no_certificate"', "no certificate in it; .*PEM", basis=(ID, TOKEN, INSTANCE)),
    "CACert that is relative": wrong('CACert "ca.pem"', "CACert has to be an absolute path"),
    "VerifyPeer false": warned('APIURL "https://localhost:1/client/v4"\nVerifyPeer false', "Without VerifyPeer and VerifyHost the credential goes to whoever answers", basis=(ID, TOKEN, INSTANCE)),

    # numbers and times
    "Timeout in seconds": warned("Timeout 5", "Timeout is in milliseconds: 5 are too few"),
    "Timeout with a unit": wrong('Timeout "5s"', r"Timeout takes one number \(.*of Timeout, of milliseconds\), without quotes and unit"),
    "Timeout of 0": wrong("Timeout 0", "Timeout 0 is out of range. Use 1 to 3600000"),
    "Timeout beyond ActiveInterval": warned("Timeout 30000", "Timeout 30000 is too long for an ActiveInterval of .* Will use"),
    "ActiveInterval in ms": warned("ActiveInterval 20000", "ActiveInterval is in seconds: 20000 are more than an hour"),
    "ActiveInterval below 0": wrong("ActiveInterval -20", "ActiveInterval -20 is out of range. Use 0.001 to 86400"),
    "ActiveInterval below Interval": warned("ActiveInterval 0.01", "ActiveInterval 0.01 is below the Interval of the plugin. Will use that"),
    "IdleInterval below ActiveInterval": wrong("ActiveInterval 60\nIdleInterval 30", "IdleInterval 30 is below ActiveInterval, 60. Use at least that"),
    "IdleInterval with a unit": wrong('IdleInterval "5m"', SECONDS.format("IdleInterval")),
    "StalledAfter below 0": wrong("StalledAfter -1", "StalledAfter -1 is out of range. Use 1 to 31536000, or 0 for never"),
    "OverdueAfter with a unit": wrong('OverdueAfter "1d"', SECONDS.format("OverdueAfter")),
    "OverdueAfter false": wrong("OverdueAfter false", SECONDS.format("OverdueAfter")),
    "DiscoveryInterval of a week": wrong("DiscoveryInterval 604800", "DiscoveryInterval 604800 is out of range. Use 0.001 to 86400"),
    "Budget 0": wrong("Budget 0 300", BUDGET_RULE),
    "Budget of one number": wrong("Budget 300", BUDGET_RULE),
    "Budget with a unit": wrong('Budget 300 "5m"', BUDGET_RULE),
    "Budget as text": wrong('Budget "300 300"', BUDGET_RULE),
    "Budget beyond the API's": warned("Budget 1500 300", BUDGET.format(1500)),
    "Budget of a second alone": warned("Budget 100 1", BUDGET.format(30000)),
    "VerifyPeer maybe": wrong("VerifyPeer maybe", "VerifyPeer takes true or false"),
    "ReportItems 1": wrong("ReportItems 1", "ReportItems takes true or false"),
    "DiscoverInstances all": wrong('DiscoverInstances "all"', "DiscoverInstances takes true or false"),
    "ReportDetails of two": wrong("ReportDetails true false", "ReportDetails takes true or false"),

    # instances
    "no instance": wrong("", "Nothing to look at. Add an <Instance> block, or DiscoverInstances true", basis=(ID, TOKEN, URL)),
    "an instance twice": wrong(INSTANCE, 'Two Instance blocks would both report as "docs-handbook". Put all Job options'),
    "an instance in capitals": wrong('Instance "Handbook"', "This is not an instance's name. Use 1 to 64 of a-z"),
    "an instance with its namespace": wrong('Instance "team/wiki"', "This is not an instance's name. Use 1 to 64 of a-z"),
    "an instance without a name": wrong('<Instance>\nJob "a"\n</Instance>', "Instance takes one string, in quotes"),
    "a namespace with _": in_instance('Namespace "team_blue"', 'Namespace "team_blue" is not a namespace\'s name. Use 1 to 28'),
    "a generation that is none": in_instance('Generation "v2"', 'Generation "v2" is not known. Use "instance" or "autorag"'),
    "an AutoRAG in a namespace": in_instance('Generation "autorag"\nNamespace "team"', "AutoRAG has no namespaces. Remove Namespace or Generation"),
    "a job with a slash": in_instance('Job "a/b"', "Job \"a/b\" is not a job's id. Use 1 to 64"),
    "a job twice": in_instance('Job "a"\nJob "a"', 'Job "a" is given twice'),
    **{f"DiscoverInstance {value}": wrong(f'DiscoverInstance "{value}"', ENTRY)
       for value in ("docs-*", "/^docs-", "^docs-", "/^docs-/i", "Docs", "docs,wiki", "*")},
    "DiscoverInstance of no expression": wrong('DiscoverInstance "/docs[/"', "cannot be used: .* regular expression\\. Use an instance's name"),
    "DiscoverInstance of capitals": wrong('DiscoverInstance "/^Docs-/"', 'cannot be used: no instance has a "D" in its name. Use an'),
    "IgnoreSelected alone": warned("DiscoverInstances true\nIgnoreSelected true", "IgnoreSelected has no effect. Add DiscoverInstance, or"),
    "DiscoverNamespace with a star": wrong('DiscoverNamespace "team-*"', "is not a namespace's name. Use 1 to 28"),

    # the state
    "StateFile in no directory": in_plugin('StateFile "/nonexistent/aisearch.state"\n' + account(ID, TOKEN, URL, INSTANCE), 'StateFile "/nonexistent/aisearch.state" is not a file in a directory that exists. Create the directory'),
    "StateFile that is a directory": in_plugin('StateFile "@FILES@"\n' + account(ID, TOKEN, URL, INSTANCE), 'is not a file in a directory that exists. Create the directory'),
    "StateFile with a slash behind": in_plugin('StateFile "/tmp/"', 'StateFile "/tmp/" is not a file in a directory that exists. Create the directory'),
}


@pytest.fixture(scope="module")
def answers() -> dict[str, Refusal]:
    def ask(mistake: Mistake, directory: pathlib.Path) -> Refusal:
        return refusal(Config(mistake.aisearch.replace("@FILES@", str(directory)), csv=False), directory)

    return mistakes.answers(MISTAKES, ask)


def test_number_of_mistakes():
    assert len(MISTAKES) >= 65


@pytest.mark.parametrize("what", MISTAKES)
def test_message_about_a_mistake(answers, what):
    mistake, answer = MISTAKES[what], answers[what]
    lines = re.findall(rf"\[{mistake.level}\] aisearch plugin: (.*)", answer.log)
    assert any(line.startswith(mistake.block) and re.search(mistake.words, line) for line in lines), answer.log
    assert mistake.level == "warning" or answer.status == 1
    assert "canary" not in answer.log.lower(), "the message contains what may be a secret"
