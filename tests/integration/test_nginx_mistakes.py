"""
A hundred mistakes that operators make in nginx's configuration, with the message of nginx -t for each: what is wrong,
where, and the fix. All of them are checked in parallel.

The line that the message must name ends in "#!". @FILES@ is a directory of good and bad files.
"""

import pathlib
import re
from typing import NamedTuple

import mistakes
import pytest

from harness.nginx import Config, ConfigTest, Ports, config_test
from harness.simulator import ACCOUNT

PASS = "location /jobs/ { aisearch_pass docs; }"
class Mistake(NamedTuple):
    config: Config
    level: str  # emerg, or warn if the configuration may still work
    words: str  # a regular expression: what is wrong, and the fix


def account(*lines: str, name: str = "docs", id_line: str = f"account_id {ACCOUNT};",
            credential: str = "token_file @FILES@/token;") -> str:
    return "\n".join([f"aisearch_account {name} {{", id_line, credential, *lines, "}\n"])


def in_account(lines: str, words: str, level: str = "emerg", **parts: str) -> Mistake:
    """Lines in the block. The message must name the line with #! or, without one, the closing line of the block."""
    text = account(lines, **parts)
    if "#!" not in text:
        text = text.replace("}\n", "} #!\n")
    return Mistake(Config(http=text, server=PASS), level, words)


def warned(lines: str, words: str, **parts: str) -> Mistake:
    return in_account(lines, words, "warn", **parts)


def account_id(value: str, words: str, level: str = "emerg") -> Mistake:
    return in_account("", words, level, id_line=f"account_id {value}; #!")


def token(name: str, words: str, level: str = "emerg") -> Mistake:
    return in_account("", words, level, credential=f"token_file @FILES@/{name}; #!")


def api_url(url: str, words: str) -> Mistake:
    return in_account(f"api_url {url}; #!", f'invalid "api_url": .*{words}')


def in_http(lines: str, words: str, level: str = "emerg", server: str = PASS) -> Mistake:
    return Mistake(Config(http=account() + lines, server=server), level, words)


def in_server(lines: str, words: str, level: str = "emerg") -> Mistake:
    return in_http("", words, level, lines)


def resource(value: str, words: str, level: str = "emerg") -> Mistake:
    return in_server(f"location = /job {{ aisearch_pass docs {value}; }} #!", words, level)


def in_location(lines: str, words: str, level: str = "warn", match: str = "/jobs/") -> Mistake:
    return in_server(f"location {match} {{\n{lines}\n}}", words, level)


ID = r'invalid "account_id", it must be the 32 digits of 0-9 and a-f in lower case that the dashboard shows'
ALONE = "write only the API token into it, on one line"
THE_API = "use https://api.cloudflare.com/client/v4"
NUMBER = 'invalid number of arguments in "{}" directive, it takes {} and ends with ";"'
BUDGET = '"budget" allows {} calls in 5 minutes, but the API allows only 1200 .*; use at most 1200 calls in 5 minutes'
WRITE = 'write it as "instances/NAME/jobs/ID"'
CONTEXT = '"{}" directive is not allowed here'

