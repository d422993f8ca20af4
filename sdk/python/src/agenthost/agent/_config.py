"""The plugin's configuration: a dataclass, checked key by key before the plugin sees it.

pydantic does the work. The texts of durations, and what is said of what is wrong, are those of all SDKs:
sdk/testdata/config.json has them.
"""

from __future__ import annotations

import copy
import dataclasses
import datetime
import json
import typing
from collections.abc import Iterator, Mapping
from typing import Any, Generic, TypeVar

import pydantic

from agenthost.plugin import ConfigError, LoadError

from ._configtypes import (
    DURATION,
    DURATION_SCHEMA,
    SECRET_ITSELF,
    WRONG_TYPE,
    SecretRef,
    format_duration,
    parse_duration,
)
from ._errors import FailedPrecondition, InvalidArgument
from ._typed import adapter, dotted

C = TypeVar("C")

Schema = dict[str, Any]
"""A part of a JSON Schema."""


class Configuration(Generic[C]):
    """Reads the `config:` block of the host's file as a C, a dataclass or a pydantic model."""

    def __init__(self, type: type[C]) -> None:
        _forbid_unknown_keys(type)
        try:
            self._adapter: pydantic.TypeAdapter[C] = pydantic.TypeAdapter(type)
            self._schema: Schema = self._adapter.json_schema()
        except Exception as e:
            raise LoadError(f"the configuration type {type.__name__} has no JSON Schema: {e}") from e

    @property
    def schema(self) -> str:
        """For people and editors: with durations as they are written."""
        return json.dumps(_with_durations(copy.deepcopy(self._schema)))

    def read(self, block: str) -> tuple[C | None, list[ConfigError]]:
        """The configuration, or everything that is wrong with it."""
        try:
            value = json.loads(block or "{}")
        except ValueError as e:
            return None, [ConfigError("", f"the block must be a mapping of keys to values: {e}")]
        if not isinstance(value, dict):
            return None, [ConfigError("", f"the block must be a mapping of keys to values: it is {_kind(value)}")]
        errors: dict[str, ConfigError] = {}
        prepared = self._prepared(value, self._schema, "", errors)
        found = None
        try:
            # JSON mode: a duration is a text, a tuple a list.
            found = self._adapter.validate_json(json.dumps(prepared), strict=True)
        except pydantic.ValidationError as e:
            errors = {error.key: error for error in self._told(e, value)} | errors
        if not errors:
            errors = {error.key: error for error in _missing_secrets(found, "")}
        return (None if errors else found), sorted(errors.values(), key=lambda error: error.key)

    def _prepared(self, value: Any, schema: Schema, key: str, errors: dict[str, ConfigError]) -> Any:
        """A block as pydantic reads it: durations in its form, and without keys that are null and need not be given."""
        variants = self._variants(schema)
        if isinstance(value, dict):
            taken: Schema = next((one for one in variants if "properties" in one or "additionalProperties" in one), {})
            prepared = {}
            for name, inner in value.items():
                at = _inner(taken, name)
                if inner is None and self._may_be_left_out(taken, name):
                    continue
                prepared[name] = self._prepared(inner, at, dotted((*(key,) * bool(key), name)), errors)
            return prepared
        if isinstance(value, list):
            taken = next((one for one in variants if one.get("type") == "array"), {})
            return [self._prepared(one, _inner(taken, i), f"{key}[{i}]", errors) for i, one in enumerate(value)]
        return self._in_pydantics_form(value, [one for one in variants if one.get("type") != "null"], key, errors)

    def _in_pydantics_form(self, value: Any, variants: list[Schema], key: str, errors: dict[str, ConfigError]) -> Any:
        durations = [one for one in variants if one.get("format") == "duration"]
        if (
            value is None
            or not durations
            or any(one.get("type") == "string" and one not in durations for one in variants)
        ):
            return value
        try:
            if not isinstance(value, str):
                raise ValueError(f"must be {DURATION}")
            return json.loads(adapter(datetime.timedelta).dump_json(parse_duration(value)))
        except ValueError as e:
            if len(variants) == len(durations):
                errors[key] = ConfigError(key, f"{e}, got {_given(value)}")
            return value

    def _may_be_left_out(self, schema: Schema, name: str) -> bool:
        if name not in schema.get("properties", {}) or name in schema.get("required", ()):
            return False
        # One that takes null gets it: null may mean something else there than what it is by default.
        return not any(one.get("type") == "null" or not one for one in self._variants(schema["properties"][name]))

    def _told(self, failure: pydantic.ValidationError, block: Any) -> Iterator[ConfigError]:
        """What is wrong, once for each key: a value that fits none of several types has an error for each of them."""
        wanted: dict[str, list[str]] = {}
        given: dict[str, Any] = {}
        for part in failure.errors(include_url=False):
            location, value = _place(part, block)
            key = dotted(location)
            expected = self._expected(part, self._at(location))
            if expected is None:
                yield ConfigError(key, self._said(part, location, value))
            elif expected not in wanted.setdefault(key, []):
                wanted[key].append(expected)
                given[key] = value
        for key, kinds in wanted.items():
            yield ConfigError(key, f"must be {' or '.join(kinds)}, got {_given(given[key])}")

    def _expected(self, part: Any, schema: Schema) -> str | None:
        """What an error wants to have been given instead; None for those that say it in another way."""
        kind, context = part["type"], part.get("ctx", {})
        if kind in ("enum", "literal_error"):
            allowed = [one for variant in self._variants(schema) for one in variant.get("enum", [variant.get("const")])]
            return f"one of {', '.join(str(one) for one in allowed if one is not None)}"
        if kind == WRONG_TYPE:
            return str(context["wanted"])
        for bound, words in _BOUNDS.items():
            if kind == bound:
                (limit,) = context.values()
                return f"{words} {limit}"
        return next((words for names, words in _WORDS.items() if kind.startswith(names)), None)

    def _said(self, part: Any, location: tuple[int | str, ...], value: Any) -> str:
        kind, message = part["type"], part["msg"]
        if kind in ("extra_forbidden", "unexpected_keyword_argument"):
            return f"unknown key: {_suggest(str(location[-1]), self._keys_at(location[:-1]))}"
        if kind in ("missing", "missing_argument"):
            return "is required"
        if kind == SECRET_ITSELF:
            return str(message)
        said = message.removeprefix("Value error, ").removeprefix("Assertion failed, ")
        if said == message:
            said = message.replace("Input should be ", "must be ", 1)
            said = f"{said[0].lower()}{said[1:]}"
        return str(said) if isinstance(value, (dict, list)) else f"{said}, got {_given(value)}"

    def _keys_at(self, location: tuple[int | str, ...]) -> list[str]:
        return sorted({name for one in self._variants(self._at(location)) for name in one.get("properties", {})})

    def _at(self, location: tuple[int | str, ...]) -> Schema:
        """The part of the schema for a location; an empty one where it cannot be told."""
        schema = self._schema
        for part in location:
            schema = next((inner for one in self._variants(schema) if (inner := _inner(one, part))), {})
        return schema

    def _variants(self, schema: Schema) -> list[Schema]:
        """What a value may be one of, without references."""
        if "$ref" in schema:
            return self._variants(self._schema["$defs"][schema["$ref"].rsplit("/", 1)[-1]])
        for several in ("anyOf", "oneOf", "allOf"):
            if several in schema:
                return [variant for one in schema[several] for variant in self._variants(one)]
        return [schema]


