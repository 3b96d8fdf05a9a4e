"""
Crafted resources that try to reach other users' data. For each, one of three outcomes holds: nginx rejects it, the
module rejects it, or nginx's normalized URI is a valid resource and the response is about exactly that one.
"""

import dataclasses
import re

import pytest

from harness import net, temp_dir
from harness.nginx import Config, Nginx
from harness.simulator import ACCOUNT, Simulator

OTHER_ACCOUNT = "0123456789abcdef0123456789abcdef"

# The only paths that may ever reach the API, written independently of the module.
NAME = "[a-z0-9_]+(?:-[a-z0-9_]+)*"
NAMESPACE = "namespaces/[a-z0-9](?:[a-z0-9-]{0,26}[a-z0-9])?"
PAGE = r"(?:\?page=[1-9][0-9]{0,8})?[?&]per_page=[0-9]{1,3}"
TEXT = r"(?:[A-Za-z0-9._~-]|%[0-9A-F]{2}){1,192}"
FILTERS = (rf"(?:[?&]search={TEXT})?(?:[?&]hostname={TEXT})?(?:[?&]namespace=[a-z0-9-]{{1,28}})?"
           r"(?:[?&]order_by=created_at)?(?:[?&]order_by_direction=(?:asc|desc))?")
UPSTREAM = re.compile(
    rf"/client/v4/accounts/{ACCOUNT}"
    rf"/(?:(?:ai-search/(?:{NAMESPACE}/)?instances/(?=[^/]{{1,64}}/){NAME}|autorag/rags/(?=[^/]{{1,32}}/){NAME})"
    rf"/jobs(?:/[A-Za-z0-9_-]{{1,64}}|(?:/[A-Za-z0-9_-]{{1,64}}/logs)?{PAGE})"
    rf"|ai-search/(?:{NAMESPACE}/)?instances/(?=[^/]{{1,64}}(?:/|$)){NAME}(?:/stats)?"
    rf"|ai-search/(?:{NAMESPACE}/)?instances{PAGE}{FILTERS}"
    rf"|ai-search/namespaces{PAGE}(?:[?&]search={TEXT})?|ai-search/{NAMESPACE})")

HTTP = """
    # no answer is ever used twice, so that each lookup shows what it asks for
    aisearch_valid active 0;
    aisearch_valid ended 0;
    aisearch_valid list 0;
    aisearch_valid logs 0;
    aisearch_valid instance 0;
    aisearch_valid stats 0;
    aisearch_valid not_found 0;
    aisearch_valid error 0;
    aisearch_use_stale off;

    aisearch_account docs {
        account_id %(account)s; token_file %(token_file)s; api_url %(url)s;
        instance docs team/notes;
        budget 1000000 1s;
    }
    aisearch_account open {
        account_id %(account)s; token_file %(token_file)s; api_url %(url)s;
    }

    server {
        listen 127.0.0.1:@PORT_SLASHES@;
        merge_slashes off;
        location /client/v4/ { aisearch_pass docs; }
        location /bare { aisearch_pass docs; }
    }
"""

SERVER = """
    location /client/v4/ { aisearch_pass docs; }
    location /open/ { aisearch_pass open; }
    location /bare { aisearch_pass docs; }
    location ~ ^/jobs/(?<inst>[^/]+)/(?<job>[^/]+)$ { aisearch_pass docs instances/$inst/jobs/$job; }
    location ~ ^/any/(?<any>.+)$ { aisearch_pass docs $any; }
    location ~ ^/bytes/(?<bytes>(?s:.*))$ { aisearch_pass docs instances/docs/jobs/$bytes; }
    location = /args { aisearch_pass docs instances/$arg_inst/jobs/$arg_job; }
    location = /list { aisearch_pass docs instances/docs/jobs; }
    location = /header { aisearch_pass docs $http_x_resource; }
    location /uri/ { set $rest $request_uri; aisearch_pass docs $rest; }
    location /rewritten/ { rewrite ^/rewritten/(.*)$ /client/v4/$1 last; }
    location /broken/ { rewrite ^/broken/(.*)$ /$1 break; aisearch_pass docs; }
"""


