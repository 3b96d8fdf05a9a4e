"""
Clients that wait for jobs to end: the number of API requests this takes, and the delay until clients know. Compares the
fixed lifetime of a proxy cache with lifetimes by state, in front of the same API, at the same time, with the same jobs.
"""

import asyncio
import contextlib
import json
import pathlib
import random
import time

from harness import net
from harness.nginx import Config, Nginx
from harness.simulator import Simulator

from .report import AISEARCH, PROXY, Line
from .contenders import ACCOUNT

JOBS, CLIENTS = 50, 200
LIFETIME = "5s"
LATENCY = 0.05  # s, of the API


def polling(bench) -> list[Line]:
    """All jobs start at the beginning and end at random times, like jobs that were just started."""
    seconds = bench.scale(60, 12)
    with Simulator(bench.tmp) as simulator, contextlib.ExitStack() as stack:
        ends = _start_jobs(simulator, seconds)
        simulator.fault("/jobs/", delay=LATENCY)
        servers = {name: stack.enter_context(Nginx(bench.tmp, config))
                   for name, config in ((AISEARCH, _aisearch(simulator)), (PROXY, _proxy_cache(bench.tmp, simulator)))}
        polls = asyncio.run(_poll_all(servers, seconds))
        agents = [request.header("User-Agent") for request in simulator.requests()]
    ours = sum(agent.startswith("aisearch-jobs") for agent in agents)
    calls = {AISEARCH: ours, PROXY: len(agents) - ours}
    stale = {name: _mean(_staleness(poll, ends) for poll in found) for name, found in polls.items()}
    lag = {name: _mean(_lags(found, ends)) for name, found in polls.items()}

    what = f"{CLIENTS} clients poll {JOBS} jobs"
    fewer, fresher = calls[AISEARCH] < calls[PROXY], stale[AISEARCH] < stale[PROXY]
    return [
        Line("polling", f"{what}: upstream requests", "", calls, f"{calls[AISEARCH] / calls[PROXY]:.3f} x {PROXY}",
             f"< {PROXY} {LIFETIME}", bench.judge(fewer)),
        Line("polling", f"{what}: mean staleness", "s", stale, f"{stale[AISEARCH] / stale[PROXY]:.3f} x {PROXY}",
             f"< {PROXY} {LIFETIME}", bench.judge(fresher)),
        Line("polling", f"{what}: an end is seen after", "s", lag),
    ]


def _start_jobs(simulator: Simulator, seconds: float) -> dict[str, float]:
    """Returns when each job ends, by time.time()."""
    draw = random.Random(1)
    after = {f"job-{n}": draw.uniform(0, seconds) for n in range(JOBS)}
    began = simulator.now()
    simulator.instance("instances/docs", [{"id": job, "starts_in": 0, "ends_in": end} for job, end in after.items()])
    return {job: began + end for job, end in after.items()}


def _aisearch(simulator: Simulator) -> Config:
    return Config(http=f"""
        aisearch_account docs {{ account_id {ACCOUNT}; token_file {simulator.token_file}; api_url {simulator.url}; }}
    """, server="location /client/v4/ { aisearch_pass docs; }")


def _proxy_cache(tmp: pathlib.Path, simulator: Simulator) -> Config:
    """With the token in a separate file, as proxy_pass users would do."""
    authorization = tmp / "authorization.conf"
    authorization.write_text(f'proxy_set_header Authorization "Bearer {simulator.token}";\n', encoding="utf-8")
    return Config(
        aisearch=False,
        http=f"""
            upstream api {{ server {simulator.host}:{simulator.port}; keepalive 16; }}
            proxy_cache_path @PREFIX@/cache keys_zone=jobs:8m use_temp_path=off;
        """,
        server=f"""
            location /client/v4/ {{
                proxy_pass http://api{simulator.base}/accounts/{ACCOUNT}/ai-search/;
                proxy_http_version 1.1;
                proxy_set_header Connection "";
                include {authorization};
                proxy_set_header User-Agent "proxy";
                proxy_cache jobs;
                proxy_cache_valid 200 {LIFETIME};
                proxy_cache_lock on;
                proxy_cache_use_stale updating error timeout;
                proxy_cache_background_update on;
            }}
        """)


# (job, time of the response, whether it said that the job has ended)
Poll = tuple[str, float, bool]


async def _poll_all(servers: dict[str, Nginx], seconds: float) -> dict[str, list[Poll]]:
    polls: dict[str, list[Poll]] = {name: [] for name in servers}
    begin = time.monotonic() + 0.5
    await asyncio.gather(*(_poll(server.port, n, begin, seconds, polls[name])
                           for name, server in servers.items() for n in range(CLIENTS)))
    return polls


async def _poll(port: int, n: int, begin: float, seconds: float, polls: list[Poll]) -> None:
    """Once per second, with the clients spread over the second."""
    job = f"job-{n % JOBS}"
    data = net.format_request(f"/client/v4/instances/docs/jobs/{job}")
    reader, writer = await asyncio.open_connection("127.0.0.1", port)
    for tick in range(int(seconds)):
        await asyncio.sleep(max(begin + tick + n / CLIENTS - time.monotonic(), 0))
        writer.write(data)
        answer = await _read_answer(reader)
        polls.append((job, time.time(), answer["result"]["ended_at"] is not None))
    writer.close()


async def _read_answer(reader: asyncio.StreamReader) -> dict:
    data = await reader.readuntil(b"\r\n\r\n")
    while (parsed := net.parse_response(data, "GET", False)) is None:
        data += await reader.read(65536)
    response, _ = parsed
    assert response.status == 200, response
    return json.loads(response.body)


def _staleness(poll: Poll, ends: dict[str, float]) -> float:
    """For how long the response had been out of date."""
    job, when, ended = poll
    return 0 if ended else max(when - ends[job], 0)


def _lags(polls: list[Poll], ends: dict[str, float]) -> list[float]:
    """The delay for each job whose end was seen."""
    first: dict[str, float] = {}
    for job, when, ended in polls:
        if ended:
            first[job] = min(when, first.get(job, when))
    return [when - ends[job] for job, when in first.items()]


def _mean(values) -> float:
    values = list(values)
    return sum(values) / len(values)
