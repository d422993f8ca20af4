"""The calls under way: they end before the plugin does, and a plugin that stops takes no new ones."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
import logging
from collections.abc import AsyncIterator, Awaitable, Callable, Coroutine, Iterable, Iterator, Mapping, Sequence
from contextvars import ContextVar
from typing import Any, NamedTuple

import grpc
import grpc.aio
from google.protobuf.message import DecodeError

from . import _trace
from ._contract import NOT_TAKEN_TRAILER
from ._errors import CallError, cut
from ._guard import refused
from ._loop import AgentLoop, Errand

_log = logging.getLogger("agenthost")

deadline: ContextVar[datetime.datetime | None] = ContextVar("agenthost_deadline", default=None)
"""When the caller of the call under way stops waiting."""


class Call:
    """What a call says of itself besides its request, whichever way it came."""

    __slots__ = ("deadline", "metadata")

    def __init__(self, metadata: Sequence[tuple[str, str | bytes]], seconds: float | None) -> None:
        """:param seconds: how long its caller waits; None for one that waits without end."""
        self.metadata = metadata
        self.deadline: datetime.datetime | None = None
        # A caller that waits without end may have a deadline in some thousand years.
        if seconds is not None and seconds < _ENDLESS:
            now = datetime.datetime.now(datetime.timezone.utc)
            self.deadline = now + datetime.timedelta(seconds=seconds)

    @classmethod
    def of(cls, context: grpc.aio.ServicerContext) -> Call:
        return cls(context.invocation_metadata() or (), context.time_remaining())

    def texts(self) -> dict[str, str]:
        """The metadata but for what is binary."""
        return {key: value for key, value in self.metadata if isinstance(value, str)}

    def enter(self) -> None:
        """Makes it known in the call: in its own context, which ends with it."""
        _trace.enter(self.metadata)
        deadline.set(self.deadline)


_ENDLESS = 100 * 365 * 86400


class AgentCall(NamedTuple):
    """A coroutine function that answers a call, in the loop of an agent, and what to say of it where it fails."""

    loop: AgentLoop
    agent: str
    category: str
    method: str
    function: Callable[..., Coroutine[Any, Any, Any]]
    args: tuple[Any, ...]


class Method(NamedTuple):
    """A method with one request and one answer, which an agent gives."""

    request: Any
    """The class of its requests."""
    route: Callable[[Any, Call], AgentCall]
    """Finds what is to answer a request. It is called in the loop that serves, which it must not hold up. Raises
    CallError."""


class Answering(Errand):
    """Has an agent answer a call: `result` is the answer's bytes, `error` a CallError."""

    __slots__ = ("asked", "call")

    def __init__(self, asked: AgentCall, call: Call) -> None:
        super().__init__()
        self.asked = asked
        self.call = call

    async def run(self) -> bytes:
        self.call.enter()
        answer: bytes = (await self.asked.function(*self.asked.args)).SerializeToString()
        return answer

    def explain(self, error: BaseException) -> CallError:
        return refused(self.asked.agent, self.asked.category, self.asked.method, error)


