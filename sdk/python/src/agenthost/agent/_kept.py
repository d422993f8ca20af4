"""What Flyte keeps of a job is read back before it is given away: what cannot be loses the job at its first poll."""

from __future__ import annotations

import dataclasses
from collections.abc import Iterator, Mapping
from typing import Any

import pydantic

from ._agents import AsyncAgent


def kept(agent: AsyncAgent[Any], method: str, meta: Any) -> bytes:
    """A job's metadata as Flyte keeps it.

    :param method: whose result it is, create or find.
    :raises TypeError: the polls would not get what the method returned; the message says what, and what to do.
    """
    wanted = _name(agent.metadata_type())
    if meta is None:
        raise TypeError(f"{method} returned None, by which no poll finds the job: return its {wanted}")
    returned = f"{method} returned {_name(type(meta))}, which"
    try:
        data = agent.encode(meta)
    except Exception as e:
        raise TypeError(f"{returned} cannot be written as {wanted}{_culprit(meta)}: {e}") from e
    if not isinstance(data, bytes):
        raise TypeError(f"encode returned {_name(type(data))} for what {method} returned: return bytes")
    try:
        again = agent.decode(data)
    except Exception as e:
        raise TypeError(f"{returned} cannot be read back as {wanted}: {e}") from e
    if type(agent).encode is AsyncAgent.encode:  # a codec of the agent's own may change values, on purpose
        check_same(returned, meta, again)
    return data


def check_same(what: str, before: Any, after: Any) -> None:
    """TypeError where something was not read back as it was; the message begins with what it is."""
    for key, was, has_become in _differences("", before, after):
        where = f"its {key}" if key else "it"
        raise TypeError(f"{what} is not read back as it was: {where} was {_show(was)} and is then {_show(has_become)}")


def _culprit(meta: Any) -> str:
    """The field that has no JSON."""
    for key, value in _fields(meta):
        try:
            pydantic.TypeAdapter(Any).dump_json(value)
        except Exception:
            return f", for its {key}"
    return ""


def _differences(key: str, before: Any, after: Any) -> Iterator[tuple[str, Any, Any]]:
    """Where a value that was read back is another. A tuple may be a list; a class may not be another class."""
    fields = dict(_fields(before))
    if fields or isinstance(before, Mapping):
        others = dict(_fields(after))
        if type(before) is not type(after) or set(fields) != set(others):
            yield key, before, after
            return
        for name, value in fields.items():
            yield from _differences(f"{key}.{name}" if key else str(name), value, others[name])
    elif isinstance(before, (list, tuple)):
        if not isinstance(after, (list, tuple)) or len(before) != len(after):
            yield key, before, after
            return
        for i, (one, other) in enumerate(zip(before, after, strict=True)):
            yield from _differences(f"{key}[{i}]", one, other)
    elif isinstance(before, (set, frozenset)):
        if not isinstance(after, (set, frozenset, list, tuple)) or set(before) != set(after):
            yield key, before, after
    elif not _has_equality(before):
        if type(before) is not type(after):
            yield key, before, after
    elif before != after and not (before != before and after != after):
        yield key, before, after


def _fields(value: Any) -> list[tuple[Any, Any]]:
    """What is kept of a value by names."""
    if isinstance(value, Mapping):
        return list(value.items())
    if isinstance(value, pydantic.BaseModel):
        written = (name for name, field in type(value).model_fields.items() if not field.exclude)
        return [(name, getattr(value, name)) for name in written]
    if dataclasses.is_dataclass(value) and not isinstance(value, type):
        return [(field.name, getattr(value, field.name)) for field in dataclasses.fields(value) if field.compare]
    return []


def _has_equality(value: Any) -> bool:
    return any("__eq__" in vars(cls) for cls in type(value).__mro__[:-1])


def _name(of: Any) -> str:
    return str(getattr(of, "__name__", of))


def _show(value: Any) -> str:
    return f"{_name(type(value))} {value!r:.80}"
