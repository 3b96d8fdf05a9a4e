"""
nginx -t rejects every wrong configuration, with the file, the line and the fix.

In a wrong configuration, the line that the message must name ends in "#!". @FILES@ is a directory of good and bad
files.
"""

import dataclasses
import os
import pathlib
import re
import shutil
import subprocess
from collections.abc import Iterator

import pytest

from harness import SLOWNESS, memory, net, temp_dir
from harness.nginx import BINARY, MODULE, Config, Ports, config_test
from harness.simulator import ACCOUNT

OTHER_ACCOUNT = "0" * 32

PASS = "location /jobs/ { aisearch_pass docs; }"


def account(*lines: str, name: str = "docs", account_id: str = f"account_id {ACCOUNT};",
            credential: str = "token_file @FILES@/token;") -> str:
    return "\n".join([f"aisearch_account {name} {{", account_id, credential, *lines, "}\n"])


def location(*lines: str, match: str = "/jobs/") -> str:
    return "\n".join([f"location {match} {{", *lines, "}"])


@pytest.fixture(scope="module")
def files() -> Iterator[pathlib.Path]:
    with temp_dir() as directory:
        write_files(directory)
        yield directory


def write_files(directory: pathlib.Path) -> None:
    (directory / "directory").mkdir()
    for name, content in {
        "token": b"canary-token\n", "key": b"canary-key\n", "empty": b"", "only_newline": b"\n",
        "two_lines": b"canary\ntoken\n", "two_newlines": b"canary\n\n", "space": b"canary token\n",
        "leading_space": b" canary\n", "trailing_tab": b"canary\t\n", "nul": b"canary\0token",
        "utf8": "canáry".encode(),
        "too_large": b"canary" * 1000, "no_certificate": b"canary\n",
        "bad_certificate": b"-----BEGIN CERTIFICATE-----\nAAAA\n-----END CERTIFICATE-----\n",
    }.items():
        (directory / name).write_bytes(content)
        (directory / name).chmod(0o600)


@dataclasses.dataclass
class Wrong:
    what: str
    http: str
    server: str
    message: str  # a regular expression: what is wrong, and the fix


def in_account(what: str, line: str, message: str) -> Wrong:
    return Wrong(what, account(f"{line} #!"), PASS, message)


def wrong_url(url: str, message: str) -> Wrong:
    return in_account(f"api_url {url}", f'api_url "{url}";', f'aisearch_account "docs": invalid "api_url": .*{message}')


def plain_url(url: str) -> Wrong:
    return Wrong(f"api_url {url}", account(f"api_url {url};").replace("}\n", "} #!\n"), PASS,
                 'to another host over plain http; use https, or set "allow_plain_http on"')


def wrong_token(name: str, message: str) -> Wrong:
    return Wrong(f"token_file {name}", account(credential=f"token_file @FILES@/{name}; #!"), PASS,
                 f'aisearch_account "docs": token file ".*/{name}": {message}')


def wrong_zone(zone: str, message: str) -> Wrong:
    return Wrong(f"zone {zone}", f"aisearch_shared_zone {zone}; #!\n{account()}", PASS, message)


def wrong_pass(match: str, message: str) -> Wrong:
    return Wrong(f"pass in {match}", account(), location("aisearch_pass docs; #!", match=match),
                 f'"aisearch_pass" needs a resource {message}, such as "aisearch_pass docs instances/')


def wrong_literal(resource: str, message: str) -> Wrong:
    return Wrong(f"resource {resource}", account("instance docs;"),
                 location(f'aisearch_pass docs "{resource}"; #!', match="= /job"), message)


def wrong_valid(parameters: str, message: str) -> Wrong:
    return Wrong(f"valid {parameters}", f"{account()}aisearch_valid {parameters}; #!\n", PASS, message)


def wrong_stale(parameters: str, message: str) -> Wrong:
    return Wrong(f"stale {parameters}", f"{account()}aisearch_use_stale {parameters}; #!\n", PASS, message)


def wrong_limit(parameters: str, message: str) -> Wrong:
    return Wrong(f"limit {parameters}", f"{account()}aisearch_limit_fetches {parameters}; #!\n", PASS, message)


def duplicate(line: str) -> Wrong:
    return in_account(f"duplicate {line}", f"{line}\n{line}", f'"{line.split()[0]}" directive is duplicate')


