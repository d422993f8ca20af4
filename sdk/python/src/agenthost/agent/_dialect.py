"""Calls agents that are written with this SDK: messages in, Python values out, and back."""

from __future__ import annotations

import contextlib
import hashlib
from collections.abc import AsyncIterator, Mapping
from typing import Any

from flyteidl.admin import agent_pb2
from flyteidl.core import literals_pb2
from google.protobuf import empty_pb2
from google.protobuf.unknown_fields import UnknownFieldSet

from agenthost.plugin import IDEMPOTENCY_KEY_HEADER, Replaced, deadline
from agenthost.service import Dialect, Registered

from ._agents import LogLine, LogQuery, MetricsQuery, NextToken
from ._errors import FailedPrecondition, NotFound, SystemFailure
from ._kept import kept
from ._literals import LiteralError
from ._resource import failed, to_message
from ._secrets import Secret
from ._task import Connection, Job, Task

_CONNECTION = 5
"""flyteidl2.connector: the field for the connection, which Flyte 1's messages do not have."""


class Native(Dialect):
    """The dialect of `agenthost.agent`."""

    def __init__(self, replaced: Replaced) -> None:
        self._replaced = replaced

    def message(self, name: str) -> Any:
        return getattr(agent_pb2, name, None) or getattr(literals_pb2, name)

    async def create(self, one: Registered, request: Any, metadata: Mapping[str, str]) -> Any:
        meta = await one.loop.here(one.agent.create, self._task(request, request.inputs, metadata))
        return agent_pb2.CreateTaskResponse(resource_meta=kept(one.agent, "create", meta))

    async def find(self, one: Registered, request: Any, metadata: Mapping[str, str]) -> Any:
        meta = await one.loop.here(one.agent.find, self._task(request, request.inputs, metadata))
        return agent_pb2.CreateTaskResponse(resource_meta=kept(one.agent, "find", meta))

    async def abandon(self, one: Registered, request: Any, metadata: Mapping[str, str]) -> Any:
        await one.loop.here(one.agent.abandon, self._task(request, request.inputs, metadata))
        return agent_pb2.CreateTaskResponse()

    async def get(self, one: Registered, request: Any) -> Any:
        resource = await one.loop.here(one.agent.get, self._job(one, request))
        try:
            message = to_message(resource)
        except LiteralError as e:  # at the next poll it would be the same, and an error would only have it polled on
            message = to_message(failed(SystemFailure("BadOutputs", str(e))))
        return agent_pb2.GetTaskResponse(resource=message)

    async def delete(self, one: Registered, request: Any) -> Any:
        with contextlib.suppress(NotFound):  # what is gone need not be ended
            await one.loop.here(one.agent.delete, self._job(one, request))
        return agent_pb2.DeleteTaskResponse()

    async def metrics(self, one: Registered, request: Any) -> Any:
        query = MetricsQuery(
            queries=list(request.queries),
            start=request.start_time.ToDatetime() if request.HasField("start_time") else None,
            end=request.end_time.ToDatetime() if request.HasField("end_time") else None,
            step=request.step.ToTimedelta() if request.HasField("step") else None,
        )
        results = await one.loop.here(one.agent.metrics, self._job(one, request), query)
        return agent_pb2.GetTaskMetricsResponse(results=results)

    async def logs(self, one: Registered, request: Any) -> AsyncIterator[Any]:
        query = LogQuery(request.lines, request.token)
        async for part in one.loop.stream_here(one.agent.logs, self._job(one, request), query):
            yield _log_part(part)

    async def execute(self, one: Registered, header: Any, inputs: Any, metadata: Mapping[str, str]) -> Any:
        task = self._task(header, inputs, metadata)
        resource = await one.loop.here(one.agent.execute, task)
        message = to_message(resource, task.output_types)
        if not resource.phase.terminal:
            raise FailedPrecondition(
                f"a synchronous agent must end with a terminal phase, not {resource.phase.name}: "
                "FlytePropeller cannot ask again"
            )
        answer = agent_pb2.ExecuteTaskSyncResponseHeader(resource=message)
        return agent_pb2.ExecuteTaskSyncResponse(header=answer)

    def listed(self, name: str, is_sync: bool, categories: list[Any]) -> Any:
        return agent_pb2.Agent(
            name=name,
            is_sync=is_sync,
            supported_task_types=list(dict.fromkeys(category.name for category in categories)),
            supported_task_categories=categories,
        )

    def _task(self, request: Any, inputs: Any, metadata: Mapping[str, str]) -> Task:
        execution = request.task_execution_metadata
        return Task(
            task_type=request.template.type,
            version=request.template.task_type_version,
            template=request.template,
            literals=inputs,
            output_prefix=request.output_prefix,
            metadata=execution,
            idempotency_key=metadata.get(IDEMPOTENCY_KEY_HEADER)
            or idempotency_key(execution.task_execution_id, request.output_prefix),
            connection=_connection(request),
            deadline=deadline.get(),
            replaced=self._replaced,
        )

    def _job(self, one: Registered, request: Any) -> Job[Any]:
        category = request.task_category
        return Job(
            meta=one.agent.decode(request.resource_meta),
            task_type=category.name or request.task_type,
            version=category.version,
            output_prefix=getattr(request, "output_prefix", ""),
            connection=_connection(request),
            deadline=deadline.get(),
            replaced=self._replaced,
        )


def _log_part(part: Any) -> Any:
    if isinstance(part, NextToken):
        return agent_pb2.GetTaskLogsResponse(header=agent_pb2.GetTaskLogsResponseHeader(token=part.token))
    line = part if isinstance(part, LogLine) else LogLine(str(part))
    body = agent_pb2.GetTaskLogsResponseBody(results=[line.message])
    structured = body.structured_lines.add(message=line.message, originator=line.originator)
    if line.time is not None:
        structured.timestamp.FromDatetime(line.time)
    return agent_pb2.GetTaskLogsResponse(body=body)


def _connection(request: Any) -> Connection | None:
    parts = [field.data for field in UnknownFieldSet(request) if field.field_number == _CONNECTION]
    if not parts:
        return None
    # flyteidl2.core.Connection: task_type = 1, secrets = 2, configs = 3, both maps of texts. An Empty keeps what it is
    # given as unknown fields, and so reads a message whose class is not here.
    found: dict[int, Any] = {1: "", 2: {}, 3: {}}
    for field in _fields(b"".join(parts)):
        if field.field_number == 1:
            found[1] = field.data.decode()
        elif field.field_number in (2, 3):
            entry = {inner.field_number: inner.data.decode() for inner in _fields(field.data)}
            found[field.field_number][entry.get(1, "")] = entry.get(2, "")
    return Connection(found[1], found[3], {key: Secret(value) for key, value in found[2].items()})


def _fields(data: bytes) -> Any:
    return UnknownFieldSet(empty_pb2.Empty.FromString(data))


def idempotency_key(execution: Any, output_prefix: str) -> str:
    """Names a task attempt, as the host does: the SHA-256 of ten fields, each with its length before it."""
    node, task = execution.node_execution_id, execution.task_id
    run = node.execution_id
    if not run.name:
        return ""
    digest = hashlib.sha256()
    for text in (
        *(run.project, run.domain, run.name, node.node_id),
        *(task.project, task.domain, task.name, task.version, str(execution.retry_attempt), output_prefix),
    ):
        data = text.encode()
        digest.update(len(data).to_bytes(4, "big") + data)
    return digest.hexdigest()
