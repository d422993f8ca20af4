"""What a test says to a plugin."""

from __future__ import annotations

import datetime
import itertools
import json
import time
import uuid
from collections.abc import Iterator, Mapping
from dataclasses import dataclass
from typing import Any

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.core import identifier_pb2, interface_pb2, literals_pb2, tasks_pb2, types_pb2
from flyteidl.service import agent_pb2_grpc

from agenthost.agent import ConfigError, LogLine, NextToken, Phase
from agenthost.agent._literals import to_literals, to_python
from agenthost.plugin import _contract

TIMEOUT = 10.0
"""Seconds that a call may take: what FlytePropeller allows by default."""


@dataclass(frozen=True)
class Result:
    """How a job is, as a caller sees it."""

    phase: Phase
    message: str
    outputs: dict[str, Any] | None
    resource: Any
    """The whole, a flyteidl Resource."""


class Client:
    """A plugin that runs."""

    def __init__(self, channel: grpc.Channel, output: list[str] | None = None, pid: int = 0) -> None:
        self.channel = channel
        self.output = output if output is not None else []
        """The lines that the plugin has written, where it is a process of its own."""
        self.pid = pid
        self._attempts = itertools.count()
        self._tests = uuid.uuid4().hex[:8]
        self.async_agents = agent_pb2_grpc.AsyncAgentServiceStub(channel)
        self.sync_agents = agent_pb2_grpc.SyncAgentServiceStub(channel)
        self.metadata = agent_pb2_grpc.AgentMetadataServiceStub(channel)

    def wrote(self, text: str, timeout: float = TIMEOUT) -> str:
        """Waits until the plugin has written a line with a text. Returns the line."""
        deadline = time.monotonic() + timeout
        while True:
            found = next((line for line in self.output if text in line), None)
            if found is not None:
                return found
            if time.monotonic() > deadline:
                raise TimeoutError(f"the plugin has not written {text!r} after {timeout} s:\n{''.join(self.output)}")
            time.sleep(0.02)

    def describe(self) -> Any:
        """What the plugin says of itself."""
        return self._plugin_call("Describe", _contract.DescribeRequest(), _contract.DescribeResponse)

    def configure(self, config: Mapping[str, Any] | str) -> list[ConfigError]:
        """Hands a configuration over, a text as it is. Returns what the plugin has against it."""
        request = _contract.ConfigureRequest(config=config if isinstance(config, str) else json.dumps(config))
        answer = self._plugin_call("Configure", request, _contract.ConfigureResponse)
        return [ConfigError(error.key, error.message) for error in answer.errors]

    def replace(self) -> None:
        """Tells the plugin that its process is being replaced, as the host does when the drain begins."""
        self._plugin_call("Drain", _contract.DrainRequest(), _contract.DrainResponse)

    def metrics(self) -> str:
        """The plugin's own metrics, in Prometheus' text format."""
        answer = self._plugin_call("Metrics", _contract.MetricsRequest(), _contract.MetricsResponse)
        return bytes(answer.text).decode()

    def agents(self) -> list[Any]:
        """The agents that the plugin lists."""
        return list(self.metadata.ListAgents(agent_pb2.ListAgentsRequest(), timeout=TIMEOUT).agents)

    def create(self, task_type: str, **task: Any) -> Job:
        """Creates a job. See `run_task` for the arguments."""
        return self._create(task_type, [], task)

    def find(self, task_type: str, **task: Any) -> Job:
        """The job that was made for an attempt, which `idempotency_key` names. Makes none."""
        return self._create(task_type, [(_contract.FIND_ONLY_HEADER, "1")], task)

    def abandon(self, task_type: str, **task: Any) -> None:
        """Gives an attempt up, which `idempotency_key` names."""
        self._create(task_type, [(_contract.ABANDON_HEADER, "1")], task)

    def _create(self, task_type: str, form: list[tuple[str, str]], task: Mapping[str, Any]) -> Job:
        """Calls CreateTask in one of its forms, which metadata tells apart."""
        request, metadata = self._request(task_type, **task)
        answer = self.async_agents.CreateTask(request, timeout=TIMEOUT, metadata=[*metadata, *form])
        return self.job(task_type, answer.resource_meta, request.template.task_type_version)

    def job(self, task_type: str, meta: bytes, version: int = 0) -> Job:
        """A job by its metadata, perhaps of another plugin or version."""
        return Job(self, agent_pb2.TaskCategory(name=task_type, version=version), meta)

    def execute(self, task_type: str, **task: Any) -> Result:
        """Calls a sync agent. See `run_task` for the arguments."""
        request, metadata = self._request(task_type, **task)
        header = agent_pb2.CreateRequestHeader(
            template=request.template,
            output_prefix=request.output_prefix,
            task_execution_metadata=request.task_execution_metadata,
        )
        parts = [
            agent_pb2.ExecuteTaskSyncRequest(header=header),
            agent_pb2.ExecuteTaskSyncRequest(inputs=request.inputs),
        ]
        (answer,) = self.sync_agents.ExecuteTaskSync(iter(parts), timeout=TIMEOUT, metadata=metadata)
        return result(answer.header.resource)

    def run_task(self, task_type: str, timeout: float = 60, **task: Any) -> Result:
        """Creates a job, waits for its end, and deletes it as Flyte does.

        :param inputs: by name, as Python values or literals.
        :param outputs: the declared types of the outputs by name: flyteidl LiteralTypes.
        :param custom: the template's custom part.
        :param config: the template's config part.
        :param sql: the template's statement.
        :param version: of the task type.
        :param idempotency_key: the attempt's; a new one for each call if it is not given.
        """
        job = self.create(task_type, **task)
        try:
            return job.wait(timeout)
        finally:
            job.delete()

    def _plugin_call(self, method: str, request: Any, answer: Any) -> Any:
        call = self.channel.unary_unary(
            f"/agenthost.plugin.v1.PluginService/{method}",
            request_serializer=lambda message: message.SerializeToString(),
            response_deserializer=answer.FromString,
        )
        return call(request, timeout=TIMEOUT)

    def _request(
        self,
        task_type: str,
        inputs: Mapping[str, Any] | None = None,
        outputs: Mapping[str, Any] | None = None,
        custom: Mapping[str, Any] | None = None,
        config: Mapping[str, str] | None = None,
        sql: str = "",
        version: int = 0,
        idempotency_key: str = "",
        output_prefix: str = "",
    ) -> tuple[Any, list[tuple[str, str]]]:
        literals = to_literals(inputs or {})
        template = tasks_pb2.TaskTemplate(
            id=identifier_pb2.Identifier(name=task_type, version="test"),
            type=task_type,
            task_type_version=version,
            config=config or {},
            interface=interface_pb2.TypedInterface(
                inputs=_variables({name: _type_of(literal) for name, literal in literals.literals.items()}),
                outputs=_variables(outputs or {}),
            ),
        )
        if sql:
            template.sql.statement = sql
        if custom:
            template.custom.update(custom)
        request = agent_pb2.CreateTaskRequest(template=template, inputs=literals, output_prefix=output_prefix)
        request.task_execution_metadata.task_execution_id.CopyFrom(self._attempt(template.id))
        metadata = [(_contract.IDEMPOTENCY_KEY_HEADER, idempotency_key)] if idempotency_key else []
        return request, metadata

    def _attempt(self, task: Any) -> Any:
        """An execution of its own for every task, as in Flyte."""
        run = identifier_pb2.WorkflowExecutionIdentifier(
            project="test", domain="development", name=f"{self._tests}-{next(self._attempts)}"
        )
        node = identifier_pb2.NodeExecutionIdentifier(node_id="n0", execution_id=run)
        return identifier_pb2.TaskExecutionIdentifier(task_id=task, node_execution_id=node)


