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


ID_RULE = "is not the id of an account. Use the 32 digits of 0-9 and a-f, in lower case, that the dashboard shows"
ALONE = "write only the API token into it, on one line"
THE_API = "use https://api.cloudflare.com/client/v4"
SECONDS = r"{} takes one number \(in seconds; .*\), without quotes or a unit"
BUDGET_RULE = "Budget takes a whole number of calls from 1 to 1000000, and 1 to 86400 seconds, such as: Budget 300 300"
BUDGET = "Budget allows {} calls in 5 minutes, but the API allows only 1200 .*; use at most 1200 calls in 5 minutes"
ENTRY = "cannot be used: no instance can have this name. Use the name of an instance, or a regular expression between slashes"

MISTAKES = {
    # misspelled options, and options in the wrong block
    **{f"{word} for {name}": wrong(f"{word} 1", f"`{word}' is unknown in a `Account' block: did you mean \"{name}\"")
       for word, name in {"Token": "TokenFile", "TokenPath": "TokenFile", "ApiToken": "TokenFile", "Key": "KeyFile",
                          "URL": "APIURL", "APIURI": "APIURL", "Account_ID": "AccountID",
                          "Instances": "Instance", "DiscoverInstanceS_": "DiscoverInstances", "Bugdet": "Budget",
                          "HTTPProxy": "Proxy", "ConnectTimeout": "Timeout", "StaledAfter": "StalledAfter"}.items()},
    "unknown option": wrong('Colour "red"', "`Colour' is unknown in a `Account' block: use one of AccountID, TokenFile"),
    "Interval in Account": wrong("Interval 60", "`Interval' does not belong here. Put it into <LoadPlugin aisearch>"),
    "Interval in Plugin": in_plugin("Interval 60", "`Interval' does not belong here. Put it into <LoadPlugin aisearch>"),
    "TokenFile in Plugin": in_plugin(TOKEN, "`TokenFile' does not belong here. Put it into an <Account> block"),
    "Job in Account": wrong('Job "a"', "`Job' does not belong here. Put it into an <Instance> block"),
    "Namespace in Account": wrong('Namespace "team"', "`Namespace' does not belong .*. Put it into an <Instance> block"),
    "StateFile in Account": wrong('StateFile "/tmp/x"', "`StateFile' does not belong .*. Put it into the <Plugin aisearch> block"),
    "Account in Account": wrong(account(), "`Account' does not belong .*. Put it into the <Plugin aisearch> block"),
    "TokenFile in Instance": in_instance(TOKEN, "`TokenFile' does not belong here. Put it into an <Account>"),
    "Jobs in Instance": in_instance('Jobs "a"', "`Jobs' is unknown in a `Instance' block: did you mean \"Job\""),
    "Acount": in_plugin('Acount "docs"', "`Acount' is unknown in a `Plugin' block: did you mean \"Account\""),
    "duplicate option": wrong("Timeout 900\ntimeout 800", "`timeout' is given twice. Remove one"),

    # the account
    "empty configuration": in_plugin("", "No account is configured. Add a <Plugin aisearch> block with an <Account> block"),
    "name with a dash": Mistake(account(ID, TOKEN, INSTANCE, name='"my-docs"'), "error", 'Account "my-docs"', "is not a valid name. Use 1 to 28"),
    "missing name": in_plugin(account(ID, name=""), "Account takes one string, in quotes"),
    "duplicate name": Mistake(account(ID, TOKEN, URL, INSTANCE) + "\n" + account(ID, TOKEN, URL, INSTANCE), "error", 'Account "docs": ', "Two Account blocks have this name. Rename one"),
    "missing AccountID": wrong("", "AccountID is missing. Copy it from the dashboard", basis=(TOKEN, URL, INSTANCE)),
    "AccountID of 31 digits": account_id(f'"{ACCOUNT[:-1]}"', "has 31 digits instead of 32, .*Copy it from the dashboard again", "warning"),
    "AccountID of 33 digits": account_id(f'"{ACCOUNT}0"', ID_RULE),
    "AccountID in upper case": account_id(f'"{ACCOUNT.upper()}"', ID_RULE),
    "name as AccountID": account_id('"Example Inc."', ID_RULE),
    "AccountID with spaces": account_id(f'" {ACCOUNT} "', ID_RULE),
    "number as AccountID": account_id("12345678901234567890", "AccountID takes one string, in quotes"),

    # the credential
    "missing credential": wrong("", "The credential is missing. Add TokenFile, or Email and KeyFile, or the APIURL", basis=(ID, INSTANCE)),
    "URL of the API without a credential": wrong('APIURL "https://api.cloudflare.com/client/v4"', "APIURL is the API, which needs a credential. Add TokenFile", basis=(ID, INSTANCE)),
    "token instead of its file": wrong(f'TokenFile "{mistakes.TOKEN}"', "TokenFile must be an absolute path, not the content of the file", basis=(ID, URL, INSTANCE)),
    "token instead of its file, with a slash": wrong(f'TokenFile "/{mistakes.TOKEN}"', "its name looks like the API token itself; write that into a file", basis=(ID, URL, INSTANCE)),
    "missing token file": token("missing", "No such file or directory; check the path"),
    "directory instead of a file": wrong('TokenFile "@FILES@"', "not a regular file; write the API token", basis=(ID, URL, INSTANCE)),
    "empty file": token("empty", "empty; write the API token into it"),
    "token in quotes": token("quoted", f"a quotation mark at offset 0; {ALONE}"),
    "KEY=value": token("short_env", f'a "=", as in NAME=VALUE, at offset 5; {ALONE}'),
    "byte order mark": token("bom", f"a byte order mark at offset 0; {ALONE}"),
    "Bearer before the token": token("bearer", f'begins with the name of a header or with "Bearer"; {ALONE}'),
    "entire header": token("header", f'begins with the name of a header or with "Bearer"; {ALONE}'),
    "JSON": token("json", f"a character that no token or key contains at offset 0; {ALONE}"),
    "two lines": token("lines", f"a line break at offset 6; {ALONE}"),
    "two lines that end in CR LF": token("crlf_lines", f"a line break at offset 6; {ALONE}"),
    "trailing space": token("space", f"white space at offset 6; {ALONE}"),
    "global key instead of a token": token("global_key", "its content looks like an API key, not like a token; a key also needs its email", "warning"),
    "ID instead of a token": token("zone_id", "its content looks like the ID of an account or a zone; write", "warning"),
    "token instead of a key": warned('Email "a@example.com"\nKeyFile "@FILES@/an_api_token"', "looks like an API token, not like a key; a token is used without", basis=(ID, URL, INSTANCE)),
    "file that all users can read": wrong('TokenFile "@FILES@/open"', "Any user of this host can read or write .*chmod 0600", "warning", (ID, URL, INSTANCE)),
    "systemd credential in a shell": wrong('TokenFile "credential:docs"', "CREDENTIALS_DIRECTORY is not set: .*: sudo CREDENTIALS_DIRECTORY=/run/credentials/collectd.service collectd -T", basis=(ID, URL, INSTANCE)),
    "token and key": wrong('Email "a@example.com"\nKeyFile "@FILES@/key"', "Use TokenFile alone, or Email and KeyFile"),
    "Email without KeyFile": wrong('Email "a@example.com"', "KeyFile is missing", basis=(ID, URL, INSTANCE)),
    "invalid email address": wrong('Email "admin"\nKeyFile "@FILES@/key"', "not an email address; use the address", basis=(ID, URL, INSTANCE)),
    "two files in one option": wrong('TokenFile "/a" "/b"', "TokenFile takes one string, in quotes", basis=(ID, URL, INSTANCE)),

    # the URL
    "URL without a scheme": url("api.cloudflare.com/client/v4", "must begin with https:// or http://"),
    "URL without /client/v4": url("https://api.cloudflare.com", f'must end with "/client/v4"; {THE_API}'),
    "plain http to the API": url("http://api.cloudflare.com/client/v4", f"does not support plain http; {THE_API}"),
    "URL of the dashboard": url("https://dash.cloudflare.com/client/v4", "this is the dashboard; the API is at https://api"),
    "URL with a query": url("https://api.example/client/v4?x=canary", "must not have a query .*; remove the"),
    "URL with a user": url("https://admin:canary@api.example/client/v4", 'remove them and the "@"'),
    "to another host over plain http": url("http://api.example/client/v4", "to another host over plain http. Use https, or"),
    "path of a socket as the URL": url("/run/aisearch/api.sock", "must begin with https:// or http://"),
    "relative path of a socket": url("http://unix:api.sock:/client/v4", "must be an absolute path, as in http://unix:/run"),
    "proxy for a socket": wrong('Proxy "http://proxy.example:3128"', "Proxy has no effect on a Unix socket. Remove it"),
    "proxy without http://": wrong('Proxy "proxy.example:3128"', "Proxy: the proxy must be specified as http://HOST:PORT"),
    "CACert without a certificate": wrong('APIURL "https://localhost:1/client/v4"\nCACert "@FILES@/no_certificate"', "the file contains no certificate; .*PEM", basis=(ID, TOKEN, INSTANCE)),
    "relative path of CACert": wrong('CACert "ca.pem"', "CACert must be an absolute path"),
    "VerifyPeer false": warned('APIURL "https://localhost:1/client/v4"\nVerifyPeer false', "Without VerifyPeer and VerifyHost, anyone who can intercept the connection can obtain the credential", basis=(ID, TOKEN, INSTANCE)),

    # numbers and times
    "Timeout in seconds": warned("Timeout 5", "Timeout is in milliseconds: 5 is too short"),
    "Timeout with a unit": wrong('Timeout "5s"', r"Timeout takes one number \(.*for Timeout, in milliseconds\), without quotes or a unit"),
    "Timeout of 0": wrong("Timeout 0", "Timeout 0 is out of range. Use 1 to 3600000"),
    "Timeout above ActiveInterval": warned("Timeout 30000", "Timeout 30000 is too long for an ActiveInterval of .* Will use"),
    "ActiveInterval in ms": warned("ActiveInterval 20000", "ActiveInterval is in seconds: 20000 is more than an hour"),
    "ActiveInterval below 0": wrong("ActiveInterval -20", "ActiveInterval -20 is out of range. Use 0.001 to 86400"),
    "ActiveInterval below Interval": warned("ActiveInterval 0.01", "ActiveInterval 0.01 is below the Interval of the plugin. Will use that"),
    "IdleInterval below ActiveInterval": wrong("ActiveInterval 60\nIdleInterval 30", "IdleInterval 30 is below ActiveInterval 60. Use a longer one"),
    "IdleInterval with a unit": wrong('IdleInterval "5m"', SECONDS.format("IdleInterval")),
    "StalledAfter below 0": wrong("StalledAfter -1", "StalledAfter -1 is out of range. Use 1 to 31536000, or 0 for never"),
    "OverdueAfter with a unit": wrong('OverdueAfter "1d"', SECONDS.format("OverdueAfter")),
    "OverdueAfter false": wrong("OverdueAfter false", SECONDS.format("OverdueAfter")),
    "DiscoveryInterval of a week": wrong("DiscoveryInterval 604800", "DiscoveryInterval 604800 is out of range. Use 0.001 to 86400"),
    "Budget 0": wrong("Budget 0 300", BUDGET_RULE),
    "Budget with one number": wrong("Budget 300", BUDGET_RULE),
    "Budget with a unit": wrong('Budget 300 "5m"', BUDGET_RULE),
    "Budget as a string": wrong('Budget "300 300"', BUDGET_RULE),
    "Budget above that of the API": warned("Budget 1500 300", BUDGET.format(1500)),
    "Budget for one second": warned("Budget 100 1", BUDGET.format(30000)),
    "VerifyPeer maybe": wrong("VerifyPeer maybe", "VerifyPeer takes true or false"),
    "ReportItems 1": wrong("ReportItems 1", "ReportItems takes true or false"),
    "DiscoverInstances all": wrong('DiscoverInstances "all"', "DiscoverInstances takes true or false"),
    "ReportDetails with two values": wrong("ReportDetails true false", "ReportDetails takes true or false"),

    # instances
    "missing instance": wrong("", "No instance is configured. Add an <Instance> block, or DiscoverInstances true", basis=(ID, TOKEN, URL)),
    "duplicate instance": wrong(INSTANCE, 'Two Instance blocks would both report as "docs-handbook". Put all Job options'),
    "instance in upper case": wrong('Instance "Handbook"', "This is not the name of an instance. Use 1 to 64 characters of a-z"),
    "instance with its namespace": wrong('Instance "team/wiki"', "This is not the name of an instance. Use 1 to 64 characters of a-z"),
    "instance without a name": wrong('<Instance>\nJob "a"\n</Instance>', "Instance takes one string, in quotes"),
    "namespace with an underscore": in_instance('Namespace "team_blue"', 'Namespace "team_blue" is not the name of a namespace. Use 1 to 28'),
    "unknown generation": in_instance('Generation "v2"', 'Generation "v2" is not known. Use "instance" or "autorag"'),
    "AutoRAG in a namespace": in_instance('Generation "autorag"\nNamespace "team"', "AutoRAG has no namespaces. Remove Namespace or Generation"),
    "job with a slash": in_instance('Job "a/b"', "Job \"a/b\" is not a job id. Use 1 to 64"),
    "duplicate job": in_instance('Job "a"\nJob "a"', 'Job "a" is given twice'),
    **{f"DiscoverInstance {value}": wrong(f'DiscoverInstance "{value}"', ENTRY)
       for value in ("docs-*", "/^docs-", "^docs-", "/^docs-/i", "Docs", "docs,wiki", "*")},
    "DiscoverInstance with an invalid expression": wrong('DiscoverInstance "/docs[/"', "cannot be used: .* regular expression\\. Use the name of an instance"),
    "DiscoverInstance with upper case": wrong('DiscoverInstance "/^Docs-/"', 'cannot be used: the name of an instance never contains a "D". Use the'),
    "IgnoreSelected without DiscoverInstance": warned("DiscoverInstances true\nIgnoreSelected true", "IgnoreSelected has no effect. Add DiscoverInstance, or"),
    "DiscoverNamespace with an asterisk": wrong('DiscoverNamespace "team-*"', "is not the name of a namespace. Use 1 to 28"),

    # the state file
    "StateFile in a missing directory": in_plugin('StateFile "/nonexistent/aisearch.state"\n' + account(ID, TOKEN, URL, INSTANCE), 'StateFile "/nonexistent/aisearch.state" is not a file in an existing directory. Create the directory'),
    "directory as StateFile": in_plugin('StateFile "@FILES@"\n' + account(ID, TOKEN, URL, INSTANCE), 'is not a file in an existing directory. Create the directory'),
    "StateFile with a trailing slash": in_plugin('StateFile "/tmp/"', 'StateFile "/tmp/" is not a file in an existing directory. Create the directory'),
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
