"""Starts the simulator from the command line."""

import argparse
import asyncio
import contextlib
import json
import os
import signal
import sys

from aiohttp import web

from .api import BASE, Api
from .clock import Clock
from .control import Control
from .faults import Faults
from .lean import LeanServer
from .record import Record
from .scenarios import SCENARIOS
from .server import ApiServer
from .world import World

SOCKET_MODE = 0o666  # anyone with access to the directory may connect: nginx's workers run as another user


def parse_arguments() -> argparse.Namespace:
    parser = argparse.ArgumentParser(prog="simulator", description="Simulates the read side of the AI Search jobs API.")
    parser.add_argument("--scenario", choices=SCENARIOS, default="empty", help="the initial contents")
    parser.add_argument("--token-file", metavar="FILE", help="API token of the scenario's account")
    parser.add_argument("--email", metavar="ADDRESS", help="the email address of that account, with --key-file")
    parser.add_argument("--key-file", metavar="FILE", help="the API key for that address")
    parser.add_argument("--host", default="127.0.0.1", help="address of both listeners (%(default)s)")
    parser.add_argument("--port", type=int, default=0, help="port of the API; 0 (the default): any free port")
    parser.add_argument("--no-tcp", action="store_true", help="listen on Unix sockets only")
    parser.add_argument("--unix", metavar="PATH", help="listen for the API on this Unix socket too")
    parser.add_argument("--lean-unix", metavar="PATH", help="the same, faster but without faults")
    parser.add_argument("--control-unix", metavar="PATH", help="listen for control on this Unix socket too")
    parser.add_argument("--base", default=BASE, help="path prefix of every resource (%(default)s)")
    parser.add_argument("--limit", type=int, default=1200, help="calls in five minutes; 0: no limit (%(default)s)")
    parser.add_argument("--keepalive-timeout", type=float, default=75, help="in seconds (%(default)s)")
    parser.add_argument("--record", type=int, default=50000, help="number of requests to record (%(default)s)")
    parser.add_argument("--leash", action="store_true", help="exit when standard input ends")
    arguments = parser.parse_args()
    if arguments.no_tcp and not (arguments.unix and arguments.control_unix):
        parser.error("--no-tcp needs --unix and --control-unix")
    if bool(arguments.email) != bool(arguments.key_file):
        parser.error("--email and --key-file belong together")
    return arguments


def read_secret(path: str) -> str:
    with open(path, encoding="ascii") as file:
        return file.read().rstrip("\n")


def initial_world(arguments: argparse.Namespace) -> dict:
    tokens = [read_secret(arguments.token_file)] if arguments.token_file else []
    keys = [[arguments.email, read_secret(arguments.key_file)]] if arguments.key_file else []
    return SCENARIOS[arguments.scenario](tokens, keys)


async def listen(protocol_factory, host: str | None, port: int, path: str | None) -> tuple[list, dict]:
    """Returns the listeners and their address."""
    loop = asyncio.get_running_loop()
    listeners, address = [], {}
    if host is not None:
        listener = await loop.create_server(protocol_factory, host, port, backlog=4096, reuse_address=True)
        listeners.append(listener)
        address["host"], address["port"] = listener.sockets[0].getsockname()[:2]
    if path is not None:
        listeners.append(await loop.create_unix_server(protocol_factory, path, backlog=4096))
        os.chmod(path, SOCKET_MODE)
        address["unix"] = os.path.abspath(path)
    return listeners, address


def watch_leash(leave: asyncio.Event) -> None:
    def ended() -> None:
        if not os.read(0, 4096):
            asyncio.get_running_loop().remove_reader(0)
            leave.set()

    asyncio.get_running_loop().add_reader(0, ended)


async def run(arguments: argparse.Namespace) -> None:
    world = World(Clock())
    world.apply(initial_world(arguments))
    api = Api(world, arguments.base)
    api.limits.set(arguments.limit or None)
    faults, record = Faults(), Record(arguments.record)
    server = ApiServer(api, faults, record, arguments.keepalive_timeout)
    lean = LeanServer(api, record)
    control = web.AppRunner(Control(world, api, faults, record, server, lean).application(), access_log=None)
    await control.setup()

    host = None if arguments.no_tcp else arguments.host
    leave = asyncio.Event()
    for signum in (signal.SIGTERM, signal.SIGINT):
        asyncio.get_running_loop().add_signal_handler(signum, leave.set)
    if arguments.leash:
        watch_leash(leave)

    api_listeners, api_address = await listen(server, host, arguments.port, arguments.unix)
    lean_listeners, lean_address = await listen(lean, None, 0, arguments.lean_unix)
    control_listeners, control_address = await listen(control.server, host, 0, arguments.control_unix)
    print(json.dumps({"pid": os.getpid(), "base": arguments.base, "api": api_address, "lean": lean_address,
                      "control": control_address}), flush=True)
    await leave.wait()

    for listener in api_listeners + lean_listeners + control_listeners:
        listener.close()
    server.drop_connections(reset=False)
    lean.drop_connections()
    await server.shutdown(timeout=0.2)
    await control.cleanup()
    for path in (arguments.unix, arguments.lean_unix, arguments.control_unix):
        if path is not None:
            with contextlib.suppress(FileNotFoundError):  # Python 3.13 removes it by itself
                os.unlink(path)


if __name__ == "__main__":
    try:
        asyncio.run(run(parse_arguments()))
    except OSError as error:
        sys.exit(f"simulator: {error}")
