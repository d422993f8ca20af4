"""What goes wrong in a call, as a status that says it to whoever reads it."""

from __future__ import annotations

import asyncio
from typing import Any

import grpc

MAX_MESSAGE = 4 << 10
"""Bounds a status's message, in bytes: it travels in a header, for which clients have limits."""


class LoadError(Exception):
    """The plugin cannot be served; the message is for people."""


class CallError(Exception):
    """An error with a status code of its own, which reaches the caller as it is."""

    def __init__(self, code: grpc.StatusCode, message: str) -> None:
        super().__init__(message)
        self.code = code


class Exited(Exception):
    """A call tried to end the process, which is not its own."""


def status_of(agent: str, method: str, error: BaseException) -> CallError:
    """Turns whatever an agent's call raised into a status that names the agent."""
    described = str(error) or type(error).__name__
    if _code_of(error) is grpc.StatusCode.INTERNAL and not isinstance(error, (CallError, Exited)):
        described = f"{type(error).__name__}: {error}"
    return CallError(_code_of(error), cut(f"agent {agent}: {method}: {described}"))


def cut(text: str, limit: int = MAX_MESSAGE) -> str:
    """Keeps the head and the tail of a long text, where the reasons are."""
    data = text.encode()
    if len(data) <= limit:
        return text
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
