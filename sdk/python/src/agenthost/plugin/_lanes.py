"""Where an agent's calls run: never on the loop that answers the host.

Agents are written by people who block where they must not: a synchronous client in an `async def`, `time.sleep`, even
`sys.exit`. Each agent therefore has lanes of its own, threads with an event loop each, and a pool of threads for plain
methods. Other agents, health checks and an orderly stop go on whatever one agent does.
"""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import contextvars
import inspect
import logging
import threading
from collections.abc import AsyncIterator, Callable, Coroutine
from typing import Any

from ._errors import Exited

_log = logging.getLogger("agenthost")

MAX_WAIT = 0.5
"""Seconds after which a lane that has not begun a call counts as blocked."""

LIMIT = 64
"""How many calls of one agent can block at once, in lanes as in threads."""


class Lanes:
    """Runs the calls of one agent.

    All coroutines run in one loop at first, so that clients which belong to their loop (aiohttp's sessions) can be kept
    between calls. When a call is not begun in time because another one blocks that loop, it is begun in another lane,
    and from then on every call has a lane to itself: an agent that blocks once, blocks again.
    """

    def __init__(self, name: str, max_wait: float = MAX_WAIT, limit: int = LIMIT) -> None:
        self._name = name
        self._max_wait = max_wait
        self._limit = limit
        self._lanes: list[_Lane] = []
        self._blocks = False
        self._threads: concurrent.futures.ThreadPoolExecutor | None = None

    async def call(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function or coroutine function, and returns or raises what it does. sys.exit raises Exited."""
        if inspect.iscoroutinefunction(function):
            return await self._in_lane(lambda: _without_exit(function(*args, **kwargs)))
        result = await self._in_thread(function, *args, **kwargs)
        if inspect.isawaitable(result):  # a plain method that returns a coroutine, as decorators make them
            return await self._in_lane(lambda: _without_exit(result))
        return result

    async def here(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Calls a method of the agent from within a call: a coroutine in this loop, a plain function in a thread."""
        if inspect.iscoroutinefunction(function):
            return await function(*args, **kwargs)
        result = await self._in_thread(function, *args, **kwargs)
        return await result if inspect.isawaitable(result) else result

    async def stream(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> AsyncIterator[Any]:
        """Calls a function of any kind and yields what it yields, as it comes; a single result is yielded alone."""
        if inspect.isasyncgenfunction(function):
            produced: Any = function(*args, **kwargs)
        else:
            produced = await self.call(function, *args, **kwargs)
        if hasattr(produced, "__aiter__"):
            async for part in self._pump(produced):
                yield part
        elif inspect.isgenerator(produced) or isinstance(produced, (list, tuple)):
            parts = iter(produced)
            while (part := await self._in_thread(next, parts, _END)) is not _END:
                yield part
        else:
            yield produced

    async def _pump(self, produced: AsyncIterator[Any]) -> AsyncIterator[Any]:
        """Brings what an iterator yields in its lane over to this loop, no faster than it is taken."""
        here = asyncio.get_running_loop()
        parts: asyncio.Queue[Any] = asyncio.Queue(maxsize=1)

        async def pump() -> None:
            async for part in produced:
                await asyncio.wrap_future(asyncio.run_coroutine_threadsafe(parts.put(part), here))

        pumping = asyncio.ensure_future(self._in_lane(lambda: _without_exit(pump())))
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
            self._threads = concurrent.futures.ThreadPoolExecutor(self._limit, f"{self._name} thread")
        context = contextvars.copy_context()

        def call() -> Any:
            try:
                return context.run(function, *args, **kwargs)
            except (SystemExit, KeyboardInterrupt, GeneratorExit) as e:
                raise _exited(e) from e

        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def _in_lane(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> Any:
        errand = _Errand(begin)
        try:
            self._choose().offer(errand)
            if not self._blocks and not await errand.begun_within(self._max_wait):
                self._blocks = True
                _log.warning(
                    "an agent blocks its event loop: its calls get a thread each from now on",
                    extra={"agent": self._name},
                )
            while not errand.begun and len(self._lanes) < self._limit:
                # Offered again, taken once: by the first lane that comes to it.
                self._choose().offer(errand)
                await errand.begun_within(self._max_wait)
            return await errand.result()
        except asyncio.CancelledError:
            errand.cancel()
            raise

    def _choose(self) -> _Lane:
        """The first lane, as long as nothing blocks it; later a lane without calls, or a new one, or the least busy."""
        if self._lanes and not self._blocks:
            return self._lanes[0]
        for lane in self._lanes:
            if not lane.calls:
                return lane
        if len(self._lanes) < self._limit:
            self._lanes.append(_Lane(f"{self._name} lane {len(self._lanes)}"))
            return self._lanes[-1]
        return min(self._lanes, key=lambda lane: lane.calls)


_END = object()


async def _without_exit(call: Any) -> Any:
    try:
        return await call
    except (SystemExit, KeyboardInterrupt) as e:
        raise _exited(e) from e


def _exited(error: BaseException) -> Exited:
    code = f"({error.code!r})" if isinstance(error, SystemExit) else ""
    return Exited(f"the call tried to end the process with {type(error).__name__}{code}; only the call has ended")


class _Errand:
    """A call that can be offered to several lanes, and runs in the one that comes to it first."""

    def __init__(self, begin: Callable[[], Coroutine[Any, Any, Any]]) -> None:
        self._begin = begin
        self._here = asyncio.get_running_loop()
        self._begun = asyncio.Event()
        self._done: concurrent.futures.Future[Any] = concurrent.futures.Future()
        self._taken = threading.Lock()  # whoever gets it runs the call; it is never given back
        self._task: asyncio.Task[Any] | None = None
        self._cancelled = False

    @property
    def begun(self) -> bool:
        return self._begun.is_set()

    async def begun_within(self, seconds: float) -> bool:
        if not self.begun:
            with contextlib.suppress(asyncio.TimeoutError):
                await asyncio.wait_for(self._begun.wait(), seconds)
        return self.begun

    async def result(self) -> Any:
        return await asyncio.wrap_future(self._done)

    def cancel(self) -> None:
        self._cancelled = True
        self._done.cancel()
        if (task := self._task) is not None:
            task.get_loop().call_soon_threadsafe(task.cancel)

    def run_in(self, lane: _Lane) -> None:
        """Begins the call in the lane's loop, unless another lane has it."""
        if not self._taken.acquire(blocking=False) or not self._done.set_running_or_notify_cancel():
            self._leave(lane)
            return
        self._here.call_soon_threadsafe(self._begun.set)
        self._task = asyncio.get_running_loop().create_task(self._begin())
        self._task.add_done_callback(self._finish)
        self._task.add_done_callback(lambda _: self._leave(lane))
        if self._cancelled:
            self._task.cancel()

    def _finish(self, task: asyncio.Task[Any]) -> None:
        if task.cancelled():
            self._done.set_exception(RuntimeError("the call was cancelled"))
        elif (error := task.exception()) is not None:
            self._done.set_exception(error)
        else:
            self._done.set_result(task.result())

    def _leave(self, lane: _Lane) -> None:
        self._here.call_soon_threadsafe(lane.left)


class _Lane:
    """A thread with an event loop that nothing can end."""

    def __init__(self, name: str) -> None:
        self.calls = 0  # those offered to it and not over; only the host's loop counts
        self._loop = asyncio.new_event_loop()
        threading.Thread(target=self._run, name=name, daemon=True).start()

    def offer(self, errand: _Errand) -> None:
        self.calls += 1
        self._loop.call_soon_threadsafe(errand.run_in, self)

    def left(self) -> None:
        self.calls -= 1

    def _run(self) -> None:
        asyncio.set_event_loop(self._loop)
        while True:
            try:
                self._loop.run_forever()
            except BaseException:  # a task that an agent left behind called sys.exit
                _log.exception("a task of an agent tried to end its event loop")
