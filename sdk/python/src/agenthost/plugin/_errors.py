"""What goes wrong in a call, as a status that says it to whoever reads it."""

from __future__ import annotations

import asyncio
import os
import re
import traceback
from typing import Any

import grpc

MAX_MESSAGE = 4 << 10
"""Bounds a status's message, in bytes: it travels in a header, for which clients have limits."""


class LoadError(Exception):
    """The plugin cannot be served; the message is for people."""


class CallError(Exception):
    """An error with a status code of its own, which reaches the caller as it is."""

    def __init__(self, code: grpc.StatusCode, message: str, trailers: tuple[tuple[str, str], ...] = ()) -> None:
        super().__init__(message)
        self.code = code
        self.trailers = trailers


class Exited(Exception):
    """A call tried to end the process, which is not its own."""


def status_of(agent: str, method: str, error: BaseException) -> CallError:
    """Turns whatever an agent's call raised into a status that names the agent."""
    described = str(error) or type(error).__name__
    if _code_of(error) is grpc.StatusCode.INTERNAL and not isinstance(error, (CallError, Exited)):
        described = f"{type(error).__name__}: {error}{_advice(error)}{_place(error)}"
    return CallError(_code_of(error), cut(f"agent {agent}: {method}: {described}"))


def _place(error: BaseException) -> str:
    """Where in the author's code it was raised, such as " (warehouse.py:53)"."""
    package = os.path.dirname(os.path.dirname(__file__))
    places = [
        f" ({os.path.basename(frame.filename)}:{frame.lineno})"
        for frame in traceback.extract_tb(error.__traceback__)
        if not frame.filename.startswith(package) and "site-packages" not in frame.filename
    ]
    return places[-1] if places else ""


_OF_ANOTHER_LOOP = re.compile(
    "attached to a different loop|bound to a different event loop|Event loop is closed|should be used inside a task"
)
"""What asyncio and aiohttp say of a client that was made in one event loop and is used in another."""


def _advice(error: BaseException) -> str:
    if isinstance(error, RuntimeError) and _OF_ANOTHER_LOOP.search(str(error)):
        return (
            " (the client was made in another event loop than this agent's: make it in an async method of this agent, "
            "give its own method to Plugin.configure, or let the agents share a loop by the same shared_loop)"
        )
    return ""


def cut(text: str, limit: int = MAX_MESSAGE) -> str:
    """Keeps the head and the tail of a long text, where the reasons are."""
    data = text.encode(errors="backslashreplace")
    if len(data) <= limit:
        return data.decode()
    half = limit // 2
    head, tail = data[:half].decode(errors="ignore"), data[-half:].decode(errors="ignore")
    return f"{head}\n… ({len(data) - 2 * half} bytes cut) …\n{tail}"


def _code_of(error: BaseException) -> grpc.StatusCode:
    if isinstance(error, CallError):
        return error.code
    if isinstance(error, NotImplementedError):
        return grpc.StatusCode.UNIMPLEMENTED
    if isinstance(error, (TimeoutError, asyncio.TimeoutError)):
        return grpc.StatusCode.DEADLINE_EXCEEDED
    if isinstance(error, asyncio.CancelledError):
        return grpc.StatusCode.CANCELLED
    return _foreign_code(error) or grpc.StatusCode.INTERNAL


def _foreign_code(error: BaseException) -> grpc.StatusCode | None:
    """The code that a client library's error carries: grpc's own as code(), Google's (REST too) as grpc_status_code."""
    carried: Any = getattr(error, "grpc_status_code", None)
    if carried is None and isinstance(error, grpc.RpcError):
        code = getattr(error, "code", None)
        carried = code() if callable(code) else None
    if isinstance(carried, grpc.StatusCode) and carried is not grpc.StatusCode.OK:
        return carried
    return None
