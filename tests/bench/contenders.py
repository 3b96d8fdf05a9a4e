"""nginx as each of the contenders, which all serve the same bytes at the same URIs."""

import dataclasses
import pathlib
from collections.abc import Callable

from harness import net
from harness.nginx import DEBIAN_MODULES, Config

from .report import AISEARCH, LUA, PROXY, RETURN
from .tools import Upstream

ACCOUNT = "c3dc5f0b34a14ff8e1b3ec04895e1b22"

# "{}" is replaced by 12 digits. Both targets are the same job; the second is the official SDKs' form.
TARGET = "/client/v4/instances/my-ai-search/jobs/3f1e2d4c-0000-4000-8000-{}"
SDK_TARGET = f"/client/v4/accounts/{ACCOUNT}/ai-search/instances/my-ai-search/jobs/3f1e2d4c-0000-4000-8000-{{}}"
ACTIVE_TARGET = "/client/v4/instances/active/jobs/3f1e2d4c-0000-4000-8000-{}"

HEADERS = {"ETag": '"0123456789abcdef"', "Age": "0", "Cache-Control": "private, max-age=86400",
           "X-Aisearch-State": "succeeded", "X-Aisearch-Cache": "HIT"}

_COMMON = """
    access_log off;
    keepalive_requests 1000000000;
    location = /pid { return 200 $pid; }
    location = /status { stub_status; }
"""


def job_target(number: int, target: str = TARGET) -> str:
    return target.replace("{}", f"{number:012d}")


@dataclasses.dataclass
class Setting:
    """What the contenders have in common in a row. size is that of the zone, if there is one."""

    tmp: pathlib.Path
    upstream: Upstream
    size: str = "16m"
    budget: str = "1000000 1s"
    valid: str = "24h"  # the lifetime of all responses without a more specific one
    account: str = ""  # additional directives for the aisearch_account block
    http: str = ""  # additional directives for aisearch
    api_url: str = ""  # for aisearch, if it is not the upstream's


def aisearch(setting: Setting) -> Config:
    token = setting.tmp / "token"
    token.write_text("bench\n", encoding="ascii")
    token.chmod(0o600)
    return Config(
        http=f"""
            aisearch_shared_zone zone=aisearch:{setting.size};
            aisearch_account docs {{
                account_id {ACCOUNT};
                token_file {token};
                api_url {setting.api_url or f"http://{setting.upstream.address}/client/v4"};
                budget {setting.budget};
                {setting.account}
            }}
            {setting.http}
        """,
        server=_COMMON + "location /client/v4/ { aisearch_pass docs; }"
                         "location = /aisearch_status { aisearch_status; }",
    )


def return_200(setting: Setting) -> Config:
    body = net.request(("127.0.0.1", setting.upstream.port), job_target(0)).body.decode()
    headers = "".join(f"add_header {name} '{value}';" for name, value in HEADERS.items())
    return Config(aisearch=False, server=_COMMON + f"""
        location /client/v4/ {{ default_type application/json; {headers} return 200 '{body}'; }}
    """)


_PROXY = """
    proxy_http_version 1.1;
    proxy_set_header Connection "";
    proxy_set_header Authorization "Bearer bench";
"""


def _api(setting: Setting) -> str:
    return f"upstream api {{ server {setting.upstream.address} max_fails=0; keepalive 64; }}"


def proxy_cache(setting: Setting) -> Config:
    return Config(
        aisearch=False,
        http=_api(setting) + "proxy_cache_path @PREFIX@/cache levels=1:2 keys_zone=jobs:64m max_size=8g inactive=1d "
                             "use_temp_path=off;",
        server=_COMMON + _PROXY + f"""
            location /client/v4/ {{
                proxy_pass http://api;
                proxy_cache jobs;
                proxy_cache_valid 200 {setting.valid};
                proxy_cache_lock on;
                proxy_cache_use_stale updating error timeout http_500 http_502 http_503 http_504;
                proxy_cache_background_update on;
                proxy_ignore_headers Cache-Control Expires;
            }}
        """)


def proxy_only(setting: Setting) -> Config:
    """proxy_pass with keepalive and without a cache."""
    return Config(aisearch=False, http=_api(setting),
                  server=_COMMON + _PROXY + "location /client/v4/ { proxy_pass http://api; }")


_LUA_HEADERS = "\n".join(f"header['{name}'] = '{value}'" for name, value in HEADERS.items())


def lua(setting: Setting) -> Config:
    return Config(
        aisearch=False,
        modules=("ndk_http_module.so", "ngx_http_lua_module.so"),
        http=_api(setting) + f"lua_shared_dict jobs {setting.size};",
        server=_COMMON + _PROXY + f"""
            location /api/ {{ internal; proxy_pass http://api/; }}
            location /client/v4/ {{
                content_by_lua_block {{
                    local jobs = ngx.shared.jobs
                    local key = ngx.var.uri
                    local body = jobs:get(key)
                    if not body then
                        local answer = ngx.location.capture("/api" .. key)
                        if answer.status ~= 200 then
                            return ngx.exit(502)
                        end
                        body = answer.body
                        jobs:set(key, body, 86400)
                    end
                    local header = ngx.header
                    header["Content-Type"] = "application/json"
                    header["Content-Length"] = #body
                    {_LUA_HEADERS}
                    ngx.print(body)
                }}
            }}
        """)


ALL: dict[str, Callable[[Setting], Config]] = {AISEARCH: aisearch, RETURN: return_200, PROXY: proxy_cache, LUA: lua}


def available() -> dict[str, Callable[[Setting], Config]]:
    """Without lua if its module is not installed."""
    have_lua = (DEBIAN_MODULES / "ngx_http_lua_module.so").exists()
    return {name: make for name, make in ALL.items() if name != LUA or have_lua}


def spread(config: Config, workers: int) -> Config:
    """Sets the number of workers, and adds a port, SPREAD, on which the kernel distributes connections among them."""
    config.workers = workers
    config.level = "warn"
    config.server += "listen 127.0.0.1:@PORT_SPREAD@ reuseport backlog=4096;"
    return config