_WORDS = {
    "string_type": "a string",
    "string_sub_type": "a string",
    "int_": "an integer",
    "float_": "a number",
    "decimal_type": "a number",
    "decimal_parsing": "a number",
    "bool_": "a boolean",
    "list_type": "a list",
    "tuple_type": "a list",
    "set_type": "a list",
    "frozen_set_type": "a list",
    "iterable_type": "a list",
    "dict_type": "a mapping",
    "mapping_type": "a mapping",
    "model_": "a mapping",
    "dataclass_": "a mapping",
    "time_delta_": DURATION,
}
"""What pydantic's kinds of errors want, by how their names begin."""

_BOUNDS = {
    "greater_than_equal": "at least",
    "less_than_equal": "at most",
    "greater_than": "more than",
    "less_than": "less than",
}


def _inner(schema: Schema, part: int | str) -> Schema:
    """The schema of an element or of a key's value."""
    if isinstance(part, int):
        first = schema.get("prefixItems", ())
        found = first[part] if part < len(first) else schema.get("items")
    else:
        found = schema.get("properties", {}).get(part) or schema.get("additionalProperties")
    return found if isinstance(found, dict) else {}


def _place(part: Any, block: Any) -> tuple[tuple[int | str, ...], Any]:
    """Where in a block an error is, and what is there. pydantic also names which of several types it has tried."""
    location: list[int | str] = []
    value = block
    for i, step in enumerate(part["loc"]):
        if (isinstance(value, dict) and step in value) or (isinstance(value, list) and isinstance(step, int)):
            value = value[step]
        elif not (i == len(part["loc"]) - 1 and part["type"] in ("missing", "missing_argument")):
            continue
        location.append(step)
    return tuple(location), value