@dataclasses.dataclass
class Outcome:
    by: str
    status: int
    path: str = ""  # the path below the account in the only request that the API receives


def nginx_refuses(status: int) -> Outcome:
    return Outcome("nginx", status)


def module_refuses(status: int) -> Outcome:
    return Outcome("module", status)


def answered(path: str, status: int = 200) -> Outcome:
    return Outcome("API", status, path)


A = "/ai-search/instances/docs/jobs/a"
LIST = "/ai-search/instances/docs/jobs?per_page=20"
SECOND = "/ai-search/instances/docs/jobs?page=2&per_page=20"
LOGS = "/ai-search/instances/docs/jobs/a/logs?per_page=20"

# The prefix form, behind /client/v4/.
PREFIX = {
    # equivalent to harmless paths
    "instances/docs/jobs/a": answered(A),
    "instances/docs/jobs": answered(LIST),
    "instances/docs/jobs/a/logs": answered(LOGS),
    "instances/docs/jobs/logs": answered("/ai-search/instances/docs/jobs/logs", 404),

    # dot segments
    "x/../instances/docs/jobs/a": answered(A),
    "instances/docs/jobs/./a": answered(A),
    "instances/docs/jobs/b/../a": answered(A),
    "../v4/instances/docs/jobs/a": answered(A),
    "instances/docs/jobs/%2e%2e/jobs/a": answered(A),
    "instances/docs/jobs/%2E%2E%2fjobs%2Fa": answered(A),
    "instances/docs/jobs/.%2e/jobs/a": answered(A),
    "instances/docs/jobs/a/..": module_refuses(400),
    "instances/docs/jobs/..": module_refuses(400),
    "instances/docs/jobs/...": module_refuses(400),
    "instances/docs/jobs/a.": module_refuses(400),
    "instances/docs/jobs/%252e%252e/a": module_refuses(400),
    "instances/docs/../secret/jobs/a": module_refuses(403),
    "../../etc/passwd": nginx_refuses(404),
    "../../../etc/passwd": nginx_refuses(400),
    "%2e%2e/%2e%2e/%2e%2e/user/tokens/verify": nginx_refuses(400),

    # slashes
    "instances%2fdocs%2fjobs%2fa": answered(A),
    "/instances//docs///jobs/a": answered(A),
    "instances/docs%2fjobs/a": answered(A),
    "instances/docs%252fjobs/a": module_refuses(400),
    "instances/docs/jobs/a/": module_refuses(400),
    "instances/docs/jobs/": module_refuses(400),
    "instances/docs/jobs/a%2f": module_refuses(400),
    "instances/docs/jobs/a\\..\\..": module_refuses(400),
    "instances/docs/jobs/a%5c..%5cb": module_refuses(400),
    "instances\\docs\\jobs\\a": module_refuses(400),
    "instances/docs/jobs/%c0%af": module_refuses(400),
    "": module_refuses(400),

    # repeated parts
    "instances/docs/jobs/a/jobs/b": module_refuses(400),
    "instances/docs/jobs/a/logs/b": module_refuses(400),
    "instances/docs/jobs/a/logs/logs": module_refuses(400),
    "instances/docs/instances/docs/jobs/a": module_refuses(400),
    "ai-search/ai-search/instances/docs/jobs/a": module_refuses(400),
    "ai-search/rags/docs/jobs/a": module_refuses(400),
    f"accounts/{ACCOUNT}/accounts/{ACCOUNT}/instances/docs/jobs/a": module_refuses(400),

    # bytes that are not allowed
    "instances/docs/jobs/a%00": nginx_refuses(400),
    "instances/docs/jobs/%00a": nginx_refuses(400),
    b"instances/docs/jobs/a\0": nginx_refuses(400),
    "instances/docs/jobs/a%zz": nginx_refuses(400),
    "instances/docs/jobs/a%2": nginx_refuses(400),
    "instances/docs/jobs/a b": nginx_refuses(400),
    b"instances/docs/jobs/a\x01": nginx_refuses(400),
    b"instances/docs/jobs/a\x7f": nginx_refuses(400),
    "instances/docs/jobs/a%20b": module_refuses(400),
    "instances/docs/jobs/a+b": module_refuses(400),
    "instances/docs/jobs/a%0d%0aX-Evil:%201": module_refuses(400),
    "instances/docs/jobs/a%0d%0a%0d%0aGET%20/%20HTTP/1.1": module_refuses(400),
    "instances/docs/jobs/a%0a": module_refuses(400),
    "instances/docs/jobs/ä": module_refuses(400),
    b"instances/docs/jobs/\xff\xfe": module_refuses(400),
    "instances/docs/jobs/%c0%ae%c0%ae/b": module_refuses(400),
    "instances/docs/jobs/%e2%80%ae": module_refuses(400),
    "instances/docs/jobs/ａ": module_refuses(400),
    "instances/docs/jobs/a;b=c": module_refuses(400),
    "instances/docs;x/jobs/a": module_refuses(400),
    "instances/docs/jobs/a:b": module_refuses(400),
    "instances/docs/jobs/a@evil.example": module_refuses(400),
    "instances/docs/jobs/a%26page=2": module_refuses(400),
    "instances/docs/jobs/*": module_refuses(400),
    "instances/docs/jobs/{a,b}": module_refuses(400),
    "instances/docs/jobs/$uri": module_refuses(400),
    "instances/docs/jobs/a%25": module_refuses(400),

    # invalid ids
    "instances/Docs/jobs/a": module_refuses(400),
    "INSTANCES/docs/jobs/a": module_refuses(400),
    "instances/docs/Jobs/a": module_refuses(400),
    "instances/-docs/jobs/a": module_refuses(400),
    "instances/docs-/jobs/a": module_refuses(400),
    "instances/do--cs/jobs/a": module_refuses(400),
    "instances/do.cs/jobs/a": module_refuses(400),
    "instances/" + "i" * 65 + "/jobs/a": module_refuses(400),
    "rags/" + "r" * 33 + "/jobs/a": module_refuses(400),
    "namespaces/" + "n" * 33 + "/instances/docs/jobs/a": module_refuses(400),
    "instances/docs/jobs/" + "j" * 65: module_refuses(400),
    "instances/docs/jobs/" + "j" * 64: answered("/ai-search/instances/docs/jobs/" + "j" * 64, 404),
    "instances/docs/jobs/" + "j" * 7000: module_refuses(400),
    "instances/docs/jobs/" + "j" * 40000: nginx_refuses(414),

    # other accounts and APIs
    f"accounts/{ACCOUNT}/ai-search/instances/docs/jobs/a": answered(A),
    f"accounts/{OTHER_ACCOUNT}/ai-search/instances/docs/jobs/a": module_refuses(403),
    f"accounts/{OTHER_ACCOUNT}/../{ACCOUNT}/ai-search/instances/docs/jobs/a": answered(A),
    f"accounts/{ACCOUNT}/../{OTHER_ACCOUNT}/ai-search/instances/docs/jobs/a": module_refuses(403),
    f"accounts/{ACCOUNT[:-1]}/ai-search/instances/docs/jobs/a": module_refuses(403),
    f"accounts/{ACCOUNT}0/ai-search/instances/docs/jobs/a": module_refuses(400),
    f"accounts/{ACCOUNT.upper()}/ai-search/instances/docs/jobs/a": module_refuses(400),
    f"accounts/{ACCOUNT}/ai-search/instances/docs": answered("/ai-search/instances/docs"),
    f"accounts/{ACCOUNT}/r2/buckets": module_refuses(400),
    "user/tokens/verify": module_refuses(400),
    "accounts": module_refuses(400),
    "instances/secret/jobs/a": module_refuses(403),
    "instances/doc/jobs/a": module_refuses(403),
    "instances/docs2/jobs/a": module_refuses(403),
    "instances/team/notes/jobs/a": module_refuses(400),
    "instances/team%2fnotes/jobs/a": module_refuses(400),
    "instances/notes/jobs/a": module_refuses(403),
    "namespaces/team/instances/docs/jobs/a": module_refuses(403),
    "namespaces/team/instances/notes/jobs/a": answered("/ai-search/namespaces/team/instances/notes/jobs/a"),
    "namespaces/default/instances/docs/jobs/a": answered("/ai-search/namespaces/default/instances/docs/jobs/a"),
    "namespaces/default/instances/secret/jobs/a": module_refuses(403),
    "namespaces//instances/docs/jobs/a": module_refuses(400),
    "rags/docs/jobs/a": answered("/autorag/rags/docs/jobs/a"),
    "rags/secret/jobs/a": module_refuses(403),
    "instances": module_refuses(403),
    "instances?per_page=100": module_refuses(403),
    "instances?namespace=team": module_refuses(403),
    "ai-search/instances": module_refuses(403),
    "namespaces/team/instances": module_refuses(403),
    "instances/": module_refuses(400),
    "instances/?page=1": module_refuses(400),
    "instances%3Fpage=1": module_refuses(400),
    "instances/..": module_refuses(400),
    "namespaces": module_refuses(403),
    "namespaces/team": module_refuses(403),
    "namespaces/": module_refuses(400),
    "namespaces/team/": module_refuses(400),
    "namespaces/team_blue/instances/docs/jobs": module_refuses(400),
    "namespaces/-team": module_refuses(400),
    "instances/secret": module_refuses(403),
    "instances/secret/stats": module_refuses(403),
    "instances/docs/stats": answered("/ai-search/instances/docs/stats"),
    "instances/docs/stats?page=2": answered("/ai-search/instances/docs/stats"),
    "instances/docs/stats/": module_refuses(400),
    "instances/docs/statsx": module_refuses(400),

    # queries and fragments
    "instances/docs/jobs/a?page=2": answered(A),
    "instances/docs/jobs/a?x=y&account=evil": answered(A),
    "instances/docs/jobs/a?/../../secret": answered(A),
    "instances/docs/jobs?page=2&per_page=5": answered(SECOND.replace("20", "5")),
    "instances/docs/jobs?per_page=5&page=2": answered(SECOND.replace("20", "5")),
    "instances/docs/jobs?x=1&page=2&y=/../&z": answered(SECOND),
    "instances/docs/jobs?page=02": answered(SECOND),
    "instances/docs/jobs?Page=2&page[]=3&xpage=4": answered(LIST),
    "instances/docs/jobs?%70age=2": answered(LIST),
    "instances/docs/jobs?per_page=0": answered(LIST.replace("20", "0")),
    "instances/docs/jobs?": answered(LIST),
    "instances/docs/jobs/a/logs?page=2": answered(LOGS.replace("?", "?page=2&")),
    "instances/docs/jobs%3Fpage=2": module_refuses(400),
    "instances/docs/jobs%3fpage=2": module_refuses(400),
    "instances/docs/jobs/a%3Fx": module_refuses(400),
    "instances/docs/jobs/a#b": answered(A),
    "instances/docs/jobs?page=2#page=3": answered(SECOND),
    "instances/docs/jobs/a%23b": module_refuses(400),
    "instances/docs/jobs?page=0": module_refuses(400),
    "instances/docs/jobs?page=-1": module_refuses(400),
    "instances/docs/jobs?page=abc": module_refuses(400),
    "instances/docs/jobs?page=1&page=2": module_refuses(400),
    "instances/docs/jobs?page=%31": module_refuses(400),
    "instances/docs/jobs?page=+1": module_refuses(400),
    "instances/docs/jobs?page=1.0": module_refuses(400),
    "instances/docs/jobs?page=0x1": module_refuses(400),
    "instances/docs/jobs?page=1;per_page=2": module_refuses(400),
    "instances/docs/jobs?page=1%26evil=1": module_refuses(400),
    "instances/docs/jobs?page=1%0d%0aX-Evil:%201": module_refuses(400),
    "instances/docs/jobs?page=1/../../secret": module_refuses(400),
    "instances/docs/jobs?page": module_refuses(400),
    "instances/docs/jobs?page=": module_refuses(400),
    "instances/docs/jobs?page=1000000000": module_refuses(400),
    "instances/docs/jobs?page=4294967297": module_refuses(400),
    "instances/docs/jobs?page=18446744073709551617": module_refuses(400),
    "instances/docs/jobs?per_page=51": module_refuses(400),
    "instances/docs/jobs?per_page=-1": module_refuses(400),
    "instances/docs/jobs?per_page=5&per_page=5": module_refuses(400),
    "instances/docs/jobs?page=1?page=2": module_refuses(400),
}