MISTAKES = {
    # misspelled and misplaced directives
    **{f"{word} for {name}": in_account(f"{word} x; #!", f'unknown directive "{word}" in aisearch_account "docs", did you '
                                        rf'mean "{name}"\?')
       for word, name in {"token": "token_file", "tokenfile": "token_file", "api_token": "token_file",
                          "accountid": "account_id", "account": "account_id", "url": "api_url", "instances": "instance",
                          "key": "key_file", "read_timeout": "timeout", "ssl_verify": "verify", "bugdet": "budget",
                          "proxy_url": "proxy", "ssl_trusted_certificate": "trusted_certificate"}.items()},
    "token=SECRET": in_account("token=canary; #!", 'unknown directive "token=" in .*, did you mean "token_file"'),
    "account_id=": in_account(f"account_id={ACCOUNT}; #!", 'unknown directive "account_id=" in .*, did you mean "account_id"'),
    "nothing like it": in_account("listen 80; #!", 'unknown directive "listen" in aisearch_account "docs", use one of account_id, token_file, .*proxy$'),
    "aisearch_valid in the block": in_account("aisearch_valid list 30s; #!", '"aisearch_valid" directive is not allowed '
                                              r'inside aisearch_account "docs", move it after the "}" of the block'),

    # the account's id
    "31 digits": account_id(ACCOUNT[:-1], '"account_id" has 31 digits instead of 32, .*; copy it from the dashboard again', "warn"),
    "33 digits": account_id(ACCOUNT + "0", ID),
    "upper case": account_id(ACCOUNT.upper(), ID),
    "with spaces": account_id(f'" {ACCOUNT}"', ID),
    "spaces inside": account_id(f"{ACCOUNT[:16]} {ACCOUNT[16:]}", NUMBER.format("account_id", "one")),
    "as a UUID": account_id("c3dc5f0b-34a1-4ff8-e1b3-ec04895e1b22", ID),
    "the account's name": account_id('"Example Inc."', ID + ".*not the name of the account"),
    "an email": account_id("admin@example.com", ID),
    "a placeholder": account_id("YOUR_ACCOUNT_ID", ID),
    "a variable": account_id("$account_id", ID),
    "nothing as id": account_id('""', ID),
    "no id": in_account("", 'no "account_id" is set; use the ID of the account', id_line=""),
    "id twice": in_account(f"account_id {ACCOUNT}; #!", '"account_id" directive is duplicate'),

    # credentials
    "double quotes": token("quoted", f"a quotation mark at offset 0; {ALONE}"),
    "single quotes": token("single", f"a quotation mark at offset 0; {ALONE}"),
    "KEY=value": token("env", f'a "=", as in NAME=VALUE, at offset 20; {ALONE}'),
    "export KEY=value": token("export", f"white space at offset 6; {ALONE}"),
    "a byte order mark": token("bom", f"a byte order mark at offset 0; {ALONE}"),
    "UTF-16": token("utf16", f"a byte order mark at offset 0; {ALONE}"),
    "Bearer in front": token("bearer", f'begins with the name of a header or with "Bearer"; {ALONE}'),
    "a whole header": token("header", f'begins with the name of a header or with "Bearer"; {ALONE}'),
    "a colon": token("colon", f'a ":", as in a header, at offset 5; {ALONE}'),
    "JSON": token("json", f"a character that no token or key contains at offset 0; {ALONE}"),
    "a placeholder for the token": token("placeholder", f"a character that no token or key contains at offset 0; {ALONE}"),
    "a variable in the file": token("variable", f"a character that no token or key contains at offset 0; {ALONE}"),
    "two lines": token("lines", f"a line break at offset 6; {ALONE}"),
    "two lines of Windows": token("crlf_lines", f"a line break at offset 6; {ALONE}"),
    "a comment in front": token("comment", f"a character that no token or key contains at offset 0; {ALONE}"),
    "a blank behind": token("space", f"white space at offset 6; {ALONE}"),
    "an empty file": token("empty", "empty; write the API token into it"),
    "a private key": token("pem", f"white space at offset 10; {ALONE}"),
    "a directory": token("", "not a regular file; write the API token into a regular file"),
    "a missing file": token("missing", 'token file ".*/missing": No such file or directory; check the path'),
    "the token for its file": in_account("", "token file: no such file, and its name looks like the API token itself; write "
                                         "that into a file, and specify the name of the file", credential=f"token_file {mistakes.TOKEN}; #!"),
    "a file that all can read": token("open", r'any user .* can read or write ".*/open"; .*"chmod 0600"', "warn"),
    "a global key for a token": token("global_key", "looks like an API key, not like a token; a key also needs its email", "warn"),
    "an id for a token": token("zone_id", "looks like the ID of an account or a zone; write the API token or key", "warn"),
    "a token for a key": warned("key_file @FILES@/an_api_token; #!", "looks like an API token, not like a key; a token is used "
                                "without an email", credential="email a@example.com;"),
    "a credential of systemd in a shell": in_account(
        "", "CREDENTIALS_DIRECTORY is not set: .*; in a shell, set it .*: sudo "
        "CREDENTIALS_DIRECTORY=/run/credentials/nginx.service nginx -t", credential="token_file credential:docs; #!"),
    "a next token that is still to come": warned("token_file @FILES@/next; #!", 'the file of the next credential, ".*/next", '
                                                 "does not exist and is ignored; reload nginx after creating it"),
    "no credential": in_account("", 'no credential is set; use "token_file", or "email" and "key_file"', credential=""),
    "an email without a key": in_account("", '"email" is set without "key_file"; a credential needs both', credential="email a@example.com;"),
    "a token and a key": in_account("key_file @FILES@/key; #!", 'two kinds of credentials are set; use either "token_file", or "email"'),
    "no email address": in_account("key_file @FILES@/key; #!", "not an email address; use the address that the API key",
                                   credential="email admin;"),

    # api_url
    "no scheme": api_url("api.cloudflare.com/client/v4", "must begin with https:// or http://"),
    "without /client/v4": api_url("https://api.cloudflare.com", f'must end with "/client/v4"; {THE_API}'),
    "half of /client/v4": api_url("https://api.cloudflare.com/v4/", f'must end with "/client/v4"; {THE_API}'),
    "with the account behind": api_url(f"https://api.cloudflare.com/client/v4/accounts/{ACCOUNT}", f'must end with "/client/v4"; {THE_API}'),
    "the dashboard": api_url(f"https://dash.cloudflare.com/{ACCOUNT}/ai", "this is the dashboard; the API is at https://api"),
    "with a query": api_url('"https://api.example/client/v4?x=canary"', "must not have a query .*; remove the"),
    "with a user": api_url("https://admin:canary@api.example/client/v4", 'remove them and the "@"'),
    "plain http to the API": api_url("http://api.cloudflare.com/client/v4", f"does not support plain http; {THE_API}"),
    "plain http to a host": in_account("api_url http://api.example/client/v4;", 'to another host over plain http; use https, or'),
    "a socket without unix:": api_url("/run/api.sock", "must begin with https:// or http://"),
    "a relative socket": api_url("http://unix:api.sock:/client/v4", "must be an absolute path, as in http://unix:/run"),
    "a socket with https": api_url("https://unix:/run/api.sock:/client/v4", "without TLS; begin the URL with http://unix:"),
    "http to port 443": api_url("http://localhost:443/client/v4", "port 443 is for https; begin the URL with https://"),
    "https to port 80": api_url("https://api.example:80/client/v4", "port 80 is for plain http; omit it"),
    "a bad port": api_url("https://api.example:99999/client/v4", "a number from 1 to 65535"),
    "a proxy without http://": in_account("proxy proxy.example:3128; #!", 'invalid "proxy": .* http://HOST:PORT'),
    "a proxy of SOCKS": in_account("proxy socks5://proxy.example:1080; #!", 'invalid "proxy": .* http://HOST:PORT'),
    "a proxy to a socket": warned("api_url http://unix:/run/api.sock:/client/v4;\nproxy http://proxy.example:3128;",
                                  '"proxy" has no effect because "api_url" is a Unix socket; remove it'),
    "no certificate": in_account("trusted_certificate @FILES@/no_certificate; #!", "the file contains no certificate; .*PEM"),
    "verify off": warned("verify off;", 'with "verify off", anyone who can intercept the connection can obtain the credential; remove it, and specify'),
    "verify no": in_account("verify no; #!", 'it must be "on" or "off"'),

    # durations and numbers
    "an unknown unit": in_account("timeout 5sec; #!", 'invalid time "5sec" in "timeout" directive, .*such as "5s"'),
    "a timeout of 0": in_account("timeout 0; #!", 'invalid time "0" in "timeout" directive, .*greater than 0'),
    "a timeout in ms": warned("timeout 15000; #!", 'is more than an hour because a number without a unit is in seconds; use "ms"'),
    "connect_timeout beyond timeout": warned("connect_timeout 20s;", 'no effect because it is longer than "timeout"; use a shorter one'),
    "retries always": in_account("retries always; #!", '"retries" directive, it must be between 0 and 10'),
    "retries 100": in_account("retries 100; #!", '"retries" directive, it must be between 0 and 10'),
    "a budget beyond the API's": warned("budget 2000 5m;", BUDGET.format(2000)),
    "a budget of a second alone": warned("budget 100 1s;", BUDGET.format(30000)),
    "a budget of an hour alone": warned("budget 14400 1h;", BUDGET.format(14400)),
    "a budget as a rate": in_account("budget 900r/5m; #!", NUMBER.format("budget", "two or three")),
    "a budget of no call": in_account("budget 0 5m; #!", 'number of calls "0" .* between 1 and 1000000'),
    "a budget without a time": in_account("budget 900; #!", NUMBER.format("budget", "two or three")),
    "a budget in ms": in_account("budget 900 300000; #!", 'invalid time "300000" .* between "1s" and "1d"'),
    "reserve=101": in_account("budget 900 5m reserve=101; #!", "the reserve must be a percentage between 0 and 99"),
    "reserve=50%": in_account("budget 900 5m reserve=50%; #!", "the reserve must be a percentage between 0 and 99"),
    "reserved=50": in_account("budget 900 5m reserved=50; #!", 'it must be "reserve=PERCENT"'),
    "a budget twice": in_account("budget 900 5m;\nbudget 100 300s; #!", 'duplicate "budget" for the time "300s"'),
    "no semicolon": in_account("timeout 5s\nretries 1; #!", NUMBER.format("timeout", "one")),
    "an instance in capitals": in_account("instance Docs; #!", 'invalid instance "Docs", it must be NAME or NAMESPACE/NAME'),
    "an instance with a star": in_account('instance "docs-*"; #!', r'invalid instance "docs-\*", it must be NAME or'),

    # the account block itself
    "an account twice": in_http(account().replace("{", "{ #!", 1), r'duplicate aisearch_account "docs", the first one is in .*; rename one of them'),
    "an account with a space": in_http("aisearch_account 'my docs' { #!\n}", 'invalid aisearch_account "my docs", a name consists of letters'),
    "an account in a server": in_server(account(name="more").replace("{", "{ #!", 1), CONTEXT.format("aisearch_account")),
    "an account without a block": in_http("aisearch_account more; #!", r'has no opening "\{"'),
    "a misspelled account": in_location("aisearch_pass dosc; #!", r'unknown aisearch_account "dosc", did you mean "docs"\?', "emerg"),
    "an undefined account": in_location("aisearch_pass handbook; #!", 'unknown aisearch_account "handbook", define it with an', "emerg"),
    "a URL for an account": in_location("aisearch_pass http://docs; #!", 'invalid aisearch_account "http://docs" .*, use the name of', "emerg"),
    "a resource without a space": in_location("aisearch_pass docs/instances/a; #!", "invalid aisearch_account .* separate the resource from it by a space", "emerg"),
    "a variable for an account": in_location("aisearch_pass $name; #!", r'invalid aisearch_account "\$name" .*, without variables', "emerg"),

    # the zone
    "a zone without zone=": in_http("aisearch_shared_zone cache:8m; #!", 'invalid parameter "cache:8m", use "zone=NAME:SIZE"'),
    "a zone without a size": in_http("aisearch_shared_zone zone=cache; #!", 'invalid zone "zone=cache", use "zone=NAME:SIZE"'),
    "a zone that is too small": in_http("aisearch_shared_zone zone=cache:8k; #!", 'zone "cache" is too small, it needs at least'),
    "a zone in MB": in_http("aisearch_shared_zone zone=cache:8MB; #!", 'invalid zone size ".*", use a size such as "8m"'),
    "a zone twice": in_http("aisearch_shared_zone zone=a:8m;\naisearch_shared_zone zone=b:8m; #!", "is duplicate"),
    "a zone in a server": in_server("aisearch_shared_zone zone=a:8m; #!", CONTEXT.format("aisearch_shared_zone")),
    "a zone of another module": in_http("limit_conn_zone $uri zone=taken:1m;\naisearch_shared_zone zone=taken:1m; #!", "already declared for a different use"),

    # resources
    "a leading slash": resource("/instances/docs/jobs", f"it must not begin with a slash; {WRITE}, or omit it"),
    "a leading slash and variables": resource("/instances/$arg_i/jobs", f"it must not begin with a slash; {WRITE}, or omit it"),
    "$uri": resource("$uri", f"it must not begin with a slash; {WRITE}, or omit it"),
    "$request_uri": resource("${request_uri}", "it must not begin with a slash; .*, or omit it"),
    "instance/": resource("instance/docs/jobs", f"the path must name a job.*; {WRITE}"),
    "instance/ and variables": resource("instance/$arg_i/jobs", f"for any values of its variables: the path must name.*; {WRITE}", "warn"),
    "job/ and variables": resource("instances/$arg_i/job/$arg_j", f"for any values of its variables: the path must name.*; {WRITE}", "warn"),
    "/items": resource("instances/docs/items", f"the path must name a job.*; {WRITE}"),
    "the whole API path": resource(f"client/v4/accounts/{ACCOUNT}/ai-search/instances/docs", f"the path must name a job.*; {WRITE}"),
    "another account's resource": resource(f"accounts/{'0' * 32}/instances/docs/jobs", 'belongs to another "account_id", correct it'),
    "an instance that is not allowed": Mistake(
        Config(http=account("instance wiki;"), server="location = /job { aisearch_pass docs instances/docs/jobs/$arg_j; } #!"),
        "emerg", 'belongs to an instance that its "instance" directives do not allow, correct it or aisearch_account "docs"'),
    "all that follows": in_server("location ~ ^/jobs/(.+)$ { aisearch_pass docs instances/$1; } #!", r'a variable matches a single path segment; .*use "set \$resource', "warn"),
    "no resource in =": in_location("aisearch_pass docs; #!", 'needs a resource in location with "=" modifier, such as', "emerg", "= /job"),
    "no resource in a regex": in_location("aisearch_pass docs; #!", "needs a resource in location given by regular expression, such as", "emerg", "~ ^/jobs/"),

    # directives in the wrong place, or without effect
    "pass in a server": in_server("aisearch_pass docs; #!", CONTEXT.format("aisearch_pass")),
    "status in a server": in_server("aisearch_status; #!", CONTEXT.format("aisearch_status")),
    "pass and proxy_pass": in_location("proxy_pass http://127.0.0.1;\naisearch_pass docs; #!", '"aisearch_pass" replaces another directive .*, remove one'),
    "proxy_pass and pass": in_location("aisearch_pass docs; #!\nproxy_pass http://127.0.0.1;", '"aisearch_pass" has no effect because another directive .*; remove one'),
    "pass and status": in_location("aisearch_pass docs; #!\naisearch_status;", '"aisearch_pass" has no effect because another directive .*; remove one'),
    "status and status": in_location("aisearch_status;\naisearch_status; #!", '"aisearch_status" replaces another directive .*, remove one'),
    "pass twice": in_location("aisearch_pass docs;\naisearch_pass docs; #!", '"aisearch_pass" directive is duplicate', "emerg"),
    **{f"{line} without pass": in_location(f"{line};", 'directives in location "/jobs/" have no effect without "aisearch_pass", add it')
       for line in ("aisearch_wait 60s", "aisearch_events on", "aisearch_metrics on", "aisearch_valid list 1s",
                    "aisearch_use_stale off", "aisearch_cache_bypass $arg_fresh")},
    "metrics and events": in_location("aisearch_metrics on;\naisearch_events on;\naisearch_pass docs; #!", 'have no effect with "aisearch_metrics on"; move them to'),
    "metrics and wait": in_location("aisearch_metrics on;\naisearch_wait 60s;\naisearch_pass docs; #!", 'have no effect with "aisearch_metrics on"; move them to'),
    "metrics of a job": in_location("aisearch_metrics on;\naisearch_pass docs instances/docs/jobs/a; #!", 'does not support this resource; use "instances/NAME/jobs"'),
    "heartbeat without events": in_location("aisearch_heartbeat 5s;\naisearch_pass docs; #!", 'no effect without "aisearch_events on"; add the latter'),
    "a limit's status without a limit": in_location("aisearch_limit_fetches_status 503;\naisearch_pass docs; #!", 'no effect without "aisearch_limit_fetches"; add the latter'),

    # the other directives
    "valid as of proxy_cache_valid": in_http("aisearch_valid 200 30s; #!", 'invalid value "200", it must be "active", "ended"'),
    "valid of a time alone": in_http("aisearch_valid 30s; #!", "invalid number of arguments"),
    "valid jobs": in_http("aisearch_valid jobs 30s; #!", 'invalid value "jobs", it must be "active", "ended"'),
    "valid for half a minute": in_http("aisearch_valid list half; #!", 'invalid time value "half", use one such as "30s"'),
    "active, the longer time first": in_http("aisearch_valid active 20s 5s; #!", 'invalid time value "5s", it must be at least "20s"'),
    "use_stale as of proxy_cache": in_http("aisearch_use_stale error timeout; #!", 'invalid parameter "error", it must be "updating=TIME"'),
    "use_stale on": in_http("aisearch_use_stale on; #!", 'invalid parameter "on", it must be "updating=TIME"'),
    "use_stale twice the same": in_http("aisearch_use_stale error=1h error=2h; #!", 'duplicate parameter "error=2h", remove one'),
    "wait on": in_http("aisearch_wait on; #!", 'invalid time value "on", it must be a number of seconds, such as "60s", or "off"'),
    "wait in ms": in_http("aisearch_wait 500ms; #!", 'invalid time value "500ms", it must be a number of seconds'),
    "events yes": in_http("aisearch_events yes; #!", 'it must be "on" or "off"'),
    "heartbeat in ms": in_http("aisearch_heartbeat 500ms; #!", 'invalid time value "500ms", it must be at least "1s"'),
    "heartbeat often": in_http("aisearch_heartbeat often; #!", 'invalid time value "often", it must be at least "1s"'),
    "limit of no rate": in_http("aisearch_limit_fetches $binary_remote_addr; #!", 'no rate .*, use "aisearch_limit_fetches'),
    "limit of rate=0": in_http("aisearch_limit_fetches $binary_remote_addr rate=0r/s; #!", 'invalid rate "rate=0r/s", use one such as "rate=30r/m"'),
    "limit of rate=30": in_http("aisearch_limit_fetches $binary_remote_addr rate=30; #!", 'invalid rate "rate=30", use one such as'),
    "limit as of limit_req": in_http("aisearch_limit_fetches zone=one rate=1r/s; #!", 'no key .* before "zone=one", use "aisearch_limit_fetches'),
    "limit without a key": in_http("aisearch_limit_fetches rate=1r/s; #!", r'no key .* before "rate=1r/s", use .*\$binary_remote_addr rate'),
    "limit of two rates": in_http("aisearch_limit_fetches $uri rate=1r/s rate=2r/s; #!", 'duplicate parameter "rate=2r/s", remove one'),
    "limit nodelay": in_http("aisearch_limit_fetches $uri rate=1r/s nodelay; #!", 'invalid parameter "nodelay", it must be "rate=RATE"'),
    "limit of an unknown variable": in_http("aisearch_limit_fetches $client rate=1r/s;", 'unknown "client" variable'),
    "limit with status 200": in_http("aisearch_limit_fetches_status 200; #!", 'invalid status "200", it must be between 400 and 599'),
    "limit with status slow": in_http("aisearch_limit_fetches_status slow; #!", 'invalid status "slow", it must be between 400 and 599'),
    "intercept_errors 1": in_http("aisearch_intercept_errors 1; #!", 'it must be "on" or "off"'),
    **{f"bypass {value}": in_http(f"aisearch_cache_bypass {value}; #!", "always bypasses the cache, use a variable that is", "warn")
       for value in ("on", "off", "1")},
    "bypass without a condition": in_http("aisearch_cache_bypass; #!", "invalid number of arguments"),
}