@dataclass(frozen=True)
class Job:
    """A job that a plugin has made."""

    client: Client
    category: Any
    meta: bytes

    def get(self) -> Result:
        """How the job is."""
        return result(self.client.async_agents.GetTask(self._about(agent_pb2.GetTaskRequest), timeout=TIMEOUT).resource)

    def wait(self, timeout: float = 60) -> Result:
        """Polls until the job has ended. TimeoutError tells how far it was."""
        deadline = time.monotonic() + timeout
        while not (found := self.get()).phase.terminal:
            if time.monotonic() > deadline:
                raise TimeoutError(f"the job is {found.phase.name} after {timeout} s: {found.message}")
            time.sleep(0.02)
        return found

    def delete(self) -> None:
        """Ends the job."""
        self.client.async_agents.DeleteTask(self._about(agent_pb2.DeleteTaskRequest), timeout=TIMEOUT)

    def logs(self, lines: int = 0, token: str = "") -> Iterator[LogLine | NextToken]:
        """The job's log, as it comes."""
        request = self._about(agent_pb2.GetTaskLogsRequest, lines=lines, token=token)
        for part in self.client.async_agents.GetTaskLogs(request, timeout=TIMEOUT):
            if part.HasField("header"):
                yield NextToken(part.header.token)
            if part.body.structured_lines:  # the plain ones are then the same again
                yield from map(_log_line, part.body.structured_lines)
            else:
                yield from map(LogLine, part.body.results)

    def _about(self, request: Any, **more: Any) -> Any:
        return request(task_category=self.category, resource_meta=self.meta, **more)