# Whole targets: other locations, other forms.
TARGETS = {
    # the end of the location's prefix
    "/client/v4": nginx_refuses(404),
    "/CLIENT/v4/instances/docs/jobs/a": nginx_refuses(404),
    "/client%2fv4%2finstances/docs/jobs/a": answered(A),
    "/client/v4%2finstances/docs/jobs/a": answered(A),
    "/bare": module_refuses(400),
    "/bare/": module_refuses(400),
    "/bare/instances/docs/jobs/a": answered(A),
    "/bare//instances/docs/jobs/a": answered(A),

    # forms of a request target
    "http://localhost/client/v4/instances/docs/jobs/a": answered(A),
    "http://evil.example/client/v4/instances/docs/jobs/a": answered(A),
    "https://api.cloudflare.com:8443/client/v4/x/../instances/docs/jobs/a": answered(A),
    "http://user@evil.example/client/v4/instances/docs/jobs/a": nginx_refuses(400),
    "http://localhost": nginx_refuses(404),
    "client/v4/instances/docs/jobs/a": nginx_refuses(400),
    "*": nginx_refuses(400),
    "?page=2": nginx_refuses(400),

    # without a list of instances
    "/open/instances?namespace=team&x=y": answered("/ai-search/instances?per_page=20&namespace=team"),
    "/open/instances?namespace=team&order_by=x": module_refuses(400),
    "/open/instances?namespace=": module_refuses(400),
    "/open/instances?namespace=team&namespace=team": module_refuses(400),
    "/open/instances?namespace=..%2Fteam": module_refuses(400),
    "/open/instances?search=": module_refuses(400),
    "/open/instances?search=do%63s": answered("/ai-search/instances?per_page=20&search=docs"),
    "/open/instances?search=a+b%26c": answered("/ai-search/instances?per_page=20&search=a%20b%26c"),
    "/open/instances?search=%c3%b6%23": answered("/ai-search/instances?per_page=20&search=%C3%B6%23"),
    "/open/instances?search=%ff": module_refuses(400),
    "/open/instances?search=%0d%0aX-Evil:1": module_refuses(400),
    "/open/instances?search=%00": module_refuses(400),
    "/open/instances?search=%c2%85": module_refuses(400),
    "/open/instances?search=%4": module_refuses(400),
    "/open/instances?search=" + 65 * "x": module_refuses(400),
    "/open/instances?search=" + 64 * "%2F": answered("/ai-search/instances?per_page=20&search=" + 64 * "%2F"),
    "/open/instances?search=a&search=b": module_refuses(400),
    "/open/instances?order_by_direction=desc&order_by=created_at":
        answered("/ai-search/instances?per_page=20&order_by=created_at&order_by_direction=desc"),
    "/open/instances?order_by_direction=up": module_refuses(400),
    "/open/instances?order_by=created_at&order_by=created_at": module_refuses(400),
    "/open/instances?hostname=example.org": answered("/ai-search/instances?per_page=20&hostname=example.org"),
    "/open/instances?per_page=0": module_refuses(400),
    "/open/namespaces/team/instances?namespace=other": answered("/ai-search/namespaces/team/instances?per_page=20"),
    "/open/namespaces?search=team&order_by=x": answered("/ai-search/namespaces?per_page=20&search=team"),
    "/open/namespaces/team?page=2": answered("/ai-search/namespaces/team"),
    "/open/instances/docs/jobs/a/logs?per_page=500":
        answered("/ai-search/instances/docs/jobs/a/logs?per_page=500"),
    "/open/instances/docs/jobs/a/logs?per_page=501": module_refuses(400),
    "/open/instances?per_page=100&page=2": answered("/ai-search/instances?page=2&per_page=100"),
    "/open/instances?per_page=101": module_refuses(400),
    "/open/namespaces/team/instances?page=01": answered("/ai-search/namespaces/team/instances?per_page=20"),
    "/open/namespaces/Team/instances": module_refuses(400),
    f"/open/accounts/{OTHER_ACCOUNT}/ai-search/instances": module_refuses(403),
    "/open/autorag/rags": module_refuses(400),
    "/open/instances/secret/jobs/a": answered("/ai-search/instances/secret/jobs/a"),
    "/open/instances/" + "i" * 64 + "/jobs/a": answered("/ai-search/instances/" + "i" * 64 + "/jobs/a", 404),
    "/open/instances/" + "i" * 65 + "/jobs/a": module_refuses(400),
    "/open/rags/" + "r" * 32 + "/jobs": answered("/autorag/rags/" + "r" * 32 + "/jobs?per_page=20", 404),
    "/open/rags/" + "r" * 33 + "/jobs": module_refuses(400),
    "/open/namespaces/" + "n" * 28 + "/instances/docs/jobs":
        answered("/ai-search/namespaces/" + "n" * 28 + "/instances/docs/jobs?per_page=20", 404),
    "/open/namespaces/" + "n" * 29 + "/instances/docs/jobs": module_refuses(400),
    f"/open/accounts/{OTHER_ACCOUNT}/ai-search/instances/docs/jobs/a": module_refuses(403),

    # a resource from a regular expression's capture of the URI, which nginx has decoded
    "/jobs/docs/a": answered(A),
    "/jobs/docs/a?page=2": answered(A),
    "/jobs/docs/%61": answered(A),
    "/jobs/docs/logs": answered("/ai-search/instances/docs/jobs/logs", 404),
    "/jobs/Docs/a": module_refuses(400),
    "/jobs/secret/a": module_refuses(403),
    "/jobs/docs/a%3Fpage=2": module_refuses(400),
    "/jobs/docs/a%23": module_refuses(400),
    "/jobs/docs/a%25": module_refuses(400),
    "/jobs/docs/a%0a": module_refuses(400),
    "/jobs/docs/a%0d%0aX-Evil:1": module_refuses(400),
    "/jobs/docs/ä": module_refuses(400),
    "/jobs/docs/a%2flogs": nginx_refuses(404),
    "/jobs/docs%2fjobs%2fa/logs": nginx_refuses(404),
    "/jobs/docs/..": nginx_refuses(404),
    "/jobs/docs/%2e%2e": nginx_refuses(404),
    "/jobs/docs/%00": nginx_refuses(400),
    "/jobs/x/../docs/a": answered(A),
    "/jobs/docs/" + "j" * 65: module_refuses(400),

    # a capture of the whole URI
    "/any/instances/docs/jobs/a": answered(A),
    "/any/instances/docs/jobs?page=2": answered(SECOND),
    "/any/instances/docs/jobs%3Fpage=2": module_refuses(400),
    "/any/instances/docs/jobs/a%0a": answered(A),  # "$" matches before the final line feed
    "/any/instances/docs/jobs/a%0aX": nginx_refuses(404),
    f"/any/accounts/{OTHER_ACCOUNT}/instances/docs/jobs/a": module_refuses(403),
    f"/any/accounts/{ACCOUNT}/ai-search/instances/docs/jobs/a": answered(A),
    "/any/https://evil.example/instances/docs/jobs/a": module_refuses(400),
    "/bytes/a": answered(A),
    "/bytes/a/logs": module_refuses(400),
    "/bytes/": module_refuses(400),
    "/bytes/a%0a": module_refuses(400),
    "/bytes/a%3f": module_refuses(400),
    "/bytes/%2e%2e/jobs/a": nginx_refuses(404),
    b"/bytes/\x80": module_refuses(400),

    # a resource from an argument, which nginx does not decode
    "/args?inst=docs&job=a": answered(A),
    "/args?inst=docs&job=a&page=2": answered(A),
    "/args?inst=docs&job=a&job=b": answered(A),
    "/args?inst=docs&job=a/logs": module_refuses(400),
    "/args?inst=docs&job=a/logs&page=3": module_refuses(400),
    "/args?inst=docs&job=a%2flogs": module_refuses(400),
    "/args?inst=docs&job=%61": module_refuses(400),
    "/args?inst=docs&job=a?page=2": module_refuses(400),
    "/args?inst=docs&job=a%26page=2": module_refuses(400),
    "/args?inst=docs&job=..": module_refuses(400),
    "/args?inst=docs&job=../../../secret": module_refuses(400),
    "/args?inst=docs/jobs/a/../x&job=a": module_refuses(400),
    "/args?inst=docs/jobs/a&job=a": module_refuses(400),
    "/args?inst=docs&job=a%0d%0aX": module_refuses(400),
    "/args?inst=docs&job=a%00": module_refuses(400),
    "/args?inst=docs&job=": module_refuses(400),
    "/args?inst=docs": module_refuses(400),
    "/args": module_refuses(400),
    "/args?inst=Docs&job=a": module_refuses(400),
    "/args?inst=secret&job=a": module_refuses(403),
    "/args?inst=docs&job=ä": module_refuses(400),
    "/args?inst=docs&job=a#b": answered(A),
    "/list?page=2": answered(SECOND),
    "/list?page=0": module_refuses(400),

    # $request_uri, which always begins with a slash
    "/uri/../client/v4/instances/docs/jobs/a": answered(A),
    "/uri/instances/docs/jobs/a": module_refuses(400),

    # rewritten URIs
    "/rewritten/instances/docs/jobs/a": answered(A),
    "/rewritten/instances/docs/jobs?page=2": answered(SECOND),
    "/rewritten/instances/docs/jobs%3Fpage=2": module_refuses(400),
    "/rewritten/instances/docs/jobs/a%0a": answered(A),  # as above: because of the regular expression
    "/rewritten/..%2fclient/v4/instances/docs/jobs/a": answered(A),
    "/rewritten/%252e%252e/instances/docs/jobs/a": module_refuses(400),
    "/rewritten/instances/secret/jobs/a": module_refuses(403),
    "/broken/instances/docs/jobs/a": answered(A),
    "/broken/instances/docs/jobs%3Fpage=2": module_refuses(400),
    "/broken/instances/secret/jobs/a": module_refuses(403),
}