def _with_durations(schema: Any) -> Any:
    """A schema with durations as they are written, not in pydantic's form."""
    if isinstance(schema, list):
        for one in schema:
            _with_durations(one)
    if not isinstance(schema, dict):
        return schema
    texts = [one for one in (schema, *schema.get("anyOf", ())) if isinstance(one, dict) and one.get("type") == "string"]
    if isinstance(schema.get("default"), str) and texts and all(one.get("format") == "duration" for one in texts):
        schema["default"] = format_duration(adapter(datetime.timedelta).validate_python(schema["default"]))
    if schema.get("format") == "duration" and schema.get("type") == "string":
        del schema["format"]
        schema.update({key: value for key, value in DURATION_SCHEMA.items() if key not in schema})
    for one in list(schema.values()):
        _with_durations(one)
    return schema


def _missing_secrets(value: Any, key: str) -> Iterator[ConfigError]:
    """The keys that name secrets which the plugin does not have."""
    if isinstance(value, SecretRef):
        try:
            value.get()
        except (FailedPrecondition, InvalidArgument) as e:
            yield ConfigError(key, str(e))
        return
    inner: Any = ()
    if isinstance(value, Mapping):
        inner = value.items()
    elif isinstance(value, (list, tuple)):
        inner = enumerate(value)
    elif isinstance(value, pydantic.BaseModel):
        inner = vars(value).items()
    elif dataclasses.is_dataclass(value):
        inner = ((field.name, getattr(value, field.name)) for field in dataclasses.fields(value))
    for name, one in inner:
        yield from _missing_secrets(
            one, f"{key}[{name}]" if isinstance(name, int) else f"{key}.{name}" if key else name
        )


def _forbid_unknown_keys(type: Any) -> None:
    """In dataclasses, at any depth, a key that nobody reads is a mistake. Models say it themselves."""
    for inner in typing.get_args(type):
        _forbid_unknown_keys(inner)
    if not dataclasses.is_dataclass(type) or "__pydantic_config__" in vars(type):
        return
    type.__pydantic_config__ = pydantic.ConfigDict(extra="forbid")  # type: ignore[union-attr]
    for hint in typing.get_type_hints(type).values():
        _forbid_unknown_keys(hint)


def _suggest(name: str, known: list[str]) -> str:
    close = _nearest(name, known)
    if close:
        return f'did you mean "{close}"?'
    return f"the keys are {', '.join(known)}" if known else "there are no keys here"


def _nearest(name: str, known: list[str]) -> str:
    """The key that was probably meant: at most two letters away, or a third of the name's, as the host has it."""
    best, limit = "", 1 + max(2, len(name.encode()) // 3)
    for candidate in known:
        away = _distance(name.lower(), candidate.lower())
        if away < limit and away < len(candidate):  # at its whole length they have nothing in common
            best, limit = candidate, away
    return best


def _distance(a: str, b: str) -> int:
    """Levenshtein's: how many letters are inserted, deleted or substituted between two texts."""
    row = list(range(len(b) + 1))
    for i, one in enumerate(a):
        diagonal, row[0] = row[0], i + 1
        for j, other in enumerate(b):
            substituted = diagonal + (one != other)
            diagonal = row[j + 1]
            row[j + 1] = min(row[j] + 1, row[j + 1] + 1, substituted)
    return row[-1]


def _kind(value: Any) -> str:
    return {type(None): "null", list: "a list", str: "a string", bool: "a boolean"}.get(type(value), "a number")


def _given(value: Any) -> str:
    """A value as the block has it; lists and mappings by their kind alone."""
    if isinstance(value, dict):
        return "a mapping"
    return "a list" if isinstance(value, list) else json.dumps(value, ensure_ascii=False)