REGULAR = "not a regular file; write the API token into a regular file"
ALONE = "write only the API token into it, on one line"
NO_CERTIFICATE = "the file contains no certificate; it must be in PEM format"
TWO_CREDENTIALS = 'two kinds of credentials are set; use either "token_file", or "email" and "key_file"'
INSTANCE = "it must be NAME or NAMESPACE/NAME"
ACCOUNT_ID = 'invalid "account_id", it must be the 32 digits of 0-9 and a-f in lower case that the dashboard shows'
ZONE = 'use "zone=NAME:SIZE"'
WHAT = 'it must be "active", "ended", "list", "logs", "instance", "stats", "not_found" or "error"'
TIME = 'it must be greater than 0, such as "5s"'
RETRIES = '"retries" directive, it must be between 0 and 10'
RESOURCE = 'write it as "instances/NAME/jobs/ID"'
PLAIN_PROXY = 'the proxy would see the credential because "api_url" is plain http; remove "proxy", use https'

WRONG = [
    # accounts
    Wrong("unknown account", account(), location("aisearch_pass dosc; #!"),
          r'unknown aisearch_account "dosc", did you mean "docs"\?'),
    Wrong("no accounts at all", "", location("aisearch_pass docs; #!"), 'unknown aisearch_account "docs", define it with an "aisearch_account docs { ... }" block at the http level'),
    Wrong("duplicate account", account() + account().replace("{", "{ #!", 1), PASS,
          r'duplicate aisearch_account "docs", the first one is in .*/nginx\.conf:\d+; rename one of them'),
    Wrong("account without a name", "aisearch_account { #!\n}", "", "invalid number of arguments"),
    Wrong("account with an empty name", "aisearch_account '' { #!\n}", "", 'invalid aisearch_account ""'),
    Wrong("account with a name to escape", "aisearch_account 'a\"b' { #!\n}", "",
          'invalid aisearch_account "a"b", a name consists of letters'),
    Wrong("zone with a name to escape", "aisearch_shared_zone 'zone=a\"b:8m'; #!", "",
          'invalid zone "a"b", a name consists of letters'),
    Wrong("account without a block", "aisearch_account docs; #!", "", r'has no opening "\{"'),
    Wrong("account in a server", "", account().replace("{", "{ #!", 1),
          '"aisearch_account" directive is not allowed here'),
    in_account("unknown directive", "tokenfile x;", r'unknown directive "tokenfile" in aisearch_account "docs", did you mean "token_file"\?'),
    in_account("directive of another block", "proxy_pass http://x;",
               r'unknown directive "proxy_pass" in aisearch_account "docs", did you mean "proxy"\?'),
    in_account("block inside", "aisearch_account inner {", r'unexpected "\{"'),
    in_account("location inside", "location / {", r'unexpected "\{"'),
    in_account("no argument", "timeout;", 'invalid number of arguments in "timeout" directive'),
    in_account("two arguments", "timeout 1s 2s;", 'invalid number of arguments in "timeout" directive'),
    in_account("include without a file", "include;", 'invalid number of arguments in "include" directive'),
    in_account("include of a missing file", "include missing.conf;",
               r'open\(\) ".*/missing.conf" failed \(2: No such file'),

    # account_id
    Wrong("no account_id", account(account_id="").replace("}\n", "} #!\n"), PASS,
          'no "account_id" is set; use the ID of the account'),
    *(Wrong(f"account_id {value}", account(account_id=f'account_id "{value}"; #!'), PASS, ACCOUNT_ID)
      for value in ("", ACCOUNT.upper(), ACCOUNT + "0", "docs", ACCOUNT[:-1] + " ", "../" + ACCOUNT[3:])),

    # credentials
    Wrong("no credential", account(credential="").replace("}\n", "} #!\n"), PASS,
          'no credential is set; use "token_file", or "email" and "key_file"'),
    in_account("email with a token", "email a@b.example;", TWO_CREDENTIALS),
    in_account("key with a token", "key_file @FILES@/key;", TWO_CREDENTIALS),
    Wrong("token with email and key",
          account("email a@b.example;", "key_file @FILES@/key;", "token_file @FILES@/token; #!", credential=""), PASS,
          TWO_CREDENTIALS),
    Wrong("only an email", account(credential="email a@b.example;").replace("}\n", "} #!\n"), PASS,
          '"email" is set without "key_file"; a credential needs both'),
    Wrong("only a key", account(credential="key_file @FILES@/key;").replace("}\n", "} #!\n"), PASS,
          '"key_file" is set without "email"; a credential needs both'),
    *(Wrong(f"email {value!r}", account("key_file @FILES@/key; #!", credential=f'email "{value}";'), PASS,
            "not an email address; use the address that the API key belongs to")
      for value in ("nobody", "a b@c.example", "@c.example", "a@", "a@b\tc")),
    Wrong("missing key file", account("key_file @FILES@/missing; #!", credential="email a@b.example;"), PASS,
          'key file ".*/missing": No such file or directory; check the path'),
    wrong_token("missing", "No such file or directory; check the path"),
    wrong_token("token/inside", "Not a directory; check the path"),
    wrong_token("directory", REGULAR),
    Wrong("token_file /dev/null", account(credential="token_file /dev/null; #!"), PASS, f'"/dev/null": {REGULAR}'),
    wrong_token("empty", "empty; write the API token into it"),
    wrong_token("only_newline", "empty; write the API token into it"),
    wrong_token("two_lines", f"a line break at offset 6; {ALONE}"),
    wrong_token("two_newlines", f"a line break at offset 6; {ALONE}"),
    wrong_token("space", f"white space at offset 6; {ALONE}"),
    wrong_token("leading_space", f"white space at offset 0; {ALONE}"),
    wrong_token("trailing_tab", f"white space at offset 6; {ALONE}"),
    wrong_token("nul", f"a byte that is not visible ASCII at offset 6; {ALONE}"),
    wrong_token("utf8", f"a byte that is not visible ASCII at offset 3; {ALONE}"),
    wrong_token("too_large", "longer than 4096 bytes; write only the API token into it"),

    # instances
    *(in_account(f"instance {value}", f'instance good "{value}";', f'invalid instance ".*", {INSTANCE}')
      for value in ("", "Docs", "a--b", "-a", "a/b/c", "/a", "a/", "../a", "a b", "ns/" + "a" * 65, "n" * 33 + "/a")),
    in_account("instance without a name", "instance;", 'invalid number of arguments in "instance" directive'),

    # api_url and the route to the API
    wrong_url("api.cloudflare.com/client/v4", "must begin with https:// or http://"),
    wrong_url("ftp://api.example", "must begin with https:// or http://"),
    wrong_url("", "must begin with https:// or http://"),
    wrong_url("https://", "no host"),
    wrong_url("https:///client/v4", "no host"),
    wrong_url("https://user:canary@api.example", 'remove them and the "@"'),
    wrong_url("https://api.example:0", "a number from 1 to 65535"),
    wrong_url("https://api.example:65536", "a number from 1 to 65535"),
    wrong_url("https://api.example:https", "a number from 1 to 65535"),
    wrong_url("https://api.example/v4?key=canary", "must not have a query or a fragment; remove the"),
    wrong_url("https://api.example/v4#top", "must not have a query or a fragment; remove the"),
    wrong_url("https://api.example/../v4", r'must not contain "\." or "\.\."'),
    wrong_url("https://api.example/%2e%2e/v4", r'must not contain "\." or "\.\."'),
    wrong_url("https://api.example/v 4", "must be percent-encoded"),
    wrong_url("https://api.example/%zz", "must be followed by two hex digits"),
    wrong_url("https://[::1", 'no closing "]"'),
    wrong_url("https://[localhost]", "not an IPv6 address"),
    wrong_url("https://api..example", "must consist of letters, digits"),
    wrong_url("http://unix:api.sock:/client/v4", "must be an absolute path, as in http://unix:/run/api.sock:"),
    wrong_url("http://unix:/run/api.sock:client", "must begin with a slash, as in http://unix:/run/api.sock:"),
    wrong_url("https://unix:/run/api.sock:/client/v4", "without TLS; begin the URL with http://unix:"),
    plain_url("http://api.example/client/v4"),
    plain_url("http://192.0.2.1/client/v4"),
    plain_url("http://localhost.evil.example/client/v4"),
    plain_url("http://127.0.0.1.evil.example/client/v4"),
    Wrong("plain http through a proxy",
          account("api_url http://localhost/v4;", "proxy http://proxy.example:3128;").replace("}\n", "} #!\n"), PASS,
          PLAIN_PROXY),
    *(in_account(f"proxy {value}", f'proxy "{value}";', f'aisearch_account "docs": invalid "proxy": .*{message}')
      for value, message in {
          "": "http://HOST:PORT", "proxy.example:3128": "http://HOST:PORT", "https://proxy.example": "http://HOST:PORT",
          "socks5://proxy.example:1080": "http://HOST:PORT", "http://user:canary@proxy.example": 'remove them and the "@"',
          "http://proxy.example:3128/x": "nothing may follow", "http://proxy.example:0": "from 1 to 65535"}.items()),
    in_account("missing certificates", "trusted_certificate @FILES@/missing;",
               'trusted certificates ".*/missing": No such file or directory; check the path'),
    *(in_account(f"certificates: {name}", f"trusted_certificate @FILES@/{name};",
                 f'trusted certificates ".*/{name}": {NO_CERTIFICATE}')
      for name in ("empty", "no_certificate", "bad_certificate", "directory")),

    # durations and numbers
    *(in_account(f"{name} {value}", f"{name} {value};", f'invalid time "{value}" in "{name}" directive, {TIME}')
      for name in ("timeout", "connect_timeout") for value in ("0", "0s", "5x", "-1s", "soon", "1M", "9" * 20)),
    *(in_account(f"retries {value}", f"retries {value};", f'invalid number "{value}" in {RETRIES}')
      for value in ("-1", "11", "two", "1.5", "9" * 20)),
    *(in_account(f"budget {value}", f"budget {value};",
                 'invalid number of calls ".*" in "budget" .* between 1 and 1000000')
      for value in ("0 5m", "-1 5m", "many 5m", "1000001 5m", "0.5 1s")),
    *(in_account(f"budget {value}", f"budget {value};", 'invalid time ".*" in "budget" .* between "1s" and "1d"')
      for value in ("900 0", "900 500ms", "900 2d", "900 soon", "900 -5m")),
    *(in_account(f"budget with {value}", f"budget 900 5m {value};",
                 'invalid ".*" in "budget" directive, the reserve must be a percentage between 0 and 99')
      for value in ("reserve=100", "reserve=-1", "reserve=", "reserve=half", "reserve=50%", "reserve=" + "9" * 20)),
    in_account("budget with something else", "budget 900 5m share=50;",
               'invalid parameter "share=50" in "budget" directive, it must be "reserve=PERCENT"'),
    in_account("budget with two reserves", "budget 900 5m reserve=50 reserve=50;",
               'invalid number of arguments in "budget" directive'),
    in_account("budget without a time", "budget 900;", 'invalid number of arguments in "budget" directive'),
    in_account("budget twice", "budget 900 5m;\nbudget 100 300s;", 'duplicate "budget" for the time "300s"'),
    in_account("five budgets", "budget 1 1s;\nbudget 2 2s;\nbudget 3 3s;\nbudget 4 4s;\nbudget 5 5s;",
               'too many "budget" directives, an account can have at most 4'),
    *(in_account(f"{name} {value}", f"{name} {value};",
                 f'invalid value "{value}" in "{name}" directive, it must be "on" or "off"')
      for name in ("verify", "allow_plain_http") for value in ("yes", "1")),
    in_account("duplicate account_id", "account_id 00;", '"account_id" directive is duplicate'),
    in_account("token_file twice", "token_file @FILES@/token;",
               '"token_file" directive is duplicate, the next credential needs its own file'),
    in_account("three token_files", "token_file @FILES@/key;\ntoken_file @FILES@/empty;",
               'too many "token_file" directives, use one for the current credential and one for the next'),
    *map(duplicate, (
        "api_url https://api.example;", "timeout 1s;", "connect_timeout 1s;",
        "retries 1;", "verify on;", "allow_plain_http off;", "proxy http://proxy.example:3128;",
        "trusted_certificate /etc/ssl/certs/ca-certificates.crt;")),

    # the zone
    wrong_zone("zone=aisearch:31k", 'zone "aisearch" is too small, it needs at least 32k'),
    wrong_zone("zone=aisearch:0", 'zone "aisearch" is too small, it needs at least 32k'),
    wrong_zone("zone=aisearch", ZONE),
    wrong_zone("zone=:8m", ZONE),
    wrong_zone("aisearch:8m", ZONE),
    wrong_zone("size=8m", ZONE),
    *(wrong_zone(f"zone=aisearch:{size}", 'invalid zone size ".*", use a size such as "8m"')
      for size in ("", "8q", "-8m", "big", "9" * 20 + "m")),
    Wrong("duplicate zone", f"aisearch_shared_zone zone=a:8m;\naisearch_shared_zone zone=b:8m; #!\n{account()}", PASS,
          '"aisearch_shared_zone" directive is duplicate'),
    Wrong("zone of another module",
          f"limit_conn_zone $server_name zone=taken:1m;\naisearch_shared_zone zone=taken:1m; #!\n{account()}", PASS,
          'the shared memory zone "taken" is already declared for a different use'),

    Wrong("zone of the limit", f"limit_conn_zone $server_name zone=aisearch_limit:1m;\n"
          f"aisearch_limit_fetches $binary_remote_addr rate=1r/s;\n{account().replace('{', '{ #!', 1)}", PASS,
          'shared memory zone "aisearch_limit" is used by another directive'),

    # aisearch_limit_fetches
    *(wrong_limit(f"$binary_remote_addr rate={rate}", f'invalid rate "rate={rate}", use one such as "rate=30r/m"')
      for rate in ("", "0r/s", "-1r/s", "30", "r/s", "1.5r/s", "30r/h", "fastr/m", "1000001r/s", "9" * 20 + "r/s")),
    *(wrong_limit(f"$binary_remote_addr rate=1r/s burst={burst}",
                  f'invalid burst "burst={burst}", it must be between 0 and 1000000')
      for burst in ("", "-1", "much", "1000001", "9" * 20)),
    wrong_limit("$binary_remote_addr rate=1r/s nodelay",
                'invalid parameter "nodelay", it must be "rate=RATE" or "burst=NUMBER"'),
    wrong_limit("$binary_remote_addr", 'no rate in "aisearch_limit_fetches", use "aisearch_limit_fetches '
                r'\$binary_remote_addr rate=30r/m", or only "off"'),
    wrong_limit("$binary_remote_addr burst=5", 'no rate in "aisearch_limit_fetches"'),
    wrong_limit("off rate=x", 'invalid rate "rate=x"'),
    wrong_limit("", "invalid number of arguments"),
    wrong_limit("a rate=1r/s burst=1 c", "invalid number of arguments"),
    Wrong("limit twice", f"{account()}aisearch_limit_fetches off;\naisearch_limit_fetches off; #!", PASS,
          '"aisearch_limit_fetches" directive is duplicate'),
    *(Wrong(f"limit status {value}", f"{account()}aisearch_limit_fetches_status {value}; #!", PASS, message)
      for value, message in ((value, f'invalid status "{value}", it must be between 400 and 599') for value in ("399", "600", "slow"))),

    # aisearch_pass
    wrong_pass("~ ^/jobs/", "in location given by regular expression"),
    wrong_pass("~* ^/jobs/", "in location given by regular expression"),
    wrong_pass("= /job", 'in location with "=" modifier'),
    wrong_pass("@job", "inside named location"),
    Wrong("pass in if", account(), location("if ($arg_job) {", "aisearch_pass docs; #!", "}"),
          '"aisearch_pass" needs a resource inside "if" statement, such as "aisearch_pass docs instances/'),
    Wrong("pass in limit_except", account(), location("limit_except GET {", "aisearch_pass docs; #!", "}"),
          '"aisearch_pass" needs a resource inside "limit_except" block, such as "aisearch_pass docs instances/'),
    Wrong("pass in server", account(), "aisearch_pass docs; #!", '"aisearch_pass" directive is not allowed here'),
    Wrong("pass twice", account(), location("aisearch_pass docs;", "aisearch_pass docs; #!"),
          '"aisearch_pass" directive is duplicate'),
    Wrong("pass without an account", account(), location("aisearch_pass; #!"), "invalid number of arguments"),
    Wrong("pass of two resources", account(), location("aisearch_pass docs a b; #!"), "invalid number of arguments"),
    Wrong("pass of a variable account", account(), location("aisearch_pass $account; #!"),
          r'invalid aisearch_account "\$account" .*, without variables'),
    wrong_literal("instances/DOCS/jobs/a", f"invalid resource .*: the instance id must be 1 to 64 .*; {RESOURCE}"),
    wrong_literal("/instances/docs/jobs/a", f"invalid resource .*: it must not begin with a slash; {RESOURCE}"),
    wrong_literal("instances/docs/nothing", f"invalid resource .*: the path must name a job.*; {RESOURCE}"),
    wrong_literal("instances/docs/jobs?page=1", f"invalid resource .*: the path must name a job.*; {RESOURCE}"),
    wrong_literal("instances/docs/jobs/", f"invalid resource .*: the job id must be .*; {RESOURCE}"),
    wrong_literal("", f"invalid resource .*: the path must name a job.*; {RESOURCE}"),
    wrong_literal(f"accounts/{OTHER_ACCOUNT}/instances/docs/jobs/a",
                  'belongs to another "account_id", correct it or aisearch_account "docs"'),
    wrong_literal("instances/handbook/jobs/a",
                  'belongs to an instance that its "instance" directives do not allow, correct it or aisearch_account "docs"'),
    wrong_literal("namespaces/team/instances/docs/jobs/a", "belongs to an instance that its"),
    wrong_literal("instances",
                  'lists instances that its "instance" directives do not allow, correct it or aisearch_account "docs"'),

    # names of zones
    Wrong("zone of ours", account().replace("{", "{ #!\n", 1) + "limit_req_zone $uri zone=aisearch_state:1m rate=1r/s;", "",
          'shared memory zone "aisearch_state" is used by another directive, rename it there'),
    Wrong("zone of the cache", account().replace("{", "{ #!\n", 1) + "limit_req_zone $uri zone=aisearch:1m rate=1r/s;", "",
          'shared memory zone "aisearch" is used by another directive, rename it there'),

    # the other directives
    wrong_valid("job 1s", f'invalid value "job", {WHAT}'),
    wrong_valid("ACTIVE 1s", f'invalid value "ACTIVE", {WHAT}'),
    wrong_valid("list soon", 'invalid time value "soon", use one such as "30s"'),
    wrong_valid("list -1s", 'invalid time value "-1s", use one such as "30s"'),
    wrong_valid("active 1s soon", 'invalid time value "soon", it must be at least "1s"'),
    wrong_valid("active 5s 2s", 'invalid time value "2s", it must be at least "5s"'),
    wrong_valid("ended 1s 2s", '"aisearch_valid ended" takes one time, only "active" takes two'),
    wrong_valid("active", "invalid number of arguments"),
    wrong_valid("list 1s; aisearch_valid list 2s", 'duplicate "aisearch_valid list", remove one'),
    *(wrong_stale(value, 'invalid parameter ".*", it must be "updating=TIME", "error=TIME" or only "off"')
      for value in ("on", "updating", "error", "off error=1s", "error=1s off", "timeout=1s")),
    *(wrong_stale(value, 'invalid time value ".*", use one such as "30s"')
      for value in ("updating=", "updating=soon", "error=-1s", "updating=1s error=1q")),
    wrong_stale("off; aisearch_use_stale off", '"aisearch_use_stale" directive is duplicate'),
    wrong_stale("updating=1s error=1s error=2s", "invalid number of arguments"),
    Wrong("bypass without a condition", f"{account()}aisearch_cache_bypass; #!\n", PASS, "invalid number of arguments"),
    Wrong("status with an argument", account(), location("aisearch_status on; #!"), "invalid number of arguments"),
    Wrong("intercept_errors maybe", f"{account()}aisearch_intercept_errors maybe; #!\n", PASS,
          'invalid value "maybe" in "aisearch_intercept_errors" directive, it must be "on" or "off"'),
]


