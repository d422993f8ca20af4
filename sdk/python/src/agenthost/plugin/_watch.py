"""Finds event loops that do not come round, and says in the log where they stand."""

from __future__ import annotations

import asyncio
import asyncio.events
import logging
import os
import sys
import sysconfig
import threading
import time
import traceback
from collections.abc import Callable

_log = logging.getLogger("agenthost")

INTERVAL = 0.25
"""Seconds between two looks."""

MISSED = 2
"""How many looks a loop may miss. They are counted, not timed: a busy machine delays whoever looks, too."""


STANDSTILL = 2.0
"""Seconds that a look may be late before that is worth a line: then no thread of the process ran."""


class Pulse:
    """Whether one event loop comes round while there are calls for it."""

    def __init__(self, loop: asyncio.AbstractEventLoop, thread: threading.Thread, name: Callable[[], str]) -> None:
        self._loop, self._thread, self._name = loop, thread, name
        self._calls = 0  # only the caller's loop counts
        # The rest is the watch's, but for _answered_at, which the loop sets.
        self._asked_at = 0.0
        self._answered_at: float | None = 0.0
        self._missed = 0
        self._stands_at = ""
        _watch.add(self)

    def begin(self, calls: int = 1) -> None:
        """Calls wait for the loop from now on, or run in it, each until `end`."""
        self._calls += calls
        _watch.wake()

    def end(self) -> None:
        self._calls -= 1

    @property
    def name(self) -> str:
        """The agents whose loop it is."""
        return self._name()

    @property
    def has_calls(self) -> bool:
        return self._calls > 0

    @property
    def needs_watching(self) -> bool:
        return self.has_calls or self._answered_at is None

    def look(self) -> None:
        """Asks the loop for an answer, and says where it stands when it has given none."""
        if self._answered_at is None:
            self._missed += 1
            if self._missed >= MISSED and not self._stands_at:
                self._tell_where()
            return
        if self._stands_at:
            self._tell_end(self._answered_at - self._asked_at)
        self._missed, self._stands_at = 0, ""
        if self.has_calls:
            self._asked_at, self._answered_at = time.monotonic(), None
            self._loop.call_soon_threadsafe(self._answer)

    def _answer(self) -> None:
        self._answered_at = time.monotonic()

    def _tell_where(self) -> None:
        stack = _stack(self._thread)
        if not stack:  # it does nothing at the moment: it only had no processor
            return
        self._stands_at = _culprit(stack)
        _log.warning(
            "an agent blocks its event loop, and its calls wait: in an async method, await an async client, or write a "
            "plain method, which runs in a thread",
            extra={
                "agent": self.name,
                "stands_at": self._stands_at,
                "stack": "".join(traceback.StackSummary.from_list(stack).format()),
            },
        )

    def _tell_end(self, seconds: float) -> None:
        _log.warning(
            "the agent's event loop goes on",
            extra={"agent": self.name, "stood_at": self._stands_at, "seconds": round(seconds, 1)},
        )


class _Watch:
    """One thread, which looks at all loops while one of them has calls, and sleeps otherwise."""

    def __init__(self) -> None:
        self._pulses: list[Pulse] = []
        self._awake = threading.Event()
        self._woken_at = 0.0

    def add(self, pulse: Pulse) -> None:
        self._pulses.append(pulse)
        if len(self._pulses) == 1:
            threading.Thread(target=self._run, name="watch over event loops", daemon=True).start()

    def wake(self) -> None:
        if not self._awake.is_set():
            self._woken_at = time.monotonic()
            self._awake.set()

    def _run(self) -> None:
        while True:
            for pulse in list(self._pulses):
                pulse.look()
            if not self._needed():
                self._awake.clear()
                if not self._needed():  # asked again: a call may have come before it was cleared
                    self._awake.wait()
                    self._look_at_lateness(time.monotonic() - self._woken_at)
            asleep = time.monotonic()
            time.sleep(INTERVAL)
            self._look_at_lateness(time.monotonic() - asleep - INTERVAL)

    def _look_at_lateness(self, seconds: float) -> None:
        """A thread that only sleeps is late when none could run, also where a call wakes it and stops all others."""
        if seconds > STANDSTILL:
            self._tell_standstill(seconds)

    def _tell_standstill(self, seconds: float) -> None:
        _log.warning(
            "no thread of this plugin ran for a while, that of health checks neither: native code held Python's lock, "
            "or the machine had no time for it",
            extra={
                "seconds": round(seconds, 1),
                "agents_with_calls": ", ".join(pulse.name for pulse in list(self._pulses) if pulse.has_calls),
            },
        )

    def _needed(self) -> bool:
        return any(pulse.needs_watching for pulse in list(self._pulses))


_watch = _Watch()


def _stack(thread: threading.Thread) -> list[traceback.FrameSummary]:
    """What the loop's thread runs, from the loop's callback down; empty while it runs none."""
    frame = sys._current_frames().get(thread.ident or 0)
    stack = list(traceback.extract_stack(frame)) if frame is not None else []
    for i, one in enumerate(stack):
        if one.filename == asyncio.events.__file__ and one.name == "_run":
            return stack[i + 1 :]
    return []


_STANDARD_LIBRARY = sysconfig.get_paths()["stdlib"] + os.sep
_OURS = os.path.dirname(os.path.dirname(__file__)) + os.sep


def _culprit(stack: list[traceback.FrameSummary]) -> str:
    """The innermost line of code that somebody wrote for this agent: neither the standard library's, nor a package's.

    For an agent that is a package itself (flytekit's connectors), the line that it left its own code at cannot be told
    from its libraries': it is the outermost line that is not of this package.
    """
    foreign = [one for one in stack if not one.filename.startswith((_STANDARD_LIBRARY, _OURS, "<frozen"))]
    own = [one for one in foreign if not {"site-packages", "dist-packages"} & set(one.filename.split(os.sep))]
    found = own[-1] if own else foreign[0] if foreign else stack[-1]
    return f"{found.filename}:{found.lineno} in {found.name}"
