"""Values of declared Python types from what came over the wire; pydantic does the work."""

from __future__ import annotations

import collections
import dataclasses
import enum
import functools
from collections.abc import Iterable, Iterator, Mapping
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
        found = adapter(wanted).validate_python(value, strict=strict)
    except pydantic.ValidationError as e:
        raise ValueError(reasons(e)) from None
    _refuse_rounded(value, found)
    return found


def _refuse_rounded(value: Any, found: Any) -> None:
    """pydantic takes an int for a float, the nearest one where none equals it."""
    lost = {_nearest(n): n for n in _scalars(value) if type(n) is int and _nearest(n) != n}
    if not lost:
        return
    floats = collections.Counter(x for x in _scalars(found) if isinstance(x, float))
    floats.subtract(x for x in _scalars(value) if isinstance(x, float))
    for number, n in lost.items():
        if floats[number] > 0:
            raise ValueError(f"a float cannot hold {n}")


def _nearest(n: int) -> float:
    try:
        return float(n)
    except OverflowError:
        return float("inf")


def _scalars(value: Any) -> Iterator[Any]:
    """What is in a value, at any depth."""
    inner: Iterable[Any]
    if isinstance(value, Mapping):
        inner = value.values()
    elif isinstance(value, (list, tuple, set, frozenset)):
        inner = value
    elif isinstance(value, pydantic.BaseModel):
        inner = value.__dict__.values()
    elif dataclasses.is_dataclass(value) and not isinstance(value, type):
        inner = [getattr(value, field.name) for field in dataclasses.fields(value)]
    else:
        yield value
        return
    for each in inner:
        yield from _scalars(each)


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