@pytest.mark.parametrize("wrong", WRONG, ids=lambda wrong: wrong.what)
def test_a_wrong_configuration_is_rejected_with_file_line_and_fix(tmp, files, wrong):
    config = with_files(files, http=wrong.http, server=wrong.server)
    result = config_test(config, tmp)
    assert not result.ok

    emerg = [line for line in result.output.splitlines() if "[emerg]" in line]
    assert len(emerg) == 1, result.output
    message, line = re.fullmatch(r".*\[emerg\] [^:]*: (.*) in \S+/nginx\.conf:(\d+)", emerg[0]).groups()
    assert re.search(wrong.message, message)
    assert int(line) == marked_line(config)
    assert "canary" not in result.output, "the message repeats a possible secret"


def with_files(files: pathlib.Path, **parts: str) -> Config:
    return Config(**{name: text.replace("@FILES@", str(files)) for name, text in parts.items()})


def marked_line(config: Config) -> int:
    lines = config.text(pathlib.Path("/"), Ports()).splitlines()
    [number] = [number for number, line in enumerate(lines, 1) if line.endswith("#!")]
    return number


def test_an_error_in_an_included_file_names_that_file(tmp, files):
    (tmp / "account.conf").write_text(f"account_id {ACCOUNT};\n\ntimeout 0;\n")
    result = config_test(with_files(files, http=account("include ../account.conf;", account_id=""), server=PASS), tmp)
    assert not result.ok
    assert re.search(r'invalid time "0" in "timeout" directive, .* in \S+/account\.conf:3\n', result.output)