@pytest.fixture(scope="module")
def answers() -> dict[str, ConfigTest]:
    def ask(mistake: Mistake, directory: pathlib.Path) -> ConfigTest:
        parts = {part: getattr(mistake.config, part).replace("@FILES@", str(directory)) for part in ("http", "server")}
        return config_test(Config(**parts), directory)

    return mistakes.answers(MISTAKES, ask)


def test_there_are_a_hundred():
    assert len(MISTAKES) >= 100


@pytest.mark.parametrize("what", MISTAKES)
def test_the_message_names_the_mistake_its_place_and_the_fix(answers, what):
    mistake, answer = MISTAKES[what], answers[what]
    said = [line for line in answer.output.splitlines() if re.search(r"\[(emerg|warn)\]", line)]
    assert len(said) == 1, answer.output
    message, place = re.fullmatch(rf".*\[{mistake.level}\] [^:]*: (.*?)(?: in \S+/nginx\.conf:(\d+))?", said[0]).groups()
    assert re.search(mistake.words, message)
    assert place == marked_line(mistake.config)
    assert answer.ok == (mistake.level == "warn")
    assert "canary" not in answer.output.lower(), "the message repeats a possible secret"


def marked_line(config: Config) -> str | None:
    """None if nginx does not know where the location is defined; the message has its name instead."""
    lines = config.text(pathlib.Path("/"), Ports()).splitlines()
    marked = [str(number) for number, line in enumerate(lines, 1) if line.endswith("#!")]
    return marked[0] if marked else None
