"""What a plugin's configuration writes as text: durations, sizes, and the names of secrets. The same in all SDKs."""

from __future__ import annotations

import datetime
import re
from fractions import Fraction
from typing import Any

from pydantic_core import PydanticCustomError, core_schema

from ._secrets import Secret, secret

DURATION = "a duration such as 30s or 1h30m"
SIZE = "a size such as 2GiB or 512MB"
SECRET_NAME = "the name of a secret"

WRONG_TYPE = "agenthost_wrong_type"
"""Errors of pydantic's that say what is wanted, in `wanted`."""
SECRET_ITSELF = "agenthost_secret_itself"
"""Errors of pydantic's whose input must not be shown."""

DURATION_SCHEMA = {
    "type": "string",
    "description": "A duration, such as 30s or 1h30m.",
    "pattern": r"^[+-]?(0|([0-9]+(\.[0-9]*)?|\.[0-9]+)(ns|us|µs|μs|ms|s|m|h))+$",
    "examples": ["30s", "1h30m"],
}
_SIZE_SCHEMA = {
    "type": "string",
    "description": "A size, such as 2GiB or 512MB.",
    "pattern": r"^[0-9]+(\.[0-9]+)? ?([kKMGT]i?)?B$",
    "examples": ["2GiB", "512MB"],
}
_SECRET_SCHEMA = {
    "type": "string",
    "description": "The name of one of the plugin's secrets.",
    "pattern": r"^[A-Za-z0-9_.-]+$",
    "examples": ["warehouse_token"],
}

_MICROS = {"us": 1, "µs": 1, "μs": 1, "ms": 10**3, "s": 10**6, "m": 60 * 10**6, "h": 3600 * 10**6}
_UNITS = {"ns": Fraction(1, 1000)} | {unit: Fraction(micros) for unit, micros in _MICROS.items()}
"""In microseconds, which Python's durations are whole numbers of."""
_NUMBER, _UNIT = r"[0-9]+(?:\.[0-9]*)?|\.[0-9]+", "ns|us|µs|μs|ms|s|m|h"
_PART = re.compile(f"({_NUMBER})({_UNIT})")
_DURATION = re.compile(f"([+-]?)(0|(?:(?:{_NUMBER})(?:{_UNIT}))+)")
_LONGEST = Fraction(2**63, 1000)
"""What Go's durations end before, in microseconds: some 292 years."""


def parse_duration(text: str) -> datetime.timedelta:
    """A duration as Go writes it: 90s, 1h30m, 250ms.

    :raises ValueError: it is none, or finer than Python's microseconds.
    """
    found = _DURATION.fullmatch(text)
    if not found:
        raise ValueError(f"must be {DURATION}")
    parts = _PART.findall(found[2])
    micros = sum((Fraction(f"0{number.rstrip('.')}") * _UNITS[unit] for number, unit in parts), Fraction())
    if micros >= _LONGEST:
        raise ValueError(f"must be {DURATION}")
    if micros.denominator != 1:
        raise ValueError("must be a duration of whole microseconds")
    return datetime.timedelta(microseconds=int(micros) * (-1 if found[1] == "-" else 1))


def format_duration(duration: datetime.timedelta) -> str:
    """A duration as it is written in a configuration."""
    micros = duration // datetime.timedelta(microseconds=1)
    sign, micros = "-" if micros < 0 else "", abs(micros)
    text = ""
    for unit in ("h", "m", "s", "ms", "us"):
        count, micros = divmod(micros, _MICROS[unit])
        text += f"{count}{unit}" if count else ""
    return sign + (text or "0s")


class Size(int):
    """A number of bytes, which a configuration writes as "2GiB" or "512MB".

    >>> Size("2GiB"), Size(1536), f"{Size('1.5KiB')}"
    (Size('2GiB'), Size('1536B'), '1536B')
    >>> Size("2GiB") // 2
    1073741824
    """

    _SIZE = re.compile(r"([0-9]+(?:\.[0-9]+)?) ?([kKMGT]i?|)B")
    _BINARY = ("Ti", "Gi", "Mi", "Ki")

    def __new__(cls, size: int | str) -> Size:
        """:raises ValueError: a text that is no size."""
        return super().__new__(cls, cls._bytes(size) if isinstance(size, str) else size)

    @classmethod
    def _bytes(cls, text: str) -> int:
        found = cls._SIZE.fullmatch(text)
        if found and found[2] != "ki":
            prefix = found[2]
            power = " kMGT".index(prefix[0].replace("K", "k")) if prefix else 0
            base = 1024 if prefix.endswith("i") else 1000
            size = int(Fraction(found[1]) * int(base**power))
            if size < 2**63:
                return size
        raise ValueError(f"must be {SIZE}, got {text!r}")

    def __str__(self) -> str:
        for i, prefix in enumerate(self._BINARY):
            unit = 1024 ** (len(self._BINARY) - i)
            if self and self % unit == 0:
                return f"{int(self) // unit}{prefix}B"
        return f"{int(self)}B"

    def __repr__(self) -> str:
        return f"Size('{self}')"

    def __format__(self, spec: str) -> str:
        return format(int(self), spec) if spec else str(self)

    @classmethod
    def _read(cls, value: Any) -> Size:
        try:
            if isinstance(value, (Size, str)):
                return cls(value)
        except ValueError:
            pass
        raise PydanticCustomError(WRONG_TYPE, "must be {wanted}", {"wanted": SIZE})

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(
            cls._read, serialization=core_schema.plain_serializer_function_ser_schema(str)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return dict(_SIZE_SCHEMA)


class SecretRef:
    """A key of the configuration that names one of the plugin's secrets. A configuration that names one which is not
    there is refused.

    >>> SecretRef("api_key").get()
    [secret]
    """

    __slots__ = ("name",)

    _NAME = re.compile(r"[A-Za-z0-9_.-]+")

    def __init__(self, name: str) -> None:
        self.name = name

    def get(self) -> Secret:
        """The secret, read anew each time, so that it can rotate."""
        return secret(self.name)

    def __repr__(self) -> str:
        return f"SecretRef({self.name!r})"

    def __eq__(self, other: object) -> bool:
        return isinstance(other, SecretRef) and other.name == self.name

    def __hash__(self) -> int:
        return hash(self.name)

    @classmethod
    def _read(cls, value: Any) -> SecretRef:
        if isinstance(value, SecretRef):
            return value
        if not isinstance(value, str):
            raise PydanticCustomError(WRONG_TYPE, "must be {wanted}", {"wanted": SECRET_NAME})
        if not cls._NAME.fullmatch(value):
            raise PydanticCustomError(
                SECRET_ITSELF,
                'must be the name of a secret, of letters, digits, "_", "-" and ".": what was given is not shown, as '
                "it may be a secret itself",
            )
        return cls(value)

    @classmethod
    def __get_pydantic_core_schema__(cls, source: Any, handler: Any) -> Any:
        return core_schema.no_info_plain_validator_function(
            cls._read, serialization=core_schema.plain_serializer_function_ser_schema(lambda ref: ref.name)
        )

    @classmethod
    def __get_pydantic_json_schema__(cls, schema: Any, handler: Any) -> dict[str, Any]:
        return dict(_SECRET_SCHEMA)
