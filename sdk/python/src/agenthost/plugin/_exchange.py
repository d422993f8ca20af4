"""The stream on which calls come many at a time: a call of its own costs gRPC more than most polls take."""

from __future__ import annotations

import asyncio
import collections
import math
from collections.abc import Mapping
from typing import Any

import grpc
import grpc.aio
from google.protobuf.message import DecodeError
from google.rpc import status_pb2

from . import _contract
from ._calls import AgentCall, Answering, Call, Calls, Method, aborting
from ._errors import CallError
from ._loop import AgentLoop

MOST = 256 << 10
"""How many bytes the answers of one message have, but for a single larger one."""


class Exchange:
    """Serves the stream. Each call on it is made as one of its own is, and they share nothing but the messages."""

    def __init__(self, calls: Calls, methods: Mapping[str, Method]) -> None:
        self._calls = calls
        self._methods = methods

    def handler(self) -> grpc.GenericRpcHandler:
        exchange = grpc.stream_stream_rpc_method_handler(aborting(self._exchange))  # bytes either way
        return grpc.method_handlers_generic_handler("agenthost.plugin.v1.CallService", {"Exchange": exchange})

    async def _exchange(self, _: Any, context: grpc.aio.ServicerContext) -> None:
        await _Stream(self._calls, self._methods, context).serve()


class _Taken(Answering):
    """A call that came on a stream."""

    __slots__ = ("id", "max_answer", "until")

    def __init__(self, asked: AgentCall, call: Call, id: int, max_answer: int, until: float) -> None:
        super().__init__(asked, call)
        self.id = id
        self.max_answer = max_answer
        self.until = until


class _Stream:
    """One from the host, in the loop that serves. What comes in a message is handed to an agent's loop by one wake-up,
    and what is back by the time that a message can be written leaves in that: nothing waits for company."""

    def __init__(self, calls: Calls, methods: Mapping[str, Method], context: grpc.aio.ServicerContext) -> None:
        self._calls, self._methods, self._context = calls, methods, context
        self._loop = asyncio.get_running_loop()
        self._under_way: dict[int, _Taken] = {}
        self._last = 0
        self._out: collections.deque[Any] = collections.deque()
        """Messages that are to be written. The last one grows until it is its turn."""
        self._size = 0
        """Bytes of the answers in the last one."""
        self._wake = asyncio.Event()
        self._expiry: asyncio.TimerHandle | None = None
        """Fires when the first call's time is over, or before. One timer for all costs less than one for each."""

    async def serve(self) -> None:
        await self._write(_contract.Answers(methods=sorted(self._methods)))
        reading, drained = asyncio.ensure_future(self._read()), asyncio.ensure_future(self._calls.drained.wait())
        for one in (reading, drained):
            one.add_done_callback(lambda _: self._wake.set())
        try:
            while not reading.done():
                await self._wake.wait()
                self._wake.clear()
                if drained.done():
                    reading.cancel()
                    await self._flush()
                    await self._write(_contract.Answers(last=self._last))
                    return
                await self._flush()
            await reading  # raises what it raised
        finally:
            reading.cancel()
            drained.cancel()
            self._abandon()

    async def _read(self) -> None:
        while (message := await self._context.read()) is not grpc.aio.EOF:
            try:
                calls = _contract.Calls.FromString(message)
            except DecodeError as e:
                raise CallError(grpc.StatusCode.INTERNAL, f"the message is no Calls: {e}") from e
            self._take(calls)

    def _take(self, calls: Any) -> None:
        batches: dict[AgentLoop, list[_Taken]] = {}
        for one in calls.calls:
            self._last = one.id
            try:
                taken = self._begin(one)
            except CallError as e:
                self._refuse(one.id, e)
            else:
                self._under_way[taken.id] = taken
                batches.setdefault(taken.asked.loop, []).append(taken)
        for loop, batch in batches.items():
            loop.send(batch, self._settle)
            self._expire_by(min(taken.until for taken in batch))
        for id in calls.canceled:
            self._end(id)

    def _begin(self, one: Any) -> _Taken:
        method = self._methods.get(one.method)
        if method is None:
            raise CallError(grpc.StatusCode.UNIMPLEMENTED, f"the stream of calls does not take {one.method}")
        seconds = one.timeout / 1e6 if one.timeout else None
        call = Call([(header.name, _value(header)) for header in one.headers], seconds)
        asked = self._calls.take(method, one.request, call)
        until = self._loop.time() + seconds if seconds is not None else math.inf
        return _Taken(asked, call, one.id, one.max_answer, until)

    def _settle(self, taken: _Taken) -> None:
        """Answers a call that is back from its agent."""
        self._under_way.pop(taken.id, None)
        if taken.error is not None:
            self._refuse(taken.id, taken.error)
        elif taken.max_answer and len(taken.result) > taken.max_answer:
            self._answer(0, id=taken.id, oversize=len(taken.result))
        else:
            self._answer(len(taken.result), id=taken.id, message=taken.result)
        self._calls.end()

    def _refuse(self, id: int, error: BaseException) -> None:
        if not isinstance(error, CallError):  # what made one of it has failed
            error = CallError(grpc.StatusCode.INTERNAL, type(error).__name__)
        status = status_pb2.Status(code=error.code.value[0], message=str(error)).SerializeToString()
        trailers = [{"name": name, "value": value.encode()} for name, value in error.trailers]
        self._answer(len(status), id=id, status=status, trailers=trailers)

    def _answer(self, size: int, **answer: Any) -> None:
        if not self._out or self._size + size > MOST:
            self._out.append(_contract.Answers())
            self._size = 0
        self._out[-1].answers.add(**answer)
        self._size += size
        self._wake.set()

    async def _flush(self) -> None:
        while self._out:
            await self._write(self._out.popleft())

    async def _write(self, message: Any) -> None:
        await self._context.write(message.SerializeToString())

    def _end(self, id: int) -> None:
        """Ends a call that nobody waits for any more, if it is under way."""
        taken = self._under_way.pop(id, None)
        if taken is not None:
            taken.asked.loop.recall(taken)
            self._calls.end()

    def _expire_by(self, when: float) -> None:
        if when == math.inf or (self._expiry is not None and self._expiry.when() <= when):
            return
        if self._expiry is not None:
            self._expiry.cancel()
        self._expiry = self._loop.call_at(when, self._expire)

    def _expire(self) -> None:
        self._expiry = None
        now = self._loop.time()
        for taken in [taken for taken in self._under_way.values() if taken.until <= now]:
            self._end(taken.id)
            self._refuse(taken.id, CallError(grpc.StatusCode.DEADLINE_EXCEEDED, "its caller waits no longer"))
        self._expire_by(min((taken.until for taken in self._under_way.values()), default=math.inf))

    def _abandon(self) -> None:
        """Nobody waits for any call any more."""
        for id in list(self._under_way):
            self._end(id)
        if self._expiry is not None:
            self._expiry.cancel()


def _value(header: Any) -> str | bytes:
    """As gRPC has the values of metadata."""
    value: bytes = header.value
    if header.name.endswith("-bin"):
        return value
    try:
        return value.decode()
    except UnicodeDecodeError:
        return value.decode("latin1")