# A resource from a header.
HEADERS = {
    "instances/docs/jobs/a": answered(A),
    "instances/docs/jobs": answered(LIST),
    "/instances/docs/jobs/a": module_refuses(400),
    "//evil.example/instances/docs/jobs/a": module_refuses(400),
    "https://evil.example/instances/docs/jobs/a": module_refuses(400),
    "instances/docs/jobs?page=2": module_refuses(400),
    "instances/docs/jobs/a HTTP/1.1": module_refuses(400),
    "instances/docs/jobs/a\tb": module_refuses(400),
    "instances/docs/jobs/../../secret/jobs/a": module_refuses(400),
    "instances/secret/jobs/a": module_refuses(403),
    f"accounts/{OTHER_ACCOUNT}/instances/docs/jobs/a": module_refuses(403),
    "instances/docs/jobs/\xe4": module_refuses(400),
    "": module_refuses(400),
}

# With "merge_slashes off".
SLASHES = {
    "/client/v4/instances/docs/jobs/a": answered(A),
    "/client/v4//instances/docs/jobs/a": module_refuses(400),
    "/client/v4/instances//docs/jobs/a": module_refuses(400),
    "/client/v4/instances/docs/jobs//a": module_refuses(400),
    "/client/v4/instances/docs/jobs/a//": module_refuses(400),
    "/client/v4/instances/docs//../jobs/a": answered(A),
    "/client/v4/%2finstances/docs/jobs/a": module_refuses(400),
    "//client/v4/instances/docs/jobs/a": nginx_refuses(404),
    "/bare//instances/docs/jobs/a": module_refuses(400),
}


