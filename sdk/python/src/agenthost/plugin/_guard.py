"""Turns what an agent's call raises into an answer, and logs what the answer leaves out."""

from __future__ import annotations

import asyncio
import logging
from collections.abc import AsyncIterator
from typing import TypeVar

from ._errors import CallError, status_of

_log = logging.getLogger("agenthost")

T = TypeVar("T")


def refused(agent: str, category: str, method: str, error: BaseException) -> CallError:
    """The status of a call that raised an error, which names the agent. The traceback goes to the log."""
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
    return status


async def guarded_stream(agent: str, category: str, method: str, parts: AsyncIterator[T]) -> AsyncIterator[T]:
    """The parts of an answer. What raises one ends it with the CallError that `refused` makes of it."""
    try:
        async for part in parts:
            yield part
    except (asyncio.CancelledError, GeneratorExit):
        raise
    except Exception as e:
        raise refused(agent, category, method, e) from e
