"""What an author writes: a class for each agent."""

from __future__ import annotations

import datetime
import json
import typing
from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Awaitable, Iterable, Sequence
from dataclasses import dataclass
from typing import Any, ClassVar, Generic, TypeVar

import pydantic

from agenthost.plugin import CAPABILITY_FIND_BY_KEY, CAPABILITY_IDEMPOTENT_CREATE, LoadError

from ._errors import InvalidArgument
from ._resource import Resource
from ._task import Job, Task
from ._typed import adapter, reasons

M = TypeVar("M")


@dataclass(frozen=True, order=True)
class Category:
    """What calls are routed by: a task type in one of its versions."""

    task_type: str
    version: int = 0


@dataclass(frozen=True)
class LogQuery:
    """Which part of a job's log is asked for."""

    lines: int = 0
    """The most lines to send; 0 means all."""
    token: str = ""
    """Where an earlier answer left off; empty for the beginning."""


@dataclass(frozen=True)
class LogLine:
    """One line of a job's log."""

    message: str
    time: datetime.datetime | None = None
    originator: str = "UNKNOWN"
    """Who wrote it: "USER", the user's code, or "SYSTEM", what runs it."""


@dataclass(frozen=True)
class NextToken:
    """Tells the caller of `logs` where to go on next time."""

    token: str


@dataclass(frozen=True)
class MetricsQuery:
    """Which measurements are asked for."""

    queries: Sequence[str]
    start: datetime.datetime | None = None
    end: datetime.datetime | None = None
    step: datetime.timedelta | None = None


class _Agent(ABC):
    task_type: ClassVar[str]
    """The task type that the agent handles."""
    version: ClassVar[int] = 0
    """The version of the task type."""
    also: ClassVar[Sequence[Category]] = ()
    """More categories of the same agent."""
    name: ClassVar[str] = ""
    """What Flyte calls the agent; the task type if it is empty."""
    shared_loop: ClassVar[str] = ""
    """Agents of a plugin that give the same name here run in one event loop, and can share the clients that belong to
    it. By default each has a loop of its own, and goes on while another's is blocked."""

    def close(self) -> Awaitable[None] | None:
        """Called when the plugin stops, behind the last call. May be async."""
        return None

    @classmethod
    def categories(cls) -> list[Category]:
        """All categories of the agent."""
        if not getattr(cls, "task_type", ""):
            raise LoadError(f"the agent {cls.__name__} needs a task_type")
        return [Category(cls.task_type, cls.version), *cls.also]

    @classmethod
    def agent_name(cls) -> str:
        """The agent's name as Flyte knows it."""
        return cls.name or cls.task_type


class AsyncAgent(_Agent, Generic[M]):
    """An agent for jobs that outlast a call. M is the job's metadata: a dataclass, which Flyte keeps as JSON.

    Between `create` and `get` the process may have been replaced by a newer one. Everything needed to find the job
    again goes into the metadata; only ever add fields with defaults to it; never put a secret there.

    Flyte repeats a `create` whose answer it did not get. `task.idempotency_key` is the same each time: name the
    external job by it and find that job again, then set `idempotent_create`, and the host repeats calls after a crash.

    Each method may be `async def` or plain. A plain one runs in a thread. The async ones run in the agent's own event
    loop, always the same: clients may be kept between calls. One that blocks delays this agent and no other, and the
    log says where it stands.
    """

    idempotent_create: ClassVar[bool] = False
    """Two calls of `create` with one idempotency key make one job, whatever other agents of the plugin do."""

    @abstractmethod
    def create(self, task: Task) -> M | Awaitable[M]:
        """Starts a job, and returns at once what is needed to find it again."""

    @abstractmethod
    def get(self, job: Job[M]) -> Resource | Awaitable[Resource]:
        """How the job is."""

    @abstractmethod
    def delete(self, job: Job[M]) -> Awaitable[None] | None:
        """Ends the job. Fine if it is gone, or has ended."""

    def find(self, task: Task) -> M | Awaitable[M]:
        """What `create` returned for the attempt of `task.idempotency_key`. Makes nothing.

        An agent that has this method and `abandon` declares the capability find_by_key. With `idempotent_create` it
        lets the host accept a task whose job cannot be made at once: a plugin that restarts, hangs or is over its
        limits then costs no attempt. Both methods must be right in every process of the plugin, also on another
        machine, for as long as Flyte may ask about the task, and at the same time as a `create` of the same attempt.

        :raises NotFound: no job was made.
        :raises Abandoned: `abandon` was called.
        """
        raise NotImplementedError(f"the agent {self.agent_name()} does not find jobs by their key")

    def abandon(self, task: Task) -> Awaitable[None] | None:
        """Gives the attempt up: a job that was made for it ends as by `delete`, and none is made from now on. `create`
        and `find` raise Abandoned then, so something has to stay where they look. A second call succeeds too."""
        raise NotImplementedError(f"the agent {self.agent_name()} does not find jobs by their key")

    @classmethod
    def promises(cls) -> tuple[str, ...]:
        """The capabilities that the agent declares."""
        finds = {method for method in ("find", "abandon") if getattr(cls, method) is not getattr(AsyncAgent, method)}
        if len(finds) == 1:
            raise LoadError(
                f"the agent {cls.__name__} has {finds.pop()}, of find and abandon: it needs both or neither"
            )
        made = {CAPABILITY_IDEMPOTENT_CREATE: cls.idempotent_create, CAPABILITY_FIND_BY_KEY: bool(finds)}
        return tuple(name for name, declared in made.items() if declared)

    def logs(self, job: Job[M], query: LogQuery) -> AsyncIterator[Any] | Iterable[Any]:
        """The job's log: yields str or LogLine, each sent at once, and NextToken."""
        raise NotImplementedError(f"the agent {self.agent_name()} has no logs")

    def metrics(self, job: Job[M], query: MetricsQuery) -> Any:
        """The job's metrics: a list of flyteidl's ExecutionMetricResult."""
        raise NotImplementedError(f"the agent {self.agent_name()} has no metrics")

    @classmethod
    def metadata_type(cls) -> Any:
        """The M that the class is of."""
        for base in cls.__mro__:
            for generic in getattr(base, "__orig_bases__", ()):
                if isinstance(typing.get_origin(generic), type) and issubclass(typing.get_origin(generic), AsyncAgent):
                    (metadata,) = typing.get_args(generic)
                    return metadata
        raise LoadError(
            f"the agent {cls.__name__} must say what its metadata is: class {cls.__name__}(AsyncAgent[Meta])"
        )

    def encode(self, meta: M) -> bytes:
        """A job's metadata as Flyte keeps it."""
        return adapter(self.metadata_type()).dump_json(meta, warnings=False)

    def decode(self, data: bytes) -> M:
        """A job's metadata back; fields that this version does not know are ignored."""
        try:
            value = json.loads(data)
            return adapter(self.metadata_type()).validate_python(value)  # type: ignore[no-any-return]
        except pydantic.ValidationError as e:
            reason = reasons(e)
        except ValueError as e:
            reason = str(e)
        raise InvalidArgument(f"the job's metadata is not what this agent wrote: {reason}")


class SyncAgent(_Agent):
    """An agent for work that fits within a call."""

    @abstractmethod
    def execute(self, task: Task) -> Resource | Awaitable[Resource]:
        """Does the work. The resource must be terminal: FlytePropeller cannot ask again."""