@pytest.fixture(scope="module")
def api():
    """
    A simulator that has every resource that these requests try to reach, with a token that is valid for two accounts.
    """
    with temp_dir() as tmp, Simulator(tmp) as simulator:
        for account in (ACCOUNT, OTHER_ACCOUNT):
            simulator.account(account)
            for instance in ("instances/docs", "instances/secret", "instances/notes", "instances/docs2", "rags/docs",
                             "rags/secret", "namespaces/team/instances/notes", "namespaces/team/instances/docs"):
                simulator.instance(instance, [{"id": job} for job in ("a", "b")], account)
        yield simulator
        wrong = [request.target for request in simulator.requests() if not UPSTREAM.fullmatch(request.target)]
        assert not wrong
        assert simulator.counters()["malformed"] == 0


@pytest.fixture(scope="module")
def server(api):
    values = {"account": ACCOUNT, "token_file": api.token_file, "url": api.url}
    with temp_dir() as tmp, Nginx(tmp, Config(http=HTTP % values, server=SERVER)) as nginx:
        yield nginx


def check(api: Simulator, outcome: Outcome, get) -> None:
    """Returns whether get() has this outcome, and the API has received the expected request."""
    before = api.counters()["total"]
    response = get()
    seen = api.requests()[before:]

    assert response.status == outcome.status
    if outcome.by == "API":
        assert [request.target for request in seen] == [f"{api.base}/accounts/{ACCOUNT}{outcome.path}"]
        assert UPSTREAM.fullmatch(seen[0].target)
        assert response.body == ask_directly(api, seen[0].target).body
        return

    assert seen == []
    if outcome.by == "module":
        assert response.header("Content-Type") == "application/json"
        envelope = response.json()
        message = envelope["errors"][0].pop("message")
        assert envelope == {"success": False, "errors": [{"code": outcome.status}], "messages": [], "result": None}
        assert re.fullmatch("[a-zA-Z0-9 ,_()/:-]+", message), "the message repeats what the client sent"
    else:
        assert b"<html>" in response.body


