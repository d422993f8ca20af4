"""The host's word that this process is being replaced, for what goes on behind the calls."""

from __future__ import annotations

import asyncio
import threading
from collections.abc import Callable


class Replaced:
    """Whether this process of the plugin is being replaced, in any thread and any event loop.

    It is when the host has begun to let the calls under way end, and a newer process takes all new ones; or, with hosts
    that do not tell, when it asks the process to stop. The agents are closed afterwards.
    """

    def __init__(self) -> None:
        self._event = threading.Event()
        self._lock = threading.Lock()
        self._waiting: dict[object, Callable[[], object]] = {}

    def __bool__(self) -> bool:
        return self._event.is_set()

    async def wait(self) -> None:
        """Waits until it is."""
        loop = asyncio.get_running_loop()
        told, key = asyncio.Event(), object()
        with self._lock:
            if self._event.is_set():
                return
            self._waiting[key] = lambda: loop.call_soon_threadsafe(told.set)
        try:
            await told.wait()
        finally:
            with self._lock:
                self._waiting.pop(key, None)

    def wait_in_thread(self, seconds: float | None = None) -> bool:
        """Waits in a thread until it is, or for some seconds. Returns whether it is."""
        return self._event.wait(seconds)

    def set(self) -> None:
        """Tells all who wait."""
        with self._lock:
            self._event.set()
            waiting, self._waiting = list(self._waiting.values()), {}
        for tell in waiting:
            tell()