def test_an_unknown_account_in_an_included_file_names_that_file(tmp, files):
    (tmp / "server.conf").write_text("\nlocation /jobs/ {\n    aisearch_pass dosc;\n}\n")
    result = config_test(with_files(files, http=account(), server="include ../server.conf;"), tmp)
    assert not result.ok
    assert re.search(r'unknown aisearch_account "dosc", .* in \S+/server\.conf:3\n', result.output)


@pytest.mark.skipif(os.geteuid() != 0, reason="needs root to run as another user")
def test_an_unreadable_token_file(tmp, files):
    (tmp / "token").write_text("canary\n")
    (tmp / "token").chmod(0o600)
    conf = tmp / "nginx.conf"
    module = shutil.copy(MODULE, tmp)  # its directory is not accessible to everybody
    conf.write_text(small_configuration(tmp, account(credential=f"token_file {tmp}/token;"), module))
    run = nginx_t(tmp, conf, user="nobody")
    assert f'token file "{tmp}/token": Permission denied; make it readable by the user that starts the daemon' in run.stdout
    assert run.returncode != 0


def small_configuration(tmp: pathlib.Path, http: str, module: pathlib.Path = MODULE) -> str:
    return f"load_module {module};\npid {tmp}/pid;\nevents {{}}\nhttp {{\naccess_log off;\n{http}\n}}\n"