def ask_directly(api: Simulator, target: str) -> net.Response:
    response = net.request(api.address, target, api.credential_headers)
    assert response.status in (200, 404)
    return response


def name(value: object) -> str | None:
    if isinstance(value, Outcome):
        return f"{value.by}-{value.status}"
    text = value if isinstance(value, str) else value.decode("latin-1")
    return ascii(text if len(text) < 100 else f"{text[:30]}...({len(text)})")[1:-1]


@pytest.mark.parametrize("rest, outcome", PREFIX.items(), ids=name)
def test_below_a_prefix(server, api, rest, outcome):
    target = b"/client/v4/" + (rest.encode() if isinstance(rest, str) else rest)
    check(api, outcome, lambda: server.get(target))


@pytest.mark.parametrize("target, outcome", TARGETS.items(), ids=name)
def test_in_other_locations(server, api, target, outcome):
    check(api, outcome, lambda: server.get(target))


@pytest.mark.parametrize("resource, outcome", HEADERS.items(), ids=name)
def test_in_a_header(server, api, resource, outcome):
    check(api, outcome, lambda: server.get("/header", [("X-Resource", resource)]))


@pytest.mark.parametrize("target, outcome", SLASHES.items(), ids=name)
def test_without_merged_slashes(server, api, target, outcome):
    check(api, outcome, lambda: net.request(("127.0.0.1", server.ports["SLASHES"]), target))


def test_a_header_line_cannot_be_injected(server, api):
    """
    A resource split over two header lines with one name: nginx takes the first, or joins both, which the module
    rejects.
    """
    before = api.counters()["total"]
    response = server.get("/header", [("X-Resource", "instances/docs/jobs/a"), ("X-Resource", "/logs")])
    assert response.status in (200, 400)
    assert {request.target for request in api.requests()[before:]} <= {f"{api.base}/accounts/{ACCOUNT}{A}"}
