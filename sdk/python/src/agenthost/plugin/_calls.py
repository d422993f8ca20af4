"""The calls under way: they end before the plugin does, and a plugin that stops takes no new ones."""

from __future__ import annotations

import asyncio
import contextlib
import datetime
from collections.abc import AsyncIterator, Awaitable, Callable, Iterable, Mapping
from contextvars import ContextVar
from typing import Any

import grpc
import grpc.aio

from . import _trace
from ._contract import NOT_TAKEN_TRAILER

deadline: ContextVar[datetime.datetime | None] = ContextVar("agenthost_deadline", default=None)
"""When the caller of the call under way stops waiting."""


def _enter(context: grpc.aio.ServicerContext) -> None:
    """Makes what a call says of itself known in it: in its own context, which ends with it."""
    _trace.enter(context.invocation_metadata())
    left = context.time_remaining()
    now = datetime.datetime.now(datetime.timezone.utc)
    # A caller that waits without end has a deadline in some thousand years.
    deadline.set(now + datetime.timedelta(seconds=left) if left is not None and left < _ENDLESS else None)


_ENDLESS = 100 * 365 * 86400


class Calls:
    """Counts the calls of Flyte's services. go-plugin's own do not count: its streams live as long as the plugin."""

    def __init__(self, plugin: str) -> None:
        self._plugin = plugin
        self._running = 0
        self._draining = False
        self._idle = asyncio.Event()
        self._idle.set()

    async def drain(self, timeout: float) -> int:
        """Refuses new calls and waits for those under way. Returns how many still run after the time."""
        self._draining = True
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(self._idle.wait(), timeout)
        return self._running

    def counting(self, server: grpc.aio.Server) -> Any:
        """The server as services are added to it that count. An interceptor would do the same, and for one grpc.aio
        makes coroutines of its own at every call."""
        return _CountingServer(server, self)

    def counted(self, method: str, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        """:param method: its full name, such as /flyteidl.service.AsyncAgentService/GetTask."""
        return self._counting(handler) if method.startswith("/flyteidl") else handler

    def _counting(self, handler: grpc.RpcMethodHandler) -> grpc.RpcMethodHandler:
        codec = {
            "request_deserializer": handler.request_deserializer,
            "response_serializer": handler.response_serializer,
        }
        if handler.unary_unary:
            return grpc.unary_unary_rpc_method_handler(self._answering(handler.unary_unary), **codec)
        if handler.unary_stream:
            return grpc.unary_stream_rpc_method_handler(self._streaming(handler.unary_stream), **codec)
        return grpc.stream_stream_rpc_method_handler(self._streaming(handler.stream_stream), **codec)

    def _answering(self, answer: Callable[..., Awaitable[Any]]) -> Callable[..., Awaitable[Any]]:
        async def counted(request: Any, context: grpc.aio.ServicerContext) -> Any:
            if self._draining:
                await self._refuse(context)
            _enter(context)
            self._begin()
            try:
                return await answer(request, context)
            finally:
                self._end()

        return counted

    def _streaming(self, answers: Callable[..., AsyncIterator[Any]]) -> Callable[..., AsyncIterator[Any]]:
        async def counted(request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
            if self._draining:
                await self._refuse(context)
            _enter(context)
            self._begin()
            try:
                async for part in answers(request, context):
                    yield part
            finally:
                self._end()

        return counted

    async def _refuse(self, context: grpc.aio.ServicerContext) -> None:
        # The trailer tells the host that the call was not begun, so that it can be made again elsewhere.
        await context.abort(
            grpc.StatusCode.UNAVAILABLE, f"plugin {self._plugin} is stopping", ((NOT_TAKEN_TRAILER, "1"),)
        )

    def _begin(self) -> None:
        self._running += 1
        self._idle.clear()

    def _end(self) -> None:
        self._running -= 1
        if not self._running:
            self._idle.set()


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