def nginx_t(prefix: pathlib.Path, conf: pathlib.Path, **options) -> subprocess.CompletedProcess:
    return subprocess.run([BINARY, "-t", "-e", "stderr", "-p", prefix, "-c", conf], env=memory.environment(prefix),
                          stdout=subprocess.PIPE, stderr=subprocess.STDOUT, text=True, timeout=60 * SLOWNESS,
                          check=False, **options)


# Valid configurations.

EVERYTHING = """
    aisearch_shared_zone zone=cache:32k;

    server {
        listen unix:@PREFIX@/early.sock;
        location /early/ { aisearch_pass docs; }     # before its block
    }

    aisearch_account docs {
        account_id          %s;
        token_file          @FILES@/token;
        instance            my-ai-search handbook;
        instance            team/notes default/plain;
        api_url             https://api.example:8443/client/v4/;
        connect_timeout     500ms;
        timeout             1m;
        retries             0;
        budget              900 5m;
        budget              1000000 1d reserve=0;
        budget              1 1s reserve=99;
        trusted_certificate /etc/ssl/certs/ca-certificates.crt;
        verify              on;
        proxy               http://proxy.example:3128;
    }

    aisearch_account plain {
        account_id          %s;
        email               user@example.com;
        key_file            @FILES@/key;
        api_url             http://unix:/run/nginx/api.sock:/client/v4;
        verify              off;
        retries             10;
    }

    aisearch_account abroad {
        account_id          %s;
        token_file          @FILES@/token;
        api_url             http://api.example/client/v4;
        allow_plain_http    on;
    }

    aisearch_valid active 0 0;
    aisearch_valid ended 1d;
    aisearch_use_stale updating=0 error=1d;
    aisearch_cache_bypass $http_pragma $arg_fresh;
    aisearch_limit_fetches $binary_remote_addr$arg_key rate=30r/m burst=10;
    aisearch_limit_fetches_status 503;
    aisearch_intercept_errors on;
""" % (ACCOUNT, ACCOUNT, OTHER_ACCOUNT)

