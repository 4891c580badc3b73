"""What speaks HTTP/1.1 on the clients' port: health, version and metrics, as etcd answers them."""

from __future__ import annotations

import asyncio
from typing import Final

import h11
import uvicorn
from prometheus_client import CollectorRegistry
from prometheus_client.exposition import CONTENT_TYPE_PLAIN_0_0_4, generate_latest
from starlette.applications import Starlette
from starlette.requests import Request
from starlette.responses import JSONResponse, PlainTextResponse, Response
from starlette.routing import Route
from uvicorn.protocols.http.h11_impl import H11Protocol
from uvicorn.server import ServerState

from ostraka.server.gateway import Gateway
from ostraka.server.member import Member
from ostraka.server.probes import Probes
from ostraka.server.version import CLUSTER_VERSION, SERVER_VERSION
from ostraka.transport.http2.server import Router

MAX_CONNECTIONS: Final = 256  # That speak HTTP/1.1; above it requests are answered 503.
SILENT: Final = 100  # Ticks of the listener in which a whole request must come.
IDLE: Final = 1200  # Ticks in which a client that has been served may keep its connection for another request.


class Pages:
    """The pages of one member."""

    def __init__(self, member: Member, registry: CollectorRegistry, router: Router) -> None:
        """`router`: what the JSON gateway calls."""
        self.gateway: Final = Gateway(member, router)
        self.registry: Final = registry
        probes = Probes(member)
        registry.register(probes)
        self.app: Final = Starlette(
            routes=[
                *probes.routes(),
                Route("/version", self.version, methods=["GET"]),
                Route("/metrics", self.metrics, methods=["GET"]),
                *(Route(f"/{version}/{{method:path}}", self.gateway) for version in ("v3", "v3beta", "v3alpha")),
            ],
            exception_handlers={404: _not_found, 405: _not_allowed},
        )

    async def version(self, request: Request) -> Response:
        return JSONResponse({"etcdserver": SERVER_VERSION, "etcdcluster": CLUSTER_VERSION})

    async def metrics(self, request: Request) -> Response:
        return Response(generate_latest(self.registry), media_type=CONTENT_TYPE_PLAIN_0_0_4)


def _not_found(request: Request, error: Exception) -> Response:
    return PlainTextResponse("404 page not found\n", status_code=404)


def _not_allowed(request: Request, error: Exception) -> Response:
    return PlainTextResponse("Method Not Allowed\n", status_code=405, headers={"allow": "GET"})


class HttpFront:
    """Makes uvicorn's HTTP/1.1 protocol for each connection that speaks it, in this same loop."""

    def __init__(self, pages: Pages, loop: asyncio.AbstractEventLoop) -> None:
        self._loop: Final = loop
        self._gateway: Final = pages.gateway
        self._config: Final = uvicorn.Config(
            pages.app,
            http="h11",
            ws="none",
            lifespan="off",
            log_config=None,
            access_log=False,
            proxy_headers=False,
            limit_concurrency=MAX_CONNECTIONS,
            timeout_keep_alive=IDLE,  # Seconds: longer than what `tick` allows, so that it alone decides.
        )
        self._config.load()
        self._state: Final = ServerState()
        self._silent: dict[H11Protocol, int] = {}  # For how many ticks a connection has had no request under way.

    def protocol(self) -> asyncio.Protocol:
        """One for a new connection."""
        return H11Protocol(self._config, self._state, {}, self._loop)

    @property
    def connections(self) -> int:
        """How many are open."""
        return len(self._state.connections)

    @property
    def unread(self) -> int:
        """Bytes of replies that clients have yet to read."""
        return self._gateway.unread

    def tick(self) -> None:
        """End calls whose time is over, and connections whose next request is a long time in coming.

        Half of one would hold a place for ever. One who has been served may take longer, unless places get scarce: to
        close a connection while its next request is on its way costs the client an error.
        """
        self._gateway.tick()
        silent, self._silent = self._silent, {}
        for protocol in list(self._state.connections):
            assert isinstance(protocol, H11Protocol), "`protocol` makes no others"
            if protocol.cycle is not None and not protocol.cycle.response_complete:
                continue
            conn = protocol.conn
            served = protocol.cycle is not None and conn.their_state is h11.IDLE and not conn.trailing_data[0]
            scarce = 2 * self.connections > MAX_CONNECTIONS
            if silent.get(protocol, 0) >= (IDLE if served and not scarce else SILENT):
                protocol.transport.close()
            else:
                self._silent[protocol] = silent.get(protocol, 0) + 1

    def shutdown(self) -> None:
        """End all connections, each after the reply that it is about."""
        for protocol in list(self._state.connections):
            protocol.shutdown()

    def close(self) -> None:
        """End the replies that don't end by themselves."""
        self._gateway.close()
