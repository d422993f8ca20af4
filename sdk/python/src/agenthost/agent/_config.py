"""The plugin's configuration: a dataclass, checked key by key before the plugin sees it."""

from __future__ import annotations

import dataclasses
import difflib
import json
import typing
from typing import Any, Generic, TypeVar

import pydantic

from agenthost.plugin import ConfigError, LoadError

from ._typed import dotted

C = TypeVar("C")


class Configuration(Generic[C]):
    """Reads the `config:` block of the host's file as a C, a dataclass or a pydantic model."""

    def __init__(self, type: type[C]) -> None:
        _forbid_unknown_keys(type)
        try:
            self._adapter: pydantic.TypeAdapter[C] = pydantic.TypeAdapter(type)
            self._schema: dict[str, Any] = self._adapter.json_schema()
        except Exception as e:
            raise LoadError(f"the configuration type {type.__name__} has no JSON Schema: {e}") from e

    @property
    def schema(self) -> str:
        return json.dumps(self._schema)

    def read(self, block: str) -> tuple[C | None, list[ConfigError]]:
        """The configuration, or everything that is wrong with it."""
        try:
            value = json.loads(block or "{}")
        except ValueError as e:
            return None, [ConfigError("", f"the block must be a mapping of keys to values: {e}")]
        if not isinstance(value, dict):
            return None, [ConfigError("", f"the block must be a mapping of keys to values: it is {_kind(value)}")]
        try:
            # JSON mode: a duration is a text, a tuple a list.
            return self._adapter.validate_json(json.dumps(value), strict=True), []
        except pydantic.ValidationError as e:
            return None, sorted(
                (self._error(part) for part in e.errors(include_url=False)), key=lambda error: error.key
            )

    def _error(self, part: Any) -> ConfigError:
        location, kind = part["loc"], part["type"]
        key = dotted(location)
        if kind in ("extra_forbidden", "unexpected_keyword_argument"):
            return ConfigError(key, f"unknown key: {_suggest(str(location[-1]), self._keys_at(location[:-1]))}")
        if kind in ("missing", "missing_argument"):
            return ConfigError(key, "is required")
        message = part["msg"].removeprefix("Input should be ").removeprefix("Value error, ")
        if message == part["msg"]:
            return ConfigError(key, f"{message[0].lower()}{message[1:]}")
        wanted = message if part["msg"].startswith("Value") else f"must be {message}"
        return ConfigError(key, f"{wanted}, got {json.dumps(part['input'], default=str)}")

    def _keys_at(self, location: tuple[int | str, ...]) -> list[str]:
        schema = self._resolved(self._schema)
        for part in location:
            inner = schema.get("items") if isinstance(part, int) else schema.get("properties", {}).get(part)
            others = schema.get("additionalProperties")
            schema = self._resolved(inner or (others if isinstance(others, dict) else {}))
        return sorted(schema.get("properties", {}))

    def _resolved(self, schema: dict[str, Any]) -> dict[str, Any]:
        for variant in schema.get("anyOf", ()):  # X | None
            if "$ref" in variant:
                schema = variant
        if "$ref" in schema:
            schema = self._schema["$defs"][schema["$ref"].rsplit("/", 1)[-1]]
        return schema


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
    close = difflib.get_close_matches(name, known, n=1)
    if close:
        return f'did you mean "{close[0]}"?'
    return f"the keys are {', '.join(known)}" if known else "there are no keys here"


def _kind(value: Any) -> str:
    return {type(None): "null", list: "a list", str: "a string", bool: "a boolean"}.get(type(value), "a number")
