"""How a job is."""

from __future__ import annotations

import enum
import math
from collections.abc import Mapping
from dataclasses import dataclass, field, replace
from typing import Any

from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2

from agenthost.plugin import cut

from ._errors import _Failure
from ._literals import LiteralError, to_literals
from ._task import declared_types


class Phase(enum.IntEnum):
    """How far a task is."""

    QUEUED = 1
    RUNNING = 2
    SUCCEEDED = 3
    ABORTED = 4
    FAILED = 5
    INITIALIZING = 6
    WAITING_FOR_RESOURCES = 7
    RETRYABLE_FAILED = 8
    """Spends one of the retries that the task's author allowed. Flyte knows it since 1.16."""

    @property
    def terminal(self) -> bool:
        return self in (Phase.SUCCEEDED, Phase.ABORTED, Phase.FAILED, Phase.RETRYABLE_FAILED)


@dataclass(frozen=True)
class Link:
    """Leads to a page about the job."""

    name: str
    uri: str
    show_while_pending: bool = False
    """Flyte shows it before the task runs, too."""
    hide_once_finished: bool = False
    """Flyte hides it when the task has ended."""


@dataclass(frozen=True)
class Resource:
    """How a job is. Make one with `running`, `succeeded`, `failed` and so on."""

    phase: Phase
    message: str = ""
    outputs: Mapping[str, Any] | None = None
    output_types: str | None = None
    links: tuple[Link, ...] = ()
    info: Mapping[str, Any] = field(default_factory=dict)
    failure: BaseException | None = None

    def with_link(
        self, name: str, uri: str, *, show_while_pending: bool = False, hide_once_finished: bool = False
    ) -> Resource:
        """Adds a link that is shown with the task: while it runs and afterwards, or as the options say."""
        return replace(self, links=(*self.links, Link(name, uri, show_while_pending, hide_once_finished)))

    def with_info(self, **info: Any) -> Resource:
        """Adds what is kept with the task execution: anything that JSON can hold."""
        return replace(self, info={**self.info, **info})

    def with_progress(self, fraction: float, text: str = "") -> Resource:
        """Says how far the job is: a fraction from 0 to 1, and in words. The message becomes "40%: 4 of 10 files", and
        the info has the fraction as "progress".

        >>> running().with_progress(0.4, "4 of 10 files").message
        '40%: 4 of 10 files'
        """
        fraction = min(fraction, 1.0) if fraction > 0 else 0.0  # NaN is none
        percent = f"{int(fraction * 100 + 1e-9)}%"
        return self.with_message(f"{percent}: {text}" if text else percent).with_info(progress=fraction)

    def with_message(self, message: str) -> Resource:
        """Sets the message that is shown to the user."""
        return replace(self, message=message)


def queued(message: str = "") -> Resource:
    """The job waits for its turn."""
    return Resource(Phase.QUEUED, message)


def waiting_for_resources(message: str = "") -> Resource:
    """The job waits for capacity or quota."""
    return Resource(Phase.WAITING_FOR_RESOURCES, message)


def initializing(message: str = "") -> Resource:
    """The job is being set up."""
    return Resource(Phase.INITIALIZING, message)


def running(message: str = "") -> Resource:
    """The job runs, and how far it is."""
    return Resource(Phase.RUNNING, message)


def succeeded(outputs: Mapping[str, Any] | None = None, *, types: str | None = None) -> Resource:
    """The job is done.

    >>> succeeded({"rows": 3}).with_link("Console", "https://example.com/1").with_info(scanned=7).outputs
    {'rows': 3}

    :param outputs: by name, as Python values. None: the job wrote outputs.pb below the output prefix itself, or the
        task has no outputs.
    :param types: what the outputs are encoded as: `task.output_types`, kept in the job's metadata. Without it each
        takes what is natural for the value. A sync agent's outputs take the task's types by themselves.
    """
    return Resource(Phase.SUCCEEDED, outputs=outputs, output_types=types)


def aborted(message: str = "") -> Resource:
    """Somebody ended the job from outside."""
    return Resource(Phase.ABORTED, message)


def failed(reason: str | BaseException) -> Resource:
    """The job went wrong and would go wrong again. A UserFailure or SystemFailure shows its code.

    >>> from agenthost.agent import UserFailure
    >>> failed(UserFailure("BadSQL", "no such table")).message
    'no such table'
    """
    return _failed(Phase.FAILED, reason)


def retryable_failed(reason: str | BaseException) -> Resource:
    """The job went wrong and a repetition may help: spends one of the task's retries."""
    return _failed(Phase.RETRYABLE_FAILED, reason)


def _failed(phase: Phase, reason: str | BaseException) -> Resource:
    message = str(reason) or (
        type(reason).__name__ if isinstance(reason, BaseException) else "the agent gave no reason"
    )
    return Resource(phase, message, failure=reason if isinstance(reason, BaseException) else None)


_MAX_MESSAGE = 64 << 10
"""Bounds a resource's message, in bytes: Flyte keeps it with the execution."""


def to_message(resource: Resource, declared: str | None = None) -> Any:
    """A resource as Flyte has it; outputs take the declared types, unless the resource has types of its own."""
    if not isinstance(resource, Resource):
        raise TypeError(f"it returned {type(resource).__name__}, not a Resource: use running, succeeded, failed, …")
    types = resource.output_types or declared
    message = agent_pb2.Resource(
        phase=int(resource.phase),
        message=cut(resource.message, _MAX_MESSAGE),
        log_links=[_log_link(link) for link in resource.links],
    )
    if resource.outputs is not None:
        message.outputs.CopyFrom(to_literals(resource.outputs, declared_types(types) if types else None))
    if resource.info:
        for key, value in resource.info.items():
            try:
                message.custom_info.update({key: _as_json(value)})
            except (ValueError, TypeError) as e:
                raise LiteralError(f"info {key}: JSON has no {type(value).__name__} {value!r:.80}: {e}") from None
    if isinstance(resource.failure, _Failure):
        _blame(message, resource.failure)
    return message


def _log_link(link: Link) -> Any:
    return execution_pb2.TaskLog(
        name=link.name,
        uri=link.uri,
        ShowWhilePending=link.show_while_pending,
        HideOnceFinished=link.hide_once_finished,
    )


def _as_json(info: Any) -> Any:
    """As a Struct has it, whose only numbers are floats. A whole number that none holds is text, as is NaN."""
    if isinstance(info, Mapping):
        return {key: _as_json(value) for key, value in info.items()}
    if isinstance(info, (list, tuple)):
        return [_as_json(value) for value in info]
    if isinstance(info, int) and not isinstance(info, bool) and not -(2**53) <= info <= 2**53:
        return str(info)
    if isinstance(info, float) and not math.isfinite(info):
        return str(info)
    return info


def _blame(message: Any, failure: _Failure) -> None:
    recoverable = message.phase == Phase.RETRYABLE_FAILED
    message.agent_error.code = failure.code
    message.agent_error.kind = agent_pb2.AgentError.RECOVERABLE if recoverable else agent_pb2.AgentError.NON_RECOVERABLE
    message.agent_error.origin = execution_pb2.ExecutionError.ErrorKind.Value(failure.origin)
