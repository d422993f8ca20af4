"""Where an agent's calls run: on threads of its own, never on the one that answers the host.

Agents are written by people who block where they must not: a synchronous client in an `async def`, `time.sleep`, even
`sys.exit`. Each agent therefore has a thread with an event loop for its coroutines, and a pool of threads for plain
methods. Other agents, health checks and an orderly stop go on whatever one agent does.
"""

from __future__ import annotations

import asyncio
import collections
import concurrent.futures
import contextlib
import contextvars
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from ._errors import Exited
from ._watch import Pulse

_log = logging.getLogger("agenthost")

LIMIT = 64
"""How many calls of plain methods of one agent run at once."""


class AgentLoop:
    """Runs the calls of one agent, or of some that share it.

    All coroutines run in one event loop for the life of the process, so that clients which belong to their loop
    (aiohttp's sessions, asyncssh's connections) can be kept between calls. A coroutine that blocks it delays the calls
    of its own agent, and the log says where it stands.
    """

    def __init__(self, limit: int = LIMIT) -> None:
        self._names: list[str] = []
        self._limit = limit
        self._inbox: _Inbox | None = None
        self._pulse: Pulse | None = None
        self._home: _Inbox | None = None
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None

    def serves(self, agent: str) -> None:
        """Names an agent whose calls run here, for those who read the log."""
        if agent not in self._names:
            self._names.append(agent)

    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function in a thread, or a coroutine function in the agent's loop. sys.exit raises Exited."""
        if inspect.iscoroutinefunction(function):
            return await self._in_loop(lambda: function(*args, **kwargs))
        result = await self._in_thread(function, *args, **kwargs)
        if inspect.isawaitable(result):  # a plain method that returns a coroutine, as decorators make them
            return await self._in_loop(lambda: _awaited(result))
        return result

    async def set_up(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function of any kind in the agent's loop. It comes before the first task, and so may block there."""

        async def run() -> Any:
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return await self._in_loop(run, watched=False)

    async def here(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Calls a method of the agent from within a call: a coroutine in this loop, a plain function in a thread."""
        if inspect.iscoroutinefunction(function):
            return await function(*args, **kwargs)
        result = await self._in_thread(function, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def stream_here(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Like `here`, for a method that yields: passes its parts on as they come, and a single result alone."""
        if inspect.isasyncgenfunction(function):
            produced: Any = function(*args, **kwargs)
        else:
            produced = await self.here(function, *args, **kwargs)
        if hasattr(produced, "__aiter__"):
            async for part in produced:
                yield part
        elif inspect.isgenerator(produced) or isinstance(produced, (list, tuple)):
            parts = iter(produced)
            while (part := await self._in_thread(next, parts, _END)) is not _END:
                yield part
        else:
            yield produced

    async def stream(
        self, function: Callable[..., AsyncIterator[Any]], /, *args: Any, **kwargs: Any
    ) -> AsyncIterator[Any]:
        """Calls an async generator function in the agent's loop, and yields here what it yields, no faster than it is
        taken."""
        here = asyncio.get_running_loop()
        parts: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)

        async def pump() -> None:
            produced: Any = function(*args, **kwargs)
            async with contextlib.aclosing(produced):
                async for part in produced:
                    await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(parts.put(part), here))

        pumping = asyncio.ensure_future(self._in_loop(pump))
        try:
            while True:
                taking = asyncio.ensure_future(parts.get())
                await asyncio.wait((taking, pumping), return_when=asyncio.FIRST_COMPLETED)
                if not taking.done():
                    taking.cancel()
                    await pumping  # raises what the iterator raised
                    return
                yield taking.result()
        finally:
            pumping.cancel()

    async def _in_thread(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        if self._threads is None:
            self._threads = concurrent.futures.ThreadPoolExecutor(self._limit, f"{self._name()} thread")
        context = contextvars.copy_context()

        def call() -> Any:
            try:
                return context.run(function, *args, **kwargs)
            except (SystemExit, KeyboardInterrupt, GeneratorExit) as e:
                raise _exited(e) from e

        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _in_loop(self, begin: Callable[[], Coroutine[Any, Any, Any]], watched: bool = True) -> Any:
        inbox, pulse = self._started()
        call = _Call(begin, self._answers_to())
        if watched:
            pulse.begin()
        try:
            inbox.put(call.begin)
            return await call.answer
        except asyncio.CancelledError:
            call.cancel(inbox)
            raise
        finally:
            if watched:
                pulse.end()

    def _started(self) -> tuple[_Inbox, Pulse]:
        """The loop, which is begun with the first coroutine: many agents have none."""
        if self._inbox is None or self._pulse is None:
            loop = asyncio.new_event_loop()
            thread = threading.Thread(target=_run, args=(loop,), name=f"{self._name()} loop", daemon=True)
            thread.start()
            self._inbox = _Inbox(loop)
            self._pulse = Pulse(loop, thread, self._name)
        return self._inbox, self._pulse

    def _answers_to(self) -> _Inbox:
        """The inbox of the loop that calls come from, which is always the same one but in tests."""
        loop = asyncio.get_running_loop()
        if self._home is None or self._home.loop is not loop:
            self._home = _Inbox(loop)
        return self._home

    def _name(self) -> str:
        return ", ".join(self._names)


_END = object()


def _run(loop: asyncio.AbstractEventLoop) -> None:
    """Runs an event loop that nothing can end."""
    asyncio.set_event_loop(loop)
    while True:
        try:
            loop.run_forever()
        except BaseException:  # a task that an agent left behind called sys.exit
            _log.exception("a task of an agent tried to end its event loop")


async def _awaited(awaitable: Any) -> Any:
    return await awaitable


async def _without_exit(begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
    try:
        return await begin()  # within the call, which alone ends by an error of its beginning
    except (SystemExit, KeyboardInterrupt) as e:
        raise _exited(e) from e


def _exited(error: BaseException) -> Exited:
    code = f"({error.code!r})" if isinstance(error, SystemExit) else ""
    return Exited(f"the call tried to end the process with {type(error).__name__}{code}; only the call has ended")


class _Inbox:
    """What other threads have to do in an event loop. One wake-up takes it to all that has come by then: each is a
    system call, during which the other threads take Python's lock, and then keep it for a while."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: collections.deque[Callable[[], None]] = collections.deque()
        self._woken = False

    def put(self, function: Callable[[], None]) -> None:
        """Has a function run in the loop, behind those that came before; RuntimeError once the loop is closed. The
        function must not raise: those behind it would be lost."""
        self._waiting.append(function)
        if not self._woken:
            self._woken = True
            self.loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._woken = False  # before it looks: what comes later wakes the loop again
        for _ in range(len(self._waiting)):
            self._waiting.popleft()()


class _Call:
    """A call on its way to an agent's loop and back. One whose caller has gone before it was begun is not begun."""

    __slots__ = ("_begin", "_context", "_gone", "_home", "_task", "answer")

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, Any]], home: _Inbox) -> None:
        """:param home: that of the caller's loop."""
        self.answer: asyncio.Future[Any] = home.loop.create_future()
        self._begin = begin
        self._context = contextvars.copy_context()
        self._home = home
        self._gone = False
        self._task: asyncio.Task[Any] | None = None

    def begin(self) -> None:
        """Runs in the agent's loop."""
        if not self._gone:
            self._task = self._context.run(self._start)
            self._task.add_done_callback(self._finish)

    def _start(self) -> asyncio.Task[Any]:
        return asyncio.get_running_loop().create_task(_without_exit(self._begin))

    def cancel(self, inbox: _Inbox) -> None:
        """Runs in the caller's loop."""
        self._gone = True
        inbox.put(self._cancel_begun)

    def _cancel_begun(self) -> None:
        if self._task is not None:
            self._task.cancel()

    def _finish(self, task: asyncio.Task[Any]) -> None:
        error: BaseException | None = RuntimeError("the call was cancelled") if task.cancelled() else task.exception()
        result = None if error is not None else task.result()
        with contextlib.suppress(RuntimeError):  # the caller's loop is closed: the plugin has ended
            self._home.put(lambda: self._settle(result, error))

    def _settle(self, result: Any, error: BaseException | None) -> None:
        """Runs in the caller's loop."""
        if self.answer.done():  # its caller has gone
            return
        if error is not None:
            self.answer.set_exception(error)
        else:
            self.answer.set_result(result)
