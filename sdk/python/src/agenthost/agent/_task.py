"""What an agent is asked: to run a task, or about a job."""

from __future__ import annotations

import base64
import datetime
from collections.abc import Mapping
from dataclasses import dataclass, field
from typing import Any, Generic, TypeVar, cast, overload

from flyteidl.core import interface_pb2
from google.protobuf import json_format

from agenthost.plugin import Replaced

from ._errors import InvalidArgument
from ._literals import LiteralError, to_python
from ._secrets import Secret
from ._secrets import secret as own_secret
from ._typed import read

T = TypeVar("T")
M = TypeVar("M")

_MISSING: Any = object()


@dataclass(frozen=True)
class Connection:
    """What Flyte 2 sends with a call so that an agent can reach the system it works for."""

    task_type: str
    configs: Mapping[str, str]
    secrets: Mapping[str, Secret]


@dataclass(frozen=True)
class Task:
    """What an agent is asked to run."""

    task_type: str
    version: int
    template: Any
    """The task as it was registered, a flyteidl TaskTemplate: `task.template.sql.statement`, …"""
    literals: Any
    """The inputs as Flyte sent them, a flyteidl LiteralMap; `input` and `inputs` read them as Python values."""
    output_prefix: str
    """The storage location for the attempt's outputs, such as "s3://bucket/metadata/…/0"."""
    metadata: Any
    """What Flyte says of the execution, a flyteidl TaskExecutionMetadata."""
    idempotency_key: str
    """The same for every call for one attempt, another for every other attempt: 64 hex digits, good as (part of) the
    name of an external job. Empty where the caller sent no execution id."""
    connection: Connection | None = None
    deadline: datetime.datetime | None = None
    """When the caller stops waiting for this call; None where it waits without end."""
    replaced: Replaced = field(default_factory=Replaced, repr=False, compare=False)
    """Whether this process is being replaced: what goes on behind the calls awaits `replaced.wait()` and hands over."""

    @property
    def seconds_left(self) -> float | None:
        """How long the caller still waits, as timeouts of clients take it; None where it waits without end."""
        return _seconds_until(self.deadline)

    @property
    def execution_id(self) -> Any:
        """Flyte's name of the attempt, a flyteidl TaskExecutionIdentifier. The uses of one subworkflow share it;
        `idempotency_key` tells them apart."""
        return self.metadata.task_execution_id

    @overload
    def input(self, name: str) -> Any: ...

    @overload
    def input(self, name: str, type: type[T]) -> T: ...

    @overload
    def input(self, name: str, type: type[T], default: T) -> T: ...

    def input(self, name: str, type: Any = Any, default: Any = _MISSING) -> Any:
        """An input as a Python value, of a type if one is given: int, list[float], File, a dataclass, …

        >>> from agenthost.agent import Plugin, SyncAgent, succeeded
        >>> from agenthost.testing import run
        >>> class Double(SyncAgent):
        ...     task_type = "double"
        ...     async def execute(self, task):
        ...         return succeeded({"n": 2 * task.input("n", int), "unit": task.input("unit", str, "rows")})
        >>> with run(Plugin("double", "1", [Double()])) as client:
        ...     sorted(client.execute("double", inputs={"n": 21}).outputs.items())
        [('n', 42), ('unit', 'rows')]

        :param default: what an input that is absent or None stands for.
        :raises InvalidArgument: there is no such input, or it is of another type.
        """
        literal = self.literals.literals.get(name)
        if literal is None:
            if default is not _MISSING:
                return default
            known = ", ".join(sorted(self.literals.literals)) or "none"
            raise InvalidArgument(f'the task has no input "{name}"; its inputs are: {known}')
        try:
            value = to_python(literal)
            if value is None and default is not _MISSING:
                return default
            # JSON knows no difference between 3 and 3.0, and has no dates: what comes from it is read less strictly.
            return value if type is Any else read(value, type, strict=not _is_json(literal))
        except (LiteralError, ValueError) as e:
            raise InvalidArgument(f'input "{name}": {e}') from None

    def inputs(self) -> dict[str, Any]:
        """All inputs as Python values."""
        return {name: self.input(name) for name in self.literals.literals}

    def inputs_as(self, type: type[T]) -> T:
        """All inputs as a dataclass: its fields are inputs of the same names, fields with defaults may be absent.

        :raises InvalidArgument: one is missing, or of another type.
        """
        try:
            return cast(T, read(self.inputs(), type, strict=False))
        except ValueError as e:
            raise InvalidArgument(f"the inputs do not fit: {e}") from None

    def custom(self, type: type[T] | Any = dict[str, Any]) -> T | Any:
        """The template's custom part, as a dictionary or a dataclass. Keys that the dataclass lacks are ignored."""
        try:
            return read(json_format.MessageToDict(self.template.custom), type, strict=False)
        except ValueError as e:
            raise InvalidArgument(f"the custom part of the {self.task_type} template does not fit: {e}") from None

    @property
    def config(self) -> dict[str, str]:
        """The template's config part."""
        return dict(self.template.config)

    def secret(self, key: str) -> Secret:
        """A secret from the task's connection, or else the plugin's own secret of that name."""
        return _secret(self.connection, key)

    @property
    def output_types(self) -> str:
        """The types that the task declares for its outputs, as text that a job's metadata can keep for `succeeded`."""
        return base64.b64encode(self.template.interface.outputs.SerializeToString()).decode()


def declared_types(output_types: str) -> dict[str, Any]:
    variables = interface_pb2.VariableMap.FromString(base64.b64decode(output_types)).variables
    return {name: variable.type for name, variable in variables.items()}


@dataclass(frozen=True)
class Job(Generic[M]):
    """A job that `create` made."""

    meta: M
    task_type: str
    version: int
    output_prefix: str = ""
    connection: Connection | None = None
    deadline: datetime.datetime | None = None
    """When the caller stops waiting for this call; None where it waits without end."""
    replaced: Replaced = field(default_factory=Replaced, repr=False, compare=False)
    """Whether this process is being replaced: what goes on behind the calls awaits `replaced.wait()` and hands over."""

    @property
    def seconds_left(self) -> float | None:
        """How long the caller still waits, as timeouts of clients take it; None where it waits without end."""
        return _seconds_until(self.deadline)

    def secret(self, key: str) -> Secret:
        """A secret from the job's connection, or else the plugin's own secret of that name."""
        return _secret(self.connection, key)


def _seconds_until(deadline: datetime.datetime | None) -> float | None:
    if deadline is None:
        return None
    return max(0.0, (deadline - datetime.datetime.now(datetime.timezone.utc)).total_seconds())


def _secret(connection: Connection | None, key: str) -> Secret:
    if connection is not None and key in connection.secrets:
        return connection.secrets[key]
    return own_secret(key)


def _is_json(literal: Any) -> bool:
    if literal.WhichOneof("value") != "scalar":
        return False
    if literal.scalar.WhichOneof("value") == "union":
        return _is_json(literal.scalar.union.value)
    return literal.scalar.WhichOneof("value") == "generic" or bool(literal.scalar.binary.tag)
