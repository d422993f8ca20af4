"""Values of declared Python types from what came over the wire; pydantic does the work."""

from __future__ import annotations

import enum
import functools
from typing import Any

import pydantic


@functools.lru_cache(maxsize=1024)
def adapter(wanted: Any) -> pydantic.TypeAdapter[Any]:
    return pydantic.TypeAdapter(wanted)


def read(value: Any, wanted: Any, strict: bool) -> Any:
    """A value as the wanted type. A strict one makes nothing of another kind of it: no "3" into 3.

    :raises ValueError: it does not fit; the message says where and why.
    """
    strict = strict and not (isinstance(wanted, type) and issubclass(wanted, enum.Enum))
    try:
        return adapter(wanted).validate_python(value, strict=strict)
    except pydantic.ValidationError as e:
        raise ValueError(reasons(e)) from None


def reasons(error: pydantic.ValidationError) -> str:
    return "; ".join(
        f"{dotted(part['loc'])}: {_message(part)}" if part["loc"] else _message(part)
        for part in error.errors(include_url=False, include_context=False)
    )


def dotted(location: tuple[int | str, ...]) -> str:
    """A location as a key: limits.memory, hosts[2]."""
    key = ""
    for part in location:
        key += f"[{part}]" if isinstance(part, int) else f".{part}" if key else part
    return key


def _message(part: Any) -> str:
    return f"{part['msg']}, got {type(part['input']).__name__} {part['input']!r:.80}"
