"""
Orders to the simulator, as JSON over HTTP on a separate listener:

    GET    /clock                          {"now": seconds since the epoch, "frozen": bool}
    POST   /clock                          {"freeze": true} {"thaw": true} {"set": seconds} {"advance": seconds}
                                           {"speed": factor}
    POST   /world                          adds and changes accounts, namespaces, instances, jobs: World.apply()
    DELETE /world                          removes everything
    GET    /census?account=ID&since=SECONDS  the number of jobs in each state, by instance: Account.census()
    POST   /limit                          {"calls": count or null, "seconds": length,
                                            "headers": "new", "old", "both" or "none"}
    POST   /limit_headers                  {"headers": [[name, value]]}: replace those of responses; [] or null: none
    POST   /refusal                        {"form": one of refusals.py}: how an unknown credential is refused
    POST   /forms                          {"plain": bool, "namespaced": bool, "refusal": form for the other paths}
    POST   /oddity                         {"result_info": "full", "partial" or "none", "ignore_page": bool,
                                            "error_codes": bool, "messages": [object]}: default for what is missing
    POST   /delay                          {"seconds": before each response of the lean listener}
    GET    /faults                         with the number of hits of each
    POST   /faults                         one fault: Faults.add(); returns its id
    DELETE /faults, /faults/{id}
    GET    /counters
    GET    /requests?path=REGEX            requests since the last reset: Record.requests()
    DELETE /requests                       also resets the counters
    POST   /connections                    {"close": true} or {"reset": true}: all of them
    POST   /reset                          as if just started, without a scenario or a limit, and with all responses in
                                           their usual form

Orders return 200 with JSON, or 400 with {"error": ...}.
"""

import asyncio
import json

from aiohttp import web

from .api import Api
from .faults import Faults
from .lean import LeanServer
from .oddities import Oddity
from .record import Record
from .routes import Forms
from .server import ApiServer
from .world import World


class Control:
    def __init__(self, world: World, api: Api, faults: Faults, record: Record, server: ApiServer,
                 lean: LeanServer) -> None:
        self._world = world
        self._api = api
        self._faults = faults
        self._record = record
        self._server = server
        self._lean = lean

    def application(self) -> web.Application:
        application = web.Application(client_max_size=64 * 1024 * 1024, middlewares=[_errors])
        application.add_routes([
            web.get("/clock", self._get_clock),
            web.post("/clock", self._post_clock),
            web.post("/world", self._post_world),
            web.delete("/world", self._delete_world),
            web.get("/census", self._get_census),
            web.post("/limit", self._post_limit),
            web.post("/limit_headers", self._post_limit_headers),
            web.post("/refusal", self._post_refusal),
            web.post("/forms", self._post_forms),
            web.post("/oddity", self._post_oddity),
            web.post("/delay", self._post_delay),
            web.get("/faults", self._get_faults),
            web.post("/faults", self._post_faults),
            web.delete("/faults", self._delete_faults),
            web.delete("/faults/{id}", self._delete_fault),
            web.get("/counters", self._get_counters),
            web.get("/requests", self._get_requests),
            web.delete("/requests", self._delete_requests),
            web.post("/connections", self._post_connections),
            web.post("/reset", self._post_reset),
        ])
        return application

    async def _get_clock(self, _request: web.Request) -> web.Response:
        return web.json_response(self._world.clock.describe())

    async def _post_clock(self, request: web.Request) -> web.Response:
        clock = self._world.clock
        for name, value in (await request.json()).items():
            if name == "freeze":
                clock.freeze()
            elif name == "thaw":
                clock.thaw()
            elif name == "set":
                clock.set(value)
            elif name == "advance":
                clock.advance(value)
            elif name == "speed":
                clock.run(value)
            else:
                raise ValueError(f"unknown order to the clock: {name}")
        return web.json_response(clock.describe())

    async def _post_world(self, request: web.Request) -> web.Response:
        self._world.apply(await request.json())
        return web.json_response({})

    async def _delete_world(self, _request: web.Request) -> web.Response:
        self._world.accounts.clear()
        return web.json_response({})

    async def _get_census(self, request: web.Request) -> web.Response:
        account = self._world.accounts[request.query["account"]]
        since = float(request.query.get("since", "-inf"))
        return web.json_response(account.census(self._world.clock.now(), since))

    async def _post_delay(self, request: web.Request) -> web.Response:
        self._lean.delay = float((await request.json())["seconds"])
        return web.json_response({})

    async def _post_limit(self, request: web.Request) -> web.Response:
        self._api.limits.set(**await request.json())
        return web.json_response({})

    async def _post_limit_headers(self, request: web.Request) -> web.Response:
        self._api.limits.fixed_headers = [(name, value) for name, value in (await request.json())["headers"] or []]
        return web.json_response({})

    async def _post_refusal(self, request: web.Request) -> web.Response:
        self._api.refuse_with((await request.json())["form"])
        return web.json_response({})

    async def _post_forms(self, request: web.Request) -> web.Response:
        self._api.forms = Forms(**await request.json())
        return web.json_response({})

    async def _post_oddity(self, request: web.Request) -> web.Response:
        self._api.oddity = Oddity(**await request.json())
        return web.json_response({})

    async def _get_faults(self, _request: web.Request) -> web.Response:
        return web.json_response(self._faults.describe())

    async def _post_faults(self, request: web.Request) -> web.Response:
        return web.json_response(self._faults.add(await request.json()).describe())

    async def _delete_faults(self, _request: web.Request) -> web.Response:
        self._faults.clear()
        return web.json_response({})

    async def _delete_fault(self, request: web.Request) -> web.Response:
        self._faults.remove(int(request.match_info["id"]))
        return web.json_response({})

    async def _get_counters(self, _request: web.Request) -> web.Response:
        return web.json_response(self._record.counters())

    async def _get_requests(self, request: web.Request) -> web.Response:
        return web.json_response(self._record.requests(request.query.get("path", "")))

    async def _delete_requests(self, _request: web.Request) -> web.Response:
        self._record.reset()
        return web.json_response({})

    async def _post_connections(self, request: web.Request) -> web.Response:
        self._server.drop_connections(reset=bool((await request.json()).get("reset")))
        self._lean.drop_connections()
        await self._settle()
        return web.json_response({})

    async def _settle(self) -> None:
        """Waits a moment until dropped connections and their requests are over."""
        for _ in range(200):
            if not (self._record.connections_open or self._record.in_flight):
                return
            await asyncio.sleep(0.001)

    async def _post_reset(self, _request: web.Request) -> web.Response:
        self._server.drop_connections(reset=True)
        self._lean.drop_connections()
        self._lean.delay = 0.0
        await self._settle()
        self._world.accounts.clear()
        self._world.clock.reset()
        self._api.limits.set(None)
        self._api.behave()
        self._faults.clear()
        self._record.reset()
        return web.json_response({})


@web.middleware
async def _errors(request: web.Request, handler) -> web.StreamResponse:
    try:
        return await handler(request)
    except (ValueError, TypeError, KeyError, AttributeError, json.JSONDecodeError) as error:
        return web.json_response({"error": f"{type(error).__name__}: {error}"}, status=400)
