"""A configuration is read, and refused, as in all languages: sdk/testdata/config.json says how."""

from __future__ import annotations

import dataclasses
import datetime
import enum
import json
import pathlib
from collections.abc import Callable
from dataclasses import dataclass, field
from typing import Annotated, Any, Literal

import pydantic
import pytest

from agenthost.agent import (
    ConfigError,
    FailedPrecondition,
    Plugin,
    Resource,
    SecretRef,
    Size,
    SyncAgent,
    Task,
    Unavailable,
    secret,
    succeeded,
)
from agenthost.testing import Client

Run = Callable[[Plugin], Client]
GOLDEN = json.loads((pathlib.Path(__file__).parents[2] / "testdata" / "config.json").read_text())


class Region(enum.Enum):
    EU = "eu"
    US = "us"


@dataclass
class Limits:
    cpu: int = 0
    memory: Size = Size(0)


@dataclass
class Pool:
    name: str
    size: Size = Size(0)


@dataclass
class Config:
    region: Region
    name: str = "agenthost"
    retries: int = 3
    rate: float = 0
    dry_run: bool = False
    timeout: datetime.timedelta = datetime.timedelta(minutes=1)
    memory: Size = Size(0)
    limits: Limits | None = None
    hosts: list[str] = field(default_factory=list)
    pools: list[Pool] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)
    token: SecretRef | None = None


class PydanticLimits(pydantic.BaseModel, extra="forbid"):
    cpu: int = 0
    memory: Size = Size(0)


class PydanticPool(pydantic.BaseModel, extra="forbid"):
    name: str
    size: Size = Size(0)


class PydanticConfig(pydantic.BaseModel, extra="forbid"):
    region: Literal["eu", "us"]
    name: str = "agenthost"
    retries: int = 3
    rate: float = 0
    dry_run: bool = False
    timeout: datetime.timedelta = datetime.timedelta(minutes=1)
    memory: Size = Size(0)
    limits: PydanticLimits | None = None
    hosts: list[str] = []
    pools: list[PydanticPool] = []
    weights: dict[str, int] = {}
    token: SecretRef | None = None


class Nothing(SyncAgent):
    task_type = "nothing"

    def execute(self, task: Task) -> Resource:
        return succeeded()


def read(value: Any) -> Any:
    """A configuration as the golden file writes it."""
    if isinstance(value, datetime.timedelta):
        return value.total_seconds()
    if isinstance(value, SecretRef):
        return value.get().reveal()
    if isinstance(value, enum.Enum):
        return value.value
    if isinstance(value, pydantic.BaseModel):
        return {key: read(inner) for key, inner in value}
    if dataclasses.is_dataclass(value):
        return {one.name: read(getattr(value, one.name)) for one in dataclasses.fields(value)}
    return value


@pytest.mark.parametrize("type", [Config, PydanticConfig])
@pytest.mark.parametrize("case", GOLDEN["good"] + GOLDEN["bad"], ids=lambda case: case["name"])
def test_a_configuration_is_read_and_refused_as_in_all_languages(
    case: dict[str, Any], type: Any, agenthost_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    for name, value in GOLDEN["environment"].items():
        monkeypatch.setenv(name, value)
    taken: list[Any] = []
    client = agenthost_run(Plugin("p", "1", [Nothing()]).configure(type, taken.append))
    errors = [{"key": error.key, "message": error.message} for error in client.configure(case["config"])]
    assert errors == case.get("errors", [])
    if "read" in case:
        found = read(taken[0])
        assert {key: found[key] for key in case["read"]} == case["read"]


@dataclass
class Other:
    either: int | Size = 0
    any: datetime.timedelta | str = ""
    pause: datetime.timedelta | None = datetime.timedelta(seconds=90)
    pauses: dict[str, datetime.timedelta] = field(default_factory=dict)
    at_least: Annotated[int, pydantic.Field(ge=1)] = 1
    longer: Annotated[datetime.timedelta, pydantic.Field(gt=datetime.timedelta(seconds=5))] = datetime.timedelta(
        seconds=6
    )
    size: Size = Size("2GiB")
    refs: dict[str, list[SecretRef]] = field(default_factory=dict)
    even: int = 0

    def __post_init__(self) -> None:
        if self.even % 2:
            raise ValueError("even must be even")


def test_unions_bounds_and_what_python_cannot_hold(agenthost_run: Run) -> None:
    taken: list[Other] = []

    def errors(block: dict[str, Any]) -> list[str]:
        client = agenthost_run(Plugin("p", "1", [Nothing()]).configure(Other, taken.append))
        return [f"{error.key}: {error.message}" for error in client.configure(block)]

    assert errors({"either": True}) == [
        "either: must be an integer or a size such as 2GiB or 512MB, got true",
    ]
    assert errors({"pauses": {"a": "1s", "b": "1"}, "at_least": 0, "longer": "5s"}) == [
        "at_least: must be at least 1, got 0",
        'longer: must be more than 5 seconds, got "5s"',
        'pauses.b: must be a duration such as 30s or 1h30m, got "1"',
    ]
    assert errors({"longer": "1h0.0000001s"}) == [
        'longer: must be a duration of whole microseconds, got "1h0.0000001s"'
    ]
    assert errors({"longer": "3000000h"}) == ['longer: must be a duration such as 30s or 1h30m, got "3000000h"']
    assert errors({"even": 1}) == [": even must be even"]
    assert [error.split(": neither")[0] for error in errors({"refs": {"a": ["x", "y"]}})] == [
        'refs.a[0]: there is no secret "x"',
        'refs.a[1]: there is no secret "y"',
    ]
    assert not taken
    assert errors({"either": "1KiB", "any": "90s", "pause": None, "pauses": {"a": "-1m"}, "longer": "2562047h"}) == []
    hours = datetime.timedelta(hours=2562047)
    assert taken == [Other(1024, "90s", None, {"a": datetime.timedelta(minutes=-1)}, longer=hours)]


def test_the_schema_has_durations_and_sizes_as_they_are_written(agenthost_run: Run) -> None:
    client = agenthost_run(Plugin("p", "1", [Nothing()]).configure(Other, print))
    schema = json.loads(client.describe().config_schema)["properties"]
    assert schema["pause"]["default"] == "1m30s"
    assert schema["pause"]["anyOf"][0]["examples"] == ["30s", "1h30m"]
    assert schema["pauses"]["additionalProperties"]["pattern"].startswith("^[+-]?(0|")
    assert (schema["size"]["default"], schema["size"]["type"]) == ("2GiB", "string")
    assert "PT" not in json.dumps(schema)


def test_a_missing_secret_is_one_kind_of_error_wherever_it_is_asked_for(agenthost_run: Run) -> None:
    def configure(config: Other) -> None:
        secret("absent")

    client = agenthost_run(Plugin("p", "1", [Nothing()]).configure(Other, configure))
    with pytest.raises(FailedPrecondition) as missing:
        secret("absent")
    assert client.configure({}) == [ConfigError("", str(missing.value))]


def test_what_is_away_for_now_is_no_mistake_of_the_configuration(agenthost_run: Run) -> None:
    def configure(config: Other) -> None:
        raise Unavailable("the warehouse is closed")

    client = agenthost_run(Plugin("p", "1", [Nothing()]).configure(Other, configure))
    with pytest.raises(Exception, match="the warehouse is closed"):
        client.configure({})