EVERYWHERE = """
    aisearch_valid not_found 0;
    aisearch_intercept_errors off;
    aisearch_use_stale off;
    location = /status { aisearch_status; }
    location / { aisearch_pass docs; }
    location "" { aisearch_pass docs; }
    aisearch_limit_fetches off;
    location = /slow { aisearch_pass docs instances/handbook/jobs; aisearch_limit_fetches all rate=1r/s; }
    location ^~ /jobs { aisearch_pass docs; aisearch_valid list 1s; aisearch_valid logs 1s; aisearch_valid error 1s; }
    location = /job { aisearch_pass docs instances/my-ai-search/jobs/a; }
    location = /plain { aisearch_pass docs namespaces/default/instances/plain/jobs; }
    location = /team { aisearch_pass docs accounts/%s/ai-search/namespaces/team/instances/notes/jobs/a/logs; }
    location @job { aisearch_pass docs instances/handbook/jobs/$arg_job; }
    location ~ ^/of/(?<of>[^/]+)$ { aisearch_pass plain rags/$of/jobs; }
    location /if/ { if ($arg_job) { aisearch_pass abroad instances/docs/jobs/$arg_job; } }
    location /limited/ { limit_except GET { deny all; } aisearch_pass docs; }
""" % ACCOUNT


def test_every_directive_in_valid_configurations(tmp, files):
    result = config_test(with_files(files, http=EVERYTHING, server=EVERYWHERE), tmp)
    assert result.ok, result.output
    assert "[" not in result.output, "a warning about a valid configuration"