class Calls:
    """Counts the calls of Flyte's services. go-plugin's own do not count, nor does the stream of calls: these live as
    long as the plugin."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin
        self._running = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()
        self.drained = asyncio.Event()
        """Set when the last call has ended and none is taken any more."""

    async def drain(self, timeout: float) -> int:
        """Refuses new calls and waits for those under way. Returns how many still run after the time."""
        self._draining = True
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout)
        if not self._running:
            self.drained.set()
        return self._running

    def take(self, method: Method, request: bytes, call: Call) -> AgentCall:
        """Begins a call, which is under way until `end`. CallError: it is not."""
        self.check_taken()
        try:
            asked = method.route(method.request.FromString(request), call)
        except CallError:
            raise
        except DecodeError as e:
            raise CallError(grpc.StatusCode.INTERNAL, f"the request is no {method.request.DESCRIPTOR.name}: {e}") from e
        except Exception as e:
            _log.exception("a call did not reach its agent")
            raise CallError(grpc.StatusCode.INTERNAL, cut(f"{type(e).__name__}: {e}")) from e
        self.begin()
        return asked

    def check_taken(self) -> None:
        """Raises CallError when the plugin stops."""
        if self._draining:
            # The trailer tells the host that the call was not begun, so that it can be made again elsewhere.
            raise CallError(
                grpc.StatusCode.UNAVAILABLE, f"plugin {self._plugin} is stopping", ((NOT_TAKEN_TRAILER, "1"),)
            )

    def begin(self) -> None:
        self._running += 1
        self._idle.clear()

    def end(self) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()

    def handlers(self, methods: Mapping[str, Method]) -> tuple[grpc.GenericRpcHandler, ...]:
        """For the methods' calls of their own.

        :param methods: by their full names, such as /flyteidl.service.AsyncAgentService/GetTask.
        """
        services: dict[str, dict[str, grpc.RpcMethodHandler]] = {}
        for full_name, method in methods.items():
            _, service, name = full_name.split("/")
            services.setdefault(service, {})[name] = self._by_itself(method)
        return tuple(grpc.method_handlers_generic_handler(name, found) for name, found in services.items())

    def _by_itself(self, method: Method) -> grpc.RpcMethodHandler:
        async def answer(request: bytes, context: grpc.aio.ServicerContext) -> bytes:
            call = Call.of(context)
            asked = self.take(method, request, call)
            try:
                answer: bytes = await asked.loop.do(Answering(asked, call))
                return answer
            finally:
                self.end()

        return grpc.unary_unary_rpc_method_handler(aborting(answer))

    def counting(self, server: grpc.aio.Server) -> Any:
        """The server as services are added to it that count. An interceptor would do the same, and for one grpc.aio
        makes coroutines of its own at every call."""
        return _CountingServer(server, self)

    def counted(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """:param method: its full name."""
        return self._counting(handler) if method.startswith("/flyteidl") else handler

    def _counting(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(aborting(self._answering(handler.unary_unary)), **codec)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(self._streaming(handler.unary_stream), **codec)
        return grpc.stream_stream_rpc_method_handler(self._streaming(handler.stream_stream), **codec)

    def _answering(self, answer: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(request: Any, context: grpc.aio.ServicerContext) -> Any:
            with self._counted(context):
                return await answer(request, context)

        return counted

    def _streaming(self, answers: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
        async def counted(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            try:
                with self._counted(context):
                    async for part in answers(request, context):
                        yield part
            except CallError as e:
                await _abort(context, e)

        return counted

    @contextlib.contextmanager
    def _counted(self, context: grpc.aio.ServicerContext) -> Iterator[None]:
        self.check_taken()
        Call.of(context).enter()
        self.begin()
        try:
            yield
        finally:
            self.end()


def aborting(answer: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
    """A handler of gRPC's whose CallError is the status of its call."""

    async def handler(request: Any, context: grpc.aio.ServicerContext) -> Any:
        try:
            return await answer(request, context)
        except CallError as e:
            await _abort(context, e)

    return handler


async def _abort(context: grpc.aio.ServicerContext, error: CallError) -> None:
    await context.abort(error.code, str(error), error.trailers)


class _CountingServer:
    """A server all of whose new methods count."""

    def __init__(self, server: grpc.aio.Server, calls: Calls) -> None:
        self._server = server
        self._calls = calls

    def add_generic_rpc_handlers(self, handlers: Iterable[grpc.GenericRpcHandler]) -> None:
        self._server.add_generic_rpc_handlers(tuple(_CountingHandler(handler, self._calls) for handler in handlers))

    def add_registered_method_handlers(self, service: str, handlers: Mapping[str, grpc.RpcMethodHandler]) -> None:
        counted = {name: self._calls.counted(f"/{service}/{name}", handler) for name, handler in handlers.items()}
        self._server.add_registered_method_handlers(service, counted)

    def __getattr__(self, name: str) -> Any:
        return getattr(self._server, name)


class _CountingHandler(grpc.GenericRpcHandler):  # type: ignore[misc]
    """Finds the handlers that another one finds, counted."""

    def __init__(self, handler: grpc.GenericRpcHandler, calls: Calls) -> None:
        self._handler = handler
        self._calls = calls
        self._known: dict[str, tuple[grpc.RpcMethodHandler, grpc.RpcMethodHandler]] = {}

    def service(self, details: grpc.HandlerCallDetails) -> grpc.RpcMethodHandler | None:
        found = self._handler.service(details)
        if found is None:
            return None
        known = self._known.get(details.method)
        if known is None or known[0] is not found:
            known = self._known[details.method] = found, self._calls.counted(details.method, found)
        return known[1]