def result(resource: Any) -> Result:
    """A resource in Python values."""
    outputs = {name: to_python(literal) for name, literal in resource.outputs.literals.items()}
    return Result(Phase(resource.phase), resource.message, outputs if resource.HasField("outputs") else None, resource)


def _log_line(line: Any) -> LogLine:
    time = line.timestamp.ToDatetime(datetime.timezone.utc) if line.HasField("timestamp") else None
    return LogLine(line.message, time, agent_pb2.LogLineOriginator.Name(line.originator))


def _variables(types: Mapping[str, Any]) -> Any:
    return interface_pb2.VariableMap(variables={name: interface_pb2.Variable(type=t) for name, t in types.items()})


_SIMPLE = {
    "integer": types_pb2.INTEGER,
    "float_value": types_pb2.FLOAT,
    "string_value": types_pb2.STRING,
    "boolean": types_pb2.BOOLEAN,
    "datetime": types_pb2.DATETIME,
    "duration": types_pb2.DURATION,
}


def _type_of(literal: literals_pb2.Literal) -> Any:
    """The type that a task would declare for an input like this."""
    kind = literal.WhichOneof("value")
    if kind == "collection":
        elements = [_type_of(element) for element in literal.collection.literals]
        return types_pb2.LiteralType(collection_type=elements[0] if elements else None)
    if kind == "map":
        entries = [_type_of(entry) for entry in literal.map.literals.values()]
        return types_pb2.LiteralType(map_value_type=entries[0] if entries else None)
    scalar = literal.scalar
    if scalar.HasField("primitive"):
        return types_pb2.LiteralType(simple=_SIMPLE[scalar.primitive.WhichOneof("value")])
    if scalar.HasField("blob"):
        return types_pb2.LiteralType(blob=scalar.blob.metadata.type)
    if scalar.HasField("structured_dataset"):
        table = scalar.structured_dataset.metadata.structured_dataset_type
        return types_pb2.LiteralType(structured_dataset_type=table)
    if scalar.HasField("none_type"):
        return types_pb2.LiteralType(simple=types_pb2.NONE)
    struct = scalar.HasField("generic") or scalar.binary.tag == "msgpack"
    return types_pb2.LiteralType(simple=types_pb2.STRUCT if struct else types_pb2.BINARY)