def resource_test(tmp, files, match: str, resource: str) -> str:
    """Returns the messages of nginx -t about a resource in such a location."""
    server = location(f"aisearch_pass docs {resource};", match=match)
    result = config_test(Config(http=account().replace("@FILES@", str(files)), server=server), tmp)
    assert result.ok, result.output
    return "\n".join(line for line in result.output.splitlines() if "[" in line)


@pytest.mark.parametrize("match, resource, what", [
    ("~ ^/jobs/(?<rest>.+)$", "instances/$rest", "instance"),
    ("~ ^/jobs/(.*)$", "instances/$1", "instance"),
    ("/jobs/", "instances/$request_id", "instance"),
    ("/jobs/", "namespaces/team/instances/${request_id}", "instance"),
    ("~ ^/jobs/(?<team>[^/]+)/(?<rest>.+?)$", "namespaces/$team/instances/$rest", "instance"),
    ("~ ^/jobs/(?<rest>.+)$", f"accounts/{ACCOUNT}/ai-search/namespaces/$rest", "namespace"),
], ids=str)
def test_a_resource_with_several_parts_in_one_variable_causes_a_warning(tmp, files, match, resource, what):
    said = resource_test(tmp, files, match, resource)
    variable = resource.rpartition("/")[2]
    assert re.search(rf'\[warn\] .*"{re.escape(resource)}" in "aisearch_pass" matches only a single {what}, since '
                     rf'a variable matches a single path segment; if "{re.escape(variable)}" contains more, such as "NAME/jobs/ID", use '
                     rf'"set \$resource {re.escape(resource)}; aisearch_pass docs \$resource;" in .*nginx\.conf:\d+$', said)


