"""A plugin process from its first line to its last."""

from __future__ import annotations

import asyncio
import contextlib
import gc
import logging
import os
import signal
import sys
from collections.abc import AsyncIterator, Awaitable, Callable, Mapping, Sequence
from dataclasses import dataclass, field
from typing import Any, NoReturn

import grpc
import grpc.aio
from grpc_health.v1 import health, health_pb2, health_pb2_grpc

from . import _certificate, _contract, _handshake, _hostlog
from ._calls import Calls, Method, aborting
from ._contract import ConfigError, Description
from ._errors import CallError, LoadError, cut
from ._exchange import Exchange
from ._replaced import Replaced

_log = logging.getLogger("agenthost")

STOP_GRACE = 5.0
"""Seconds that a plugin takes at most, from being asked to stop, for its calls under way and its agents' close."""

ANSWER_GRACE = 1.0
"""Seconds that it then takes at most for the last answers to leave."""


async def _no_configuration(config: str) -> list[ConfigError]:
    if config.strip() in ("", "{}"):
        return []
    return [ConfigError("", "this plugin takes no configuration: remove its `config:`")]


async def _nothing() -> None:
    return None


@dataclass(frozen=True)
class Service:
    """What a plugin serves, and what it says of itself."""

    description: Description
    register: Callable[[grpc.aio.Server], None]
    """Adds Flyte's services to a server, but for these methods:"""
    methods: Mapping[str, Method] = field(default_factory=dict)
    """Those that an agent answers, by their full names. They are called by themselves, and many at a time."""
    configure: Callable[[str], Awaitable[Sequence[ConfigError]]] = field(default=_no_configuration)
    """Takes the configuration as JSON text, once."""
    metrics: Callable[[], Awaitable[bytes]] | None = None
    """The process' own metrics in Prometheus' text format, where it has any."""
    replaced: Replaced = field(default_factory=Replaced)
    """Is set when the host lets the process' calls end."""
    close: Callable[[], Awaitable[None]] = field(default=_nothing)
    """Is awaited when the plugin stops, behind the last call."""


def serve(load: Callable[[], Service], hint: str) -> NoReturn:
    """Serves until the host asks for the end, and ends the process.

    :param load: makes the service; called once standard output is out of the way. May raise LoadError.
    :param hint: what to tell a person who started the program by hand.
    """
    parent = os.getppid()  # before the handshake: a host that ends right behind it has been ours, too
    try:
        _handshake.check(os.environ, hint)
        real_stdout = _handshake.divert_stdout()
        _hostlog.to_host()
        service = _loaded(load)
        # Also when a library has set a handler of its own: Ctrl-C in the host's terminal is for the host.
        signal.signal(signal.SIGINT, signal.SIG_IGN)
        asyncio.run(_live(service, real_stdout, parent))
    except LoadError as e:
        print(e, file=sys.stderr)
        _end(1)
    _end(0)


def _loaded(load: Callable[[], Service]) -> Service:
    """What is imported stays: the collector need not look at it, neither time and again meanwhile nor while calls wait.

    What imports leave behind in cycles stays, too: less than 1 MiB with flytekit.
    """
    collecting = gc.isenabled()
    gc.disable()
    try:
        service = load()
    finally:
        if collecting:
            gc.enable()
    gc.freeze()
    return service


def _end(code: int) -> NoReturn:
    """Ends the process also when a thread hangs in a call that nothing can end."""
    logging.shutdown()
    with contextlib.suppress(OSError, ValueError):
        sys.stdout.flush()
        sys.stderr.flush()
    os._exit(code)


async def _live(service: Service, real_stdout: int, parent: int) -> None:
    socket = _handshake.make_socket(os.environ)
    try:
        certificate = _certificate.make()
        client = os.environ.get("PLUGIN_CLIENT_CERT", "")
        process = await start(service, f"unix:{socket.path}", (certificate, client.encode()) if client else None)
        asyncio.get_running_loop().add_signal_handler(signal.SIGTERM, process.end)
        _handshake.announce(real_stdout, socket, certificate.handshake if client else "")
        watching = asyncio.ensure_future(_end_with_parent(process, parent))
        await process.ended()
        watching.cancel()
    finally:
        socket.remove()


async def _end_with_parent(process: Process, parent: int) -> None:
    """A host that was killed cannot stop its plugins. (A thread's parent-death signal could come too early.)"""
    while os.getppid() == parent:
        await asyncio.sleep(1)
    process.end()


async def start(service: Service, address: str, tls: tuple[_certificate.Certificate, bytes] | None = None) -> Process:
    """Starts a server for a service; with the plugin's certificate and the client's, only for that client."""
    calls = Calls(service.description.name)
    server = grpc.aio.server(
        options=(
            ("grpc.max_receive_message_length", -1),
            ("grpc.max_send_message_length", -1),
            # As many pings as the host likes.
            ("grpc.keepalive_permit_without_calls", 1),
            ("grpc.http2.min_ping_interval_without_data_ms", 1000),
            ("grpc.http2.max_ping_strikes", 0),
            ("grpc.so_reuseport", 0),
            # It would measure the bandwidth with a PING for each lone request.
            ("grpc.http2.bdp_probe", 0),
        ),
    )
    service.register(calls.counting(server))
    server.add_generic_rpc_handlers(calls.handlers(service.methods))
    if service.methods and not _is_intercepted():
        server.add_generic_rpc_handlers((Exchange(calls, service.methods).handler(),))
    process = Process(service, server, calls)
    server.add_generic_rpc_handlers(process.handlers())
    healthy = health.aio.HealthServicer()
    await healthy.set(_contract.HEALTH_SERVICE, health_pb2.HealthCheckResponse.SERVING)
    health_pb2_grpc.add_HealthServicer_to_server(healthy, server)
    if tls is None:
        server.add_insecure_port(address)
    else:
        certificate, client = tls
        server.add_secure_port(
            address,
            grpc.ssl_server_credentials(
                [(certificate.key, certificate.certificate)], root_certificates=client, require_client_auth=True
            ),
        )
    await server.start()
    return process


