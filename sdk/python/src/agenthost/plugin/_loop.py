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
from collections.abc import AsyncIterator, Callable, Coroutine, Mapping, Sequence
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
            return await self.do(_Function(function, args, kwargs))
        result = await self._in_thread(function, *args, **kwargs)
        if inspect.isawaitable(result):  # a plain method that returns a coroutine, as decorators make them
            return await self.do(_Function(_awaited, (result,)))
        return result

    async def set_up(self, function: Callable[..., Any], /, *args: Any, **kwargs: Any) -> Any:
        """Calls a function of any kind in the agent's loop. It comes before the first task, and so may block there."""

        async def run() -> Any:
            result = function(*args, **kwargs)
            return await result if inspect.isawaitable(result) else result

        return await self.do(_Function(run), watched=False)

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

        pumping = asyncio.ensure_future(self.do(_Function(pump)))
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
            except _EXITS as e:
                raise _exited(e) from e

        return await asyncio.get_running_loop().run_in_executor(self._threads, call)

    async def do(self, errand: Errand, watched: bool = True) -> Any:
        """Has an errand run in the agent's loop, and waits for what comes of it."""
        back = asyncio.get_running_loop().create_future()

        def settle(_: Errand) -> None:
            if not back.done():  # its caller has gone
                back.set_result(None)

        self.send((errand,), settle, watched)
        try:
            await back
        except asyncio.CancelledError:
            self.recall(errand)
            raise
        if errand.error is not None:
            raise errand.error
        return errand.result

    def send(self, errands: Sequence[Errand], settle: Callable[[Any], None], watched: bool = True) -> None:
        """Has errands run in the agent's loop, each by itself, for the price of one wake-up.

        :param settle: gets each when it is back, in the loop that this is called in; not those that were recalled.
        """
        inbox, pulse = self._started()
        home = self._answers_to()
        if watched:
            pulse.begin(len(errands))
        for errand in errands:
            errand.leave(home, settle, pulse if watched else None)
        inbox.put(*(errand.begin for errand in errands))

    def recall(self, errand: Errand) -> None:
        """Ends an errand that nobody waits for any more; in the loop that it was sent from."""
        inbox, _ = self._started()
        errand.give_up()
        inbox.put(errand.cancel)

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


class _Inbox:
    """What other threads have to do in an event loop. One wake-up takes it to all that has come by then: each is a
    system call, during which the other threads take Python's lock, and then keep it for a while."""

    def __init__(self, loop: asyncio.AbstractEventLoop) -> None:
        self.loop = loop
        self._waiting: collections.deque[Callable[[], None]] = collections.deque()
        self._woken = False

    def put(self, *functions: Callable[[], None]) -> None:
        """Has functions run in the loop, behind those that came before; RuntimeError once the loop is closed. They
        must not raise: those behind them would be lost."""
        self._waiting.extend(functions)
        if not self._woken:
            self._woken = True
            self.loop.call_soon_threadsafe(self._take)

    def _take(self) -> None:
        self._woken = False  # before it looks: what comes later wakes the loop again
        for _ in range(len(self._waiting)):
            self._waiting.popleft()()


class Errand:
    """What is to be done in an agent's loop, on its way there and back. One whose caller has gone before it was begun
    is not begun."""

    __slots__ = ("_context", "_gone", "_home", "_pulse", "_settle", "_task", "error", "result")

    _home: _Inbox
    _settle: Callable[[Any], None]

    def __init__(self) -> None:
        self.result: Any = None
        """What `run` returned, once it is back."""
        self.error: BaseException | None = None
        """What it raised instead."""
        self._context = contextvars.copy_context()
        self._gone = False
        self._pulse: Pulse | None = None
        self._task: asyncio.Task[None] | None = None

    async def run(self) -> Any:
        """Does it, in the agent's loop."""
        raise NotImplementedError

    def explain(self, error: BaseException) -> BaseException:
        """What the caller gets of an error, if it still waits; in the agent's loop, within the call."""
        return error

    # In the caller's loop:

    def leave(self, home: _Inbox, settle: Callable[[Any], None], pulse: Pulse | None) -> None:
        self._home, self._settle, self._pulse = home, settle, pulse

    def give_up(self) -> None:
        self._gone = True
        self._end_pulse()

    def _arrive(self) -> None:
        if not self._gone:
            self._end_pulse()
            self._settle(self)

    def _end_pulse(self) -> None:
        if self._pulse is not None:
            self._pulse.end()
            self._pulse = None

    # In the agent's loop:

    def begin(self) -> None:
        if not self._gone:
            self._task = self._context.run(asyncio.get_running_loop().create_task, self._run())

    def cancel(self) -> None:
        if self._task is not None:
            self._task.cancel()

    async def _run(self) -> None:
        try:
            self.result = await self.run()
        except BaseException as e:
            self.error = _exited(e) if isinstance(e, _EXITS) else e
            if isinstance(e, asyncio.CancelledError):
                self.error = RuntimeError("the call was cancelled")
            if not self._gone:
                self.error = self.explain(self.error)
        finally:
            with contextlib.suppress(RuntimeError):  # the caller's loop is closed: the plugin has ended
                self._home.put(self._arrive)


class _Function(Errand):
    """Calls a function that returns a coroutine."""

    __slots__ = ("_args", "_function", "_kwargs")

    def __init__(
        self,
        function: Callable[..., Coroutine[Any, Any, Any]],
        args: Sequence[Any] = (),
        kwargs: Mapping[str, Any] | None = None,
    ) -> None:
        super().__init__()
        self._function, self._args, self._kwargs = function, args, kwargs or {}

    async def run(self) -> Any:
        return await self._function(*self._args, **self._kwargs)  # within it, which alone ends by a wrong call


_EXITS = (SystemExit, KeyboardInterrupt, GeneratorExit)


def _exited(error: BaseException) -> Exited:
    code = f"({error.code!r})" if isinstance(error, SystemExit) else ""
    return Exited(f"the call tried to end the process with {type(error).__name__}{code}; only the call has ended")