def test_a_connect_timeout_that_is_never_reached_causes_a_warning(tmp, files):
    for times, warned in (("connect_timeout 20s;", True), ("timeout 3s; connect_timeout 4s;", True), ("timeout 3s;", False),
                          ("timeout 3s; connect_timeout 3s;", False)):
        result = config_test(with_files(files, http=account(times), server=PASS), tmp)
        assert result.ok
        assert ('aisearch_account "docs": "connect_timeout" has no effect because it is longer than "timeout"' in result.output) == warned, times


def test_an_incomplete_account_id_causes_a_warning(tmp, files):
    result = config_test(with_files(files, http=account(account_id=f"account_id {ACCOUNT[:-1]};"), server=PASS), tmp)
    assert result.ok
    assert re.search(r'\[warn\] .*"account_id" has 31 digits instead of 32, so the API will reject it; copy it from the '
                     r"dashboard again in .*nginx\.conf:\d+$", result.output, re.MULTILINE)


@pytest.mark.parametrize("match, resource", [
    ("~ ^/jobs/(?<inst>[^/]+)/(?<job>[^/]+)$", "instances/$inst/jobs/$job"),
    ("/jobs/", "instances/handbook/jobs/$arg_job"),
    ("/jobs/", "instances/$arg_inst"),
    ("/jobs/", "instances/$request_id/jobs"),
    ("/jobs/", "instances/docs-$request_id"),
    ("/jobs/", "instances/$request_id$request_id"),
    ("/jobs/", "$request_id"),
    ("/jobs/", "rags/$request_id/jobs/${request_id}/logs"),
    ("~ ^/facts/(?<inst>[^/]+)$", "instances/$inst"),
    ("~ ^/facts/([a-z]+)$", "instances/$1"),
], ids=str)
def test_a_resource_with_single_parts_causes_no_warning(tmp, files, match, resource):
    assert resource_test(tmp, files, match, resource) == ""


def test_the_module_is_loaded_but_unused(tmp):
    assert config_test(Config(), tmp).ok


def test_an_unused_account(tmp, files):
    assert config_test(with_files(files, http=account()), tmp).ok


def test_certificates_are_read_only_if_they_are_needed(tmp, files):
    for line in ("api_url http://localhost/v4;", "verify off;"):
        config = with_files(files, http=account("trusted_certificate @FILES@/missing;", line), server=PASS)
        assert config_test(config, tmp).ok


def test_paths_are_relative_to_the_configuration_directory(tmp, certificates):
    conf, elsewhere = tmp / "conf", tmp / "prefix"
    (conf / "secrets").mkdir(parents=True)
    (conf / "accounts").mkdir()
    elsewhere.mkdir()
    (conf / "secrets" / "token").write_text("canary\n")
    (conf / "secrets" / "key").write_text("canary\n")
    (conf / "ca.pem").write_bytes(certificates.ca_file.read_bytes())
    accounts = (account(credential="token_file secrets/token;\ntrusted_certificate ca.pem;")
                + account(credential="include accounts/key.*;", name="handbook"))
    (conf / "accounts" / "key.conf").write_text("email user@example.com;\nkey_file secrets/key;\n")
    (conf / "nginx.conf").write_text(small_configuration(tmp, accounts))
    run = nginx_t(elsewhere, conf / "nginx.conf")
    assert run.returncode == 0, run.stdout


def test_directives_in_included_files(tmp, simulator, nginx):
    """The block of an account includes two files, and all of their directives take effect."""
    (tmp / "credential.conf").write_text(f"token_file {simulator.token_file};\n")
    (tmp / "rest.conf").write_text(f"account_id {ACCOUNT};\napi_url {simulator.url};\ninstance docs;\n")
    simulator.job("instances/docs", "a")
    server = nginx(http="aisearch_account docs { include ../credential.conf; include ../re*.conf; }", server=PASS)
    assert server.get("/jobs/instances/docs/jobs/a").status == 200
    assert server.get("/jobs/instances/handbook/jobs/a").status == 403


def test_an_account_is_used_before_its_block(simulator, nginx):
    simulator.job("instances/docs", "a")
    server = nginx(http=f"""
        server {{ listen 127.0.0.1:@PORT_EARLY@; {PASS} }}
        aisearch_account docs {{ account_id {ACCOUNT}; token_file {simulator.token_file}; api_url {simulator.url}; }}
    """)
    assert net.request(("127.0.0.1", server.ports["EARLY"]), "/jobs/instances/docs/jobs/a").status == 200
