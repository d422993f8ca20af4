"""Turns what an agent's call raises into an answer, and logs what the answer leaves out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator, Awaitable
from typing import TypeVar

import grpc.aio

from ._errors import CallError, status_of

_log = logging.getLogger("agenthost")

T = TypeVar("T")


async def guarded(context: grpc.aio.ServicerContext, agent: str, category: str, method: str, call: Awaitable[T]) -> T:
    """Awaits a call. What it raises ends the RPC with a status that names the agent; the traceback goes to the log."""
    try:
        return await call
    except asyncio.CancelledError:
        raise
    except Exception as e:
        await _refuse(context, agent, category, method, e)
        raise


async def guarded_stream(
    context: grpc.aio.ServicerContext, agent: str, category: str, method: str, parts: AsyncIterator[T]
) -> AsyncIterator[T]:
    """Like guarded, for a call that yields its answer in parts."""
    try:
        async for part in parts:
            yield part
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as e:
        await _refuse(context, agent, category, method, e)


async def _refuse(context: grpc.aio.ServicerContext, agent: str, category: str, method: str, error: Exception) -> None:
    status = status_of(agent, method, error)
    # What an agent raises on purpose, with a code, needs no traceback.
    expected = isinstance(error, (CallError, NotImplementedError))
    _log.log(
        logging.INFO if expected else logging.ERROR,
        "a call failed",
        exc_info=None if expected else error,
        extra={
            "agent": agent,
            "task_category": category,
            "method": method,
            "code": status.code.name,
            "error": str(status),
        },
    )
    await context.abort(status.code, str(status))