def _is_intercepted() -> bool:
    """Whether somebody puts interceptors into the servers of this process, as instrumentation of gRPC does in the place
    of the function that makes them. They would see a stream of calls as one."""
    return grpc.aio.server is not grpc.aio._server.server


class Process:
    """A running server: what go-plugin and the host ask of it besides Flyte's services, and its end."""

    def __init__(self, service: Service, server: grpc.aio.Server, calls: Calls) -> None:
        self._service = service
        self._server = server
        self._calls = calls
        self._ending: asyncio.Task[None] | None = None
        self._closed = asyncio.Event()

    def handlers(self) -> tuple[grpc.GenericRpcHandler, ...]:
        c = _contract
        return (
            grpc.method_handlers_generic_handler(
                "agenthost.plugin.v1.PluginService",
                {
                    "Describe": _unary(self._describe, c.DescribeRequest),
                    "Configure": _unary(self._configure, c.ConfigureRequest),
                    "Drain": _unary(self._drain, c.DrainRequest),
                    "Metrics": _unary(self._metrics, c.MetricsRequest),
                },
            ),
            grpc.method_handlers_generic_handler(
                "plugin.GRPCController", {"Shutdown": _unary(self._shutdown, c.Empty)}
            ),
            grpc.method_handlers_generic_handler(
                "plugin.GRPCStdio",
                {
                    "StreamStdio": grpc.unary_stream_rpc_method_handler(
                        self._stdio, c.Empty.FromString, c.StdioData.SerializeToString
                    )
                },
            ),
        )

    def end(self, max_wait: float = STOP_GRACE) -> asyncio.Task[None]:
        """Begins the end; once, however often it is asked for."""
        if self._ending is None:
            self._ending = asyncio.ensure_future(self._end(min(max_wait, STOP_GRACE)))
        return self._ending

    async def ended(self) -> None:
        """Waits for the end, answers that are on their way included."""
        await self._closed.wait()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._server.stop(ANSWER_GRACE), 2 * ANSWER_GRACE)

    async def _end(self, max_wait: float) -> None:
        """Calls under way get three quarters of the time, the agents' close the rest."""
        self._service.replaced.set()
        left = await self._calls.drain(max_wait * 3 / 4)
        if left:
            _log.error("the plugin stops with calls under way", extra={"calls": left})
        try:
            await asyncio.wait_for(self._service.close(), max_wait / 4)
        except Exception:
            _log.exception("the plugin did not stop cleanly")
        self._closed.set()

    async def _describe(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        d = self._service.description
        return _contract.DescribeResponse(
            name=d.name,
            version=d.version,
            sdk={"name": d.sdk, "version": d.sdk_version, "language": d.language},
            capabilities=d.capabilities,
            category_capabilities=[
                {"name": c.name, "version": c.version, "capabilities": c.capabilities} for c in d.category_capabilities
            ],
            config_schema=d.config_schema,
        )

    async def _configure(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            errors = await self._service.configure(request.config)
        except CallError:
            raise
        except Exception as e:
            _log.exception("the plugin's configuration failed")
            raise CallError(grpc.StatusCode.INTERNAL, cut(f"Configure: {type(e).__name__}: {e}")) from e
        return _contract.ConfigureResponse(errors=[{"key": e.key, "message": e.message} for e in errors])

    async def _drain(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        self._service.replaced.set()
        return _contract.DrainResponse()

    async def _metrics(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        if self._service.metrics is None:
            raise CallError(grpc.StatusCode.UNIMPLEMENTED, "the plugin has no metrics of its own")
        try:
            return _contract.MetricsResponse(text=await self._service.metrics())
        except Exception as e:
            _log.exception("the plugin's metrics failed")
            raise CallError(grpc.StatusCode.INTERNAL, cut(f"Metrics: {type(e).__name__}: {e}")) from e

    async def _shutdown(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        remaining = context.time_remaining()
        # Four fifths of what the host waits, so that the answer still reaches it.
        await asyncio.shield(self.end(STOP_GRACE if remaining is None else remaining * 4 / 5))
        return _contract.Empty()

    async def _stdio(self, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        """Held open and empty: what is printed goes to standard error."""
        await self._closed.wait()
        return
        yield  # makes it a stream


def _unary(answer: Callable[..., Awaitable[Any]], request: Any) -> grpc.RpcMethodHandler:
    return grpc.unary_unary_rpc_method_handler(aborting(answer), request.FromString, _serialize)


def _serialize(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
