"""Flyte's agent services in front of a registry of agents.

Flyte 2's messages are the same bytes as Flyte 1's, and the host calls plugins by Flyte 1's names: only the classes that
the agents expect differ, and how they are called. That is a `Dialect`.
"""

from __future__ import annotations

from abc import ABC, abstractmethod
from collections.abc import AsyncIterator, Callable, Mapping
from typing import Any

import grpc
import grpc.aio

from agenthost.plugin import (
    ABANDON_HEADER,
    FIND_ONLY_HEADER,
    AgentCall,
    Answering,
    Call,
    CallError,
    Method,
    guarded_stream,
)

from ._registry import Registered, Registry


class Dialect(ABC):
    """How agents of one kind are called. Its calls run in the agent's own loop."""

    has_sync = True
    """Whether there are synchronous agents."""

    @abstractmethod
    def message(self, name: str) -> Any:
        """The class of a message of the agent services, by Flyte 1's name."""

    @abstractmethod
    async def create(self, one: Registered, request: Any, metadata: Mapping[str, str]) -> Any:
        """:param metadata: the call's, such as the idempotency key."""

    async def find(self, one: Registered, request: Any, metadata: Mapping[str, str]) -> Any:
        """The answer of `create` for the attempt that the request is of, without making a job."""
        raise NotImplementedError("it does not find jobs by their key")

    async def abandon(self, one: Registered, request: Any, metadata: Mapping[str, str]) -> Any:
        """Gives the attempt up that the request is of."""
        raise NotImplementedError("it does not find jobs by their key")

    @abstractmethod
    async def get(self, one: Registered, request: Any) -> Any: ...

    @abstractmethod
    async def delete(self, one: Registered, request: Any) -> Any: ...

    @abstractmethod
    async def metrics(self, one: Registered, request: Any) -> Any: ...

    @abstractmethod
    def logs(self, one: Registered, request: Any) -> AsyncIterator[Any]:
        """An async generator function: yields messages as the agent yields."""

    async def execute(self, one: Registered, header: Any, inputs: Any, metadata: Mapping[str, str]) -> Any:
        raise NotImplementedError

    @abstractmethod
    def listed(self, name: str, is_sync: bool, categories: list[Any]) -> Any:
        """An agent as ListAgents describes it."""


class AgentService:
    """The services' methods."""

    def __init__(self, dialect: Dialect, registry: Registry, check_ready: Callable[[], None] = lambda: None) -> None:
        """:param check_ready: raises CallError while no task can be taken."""
        self._check_ready = check_ready
        self._dialect = dialect
        self._registry = registry
        for one in registry.all():
            one.loop.serves(one.name)

    def methods(self) -> dict[str, Method]:
        """Those of asynchronous agents that have one answer, by their full names."""
        d = self._dialect
        found = {
            "CreateTask": self._create,
            "GetTask": self._about_job("Get", d.get),
            "DeleteTask": self._about_job("Delete", d.delete),
            "GetTaskMetrics": self._about_job("Metrics", d.metrics),
        }
        return {
            f"/flyteidl.service.AsyncAgentService/{name}": Method(d.message(f"{name}Request"), route)
            for name, route in found.items()
        }

    def register(self, server: grpc.aio.Server) -> None:
        """Adds all the others."""
        d = self._dialect

        def listing(method: str, answer: Callable[..., Any]) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(answer, d.message(f"{method}Request").FromString, _serialize)

        logs = grpc.unary_stream_rpc_method_handler(self._logs, d.message("GetTaskLogsRequest").FromString, _serialize)
        services: dict[str, dict[str, grpc.RpcMethodHandler]] = {
            "AsyncAgentService": {"GetTaskLogs": logs},
            "AgentMetadataService": {
                "ListAgents": listing("ListAgents", self._list),
                "GetAgent": listing("GetAgent", self._one),
            },
        }
        if d.has_sync:
            execute = grpc.stream_stream_rpc_method_handler(
                self._execute, d.message("ExecuteTaskSyncRequest").FromString
            )
            services["SyncAgentService"] = {"ExecuteTaskSync": execute}
        server.add_generic_rpc_handlers(
            tuple(
                grpc.method_handlers_generic_handler(f"flyteidl.service.{name}", methods)
                for name, methods in services.items()
            )
        )

    def _create(self, request: Any, call: Call) -> AgentCall:
        template = request.template
        one = self._find(template.type, template.task_type_version, is_sync=False)
        metadata = call.texts()
        method, answer = "Create", self._dialect.create
        # Whatever the values: what asks for less than a creation must not make a job.
        if FIND_ONLY_HEADER in metadata:
            method, answer = "Find", self._dialect.find
        elif ABANDON_HEADER in metadata:
            method, answer = "Abandon", self._dialect.abandon
        return _asked(one, method, answer, request, metadata)

    def _about_job(self, method: str, answer: Callable[..., Any]) -> Callable[[Any, Call], AgentCall]:
        def route(request: Any, _: Call) -> AgentCall:
            return _asked(self._find_job(request), method, answer, request)

        return route

    async def _logs(self, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        one = self._find_job(request)
        parts = one.loop.stream(self._dialect.logs, one, request)
        async for part in guarded_stream(one.name, one.task_type, "Logs", parts):
            yield part

    async def _execute(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[bytes]:
        """Answers with one message, the header with the resource and its outputs: FlytePropeller reads no more."""
        header, inputs = None, self._dialect.message("LiteralMap")()
        async for part in requests:
            if part.HasField("header"):
                header = part.header
            if part.HasField("inputs"):
                inputs.MergeFrom(part.inputs)
        if header is None:
            raise CallError(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the call has no header: ExecuteTaskSync needs a header with the task's template first",
            )
        call = Call.of(context)
        one = self._find(header.template.type, header.template.task_type_version, is_sync=True)
        asked = _asked(one, "Execute", self._dialect.execute, header, inputs, call.texts())
        yield await one.loop.do(Answering(asked, call))

    async def _list(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return _only_field(self._dialect.message("ListAgentsResponse"), self._agents())

    async def _one(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        for agent in self._agents():
            if agent.name == request.name:
                return _only_field(self._dialect.message("GetAgentResponse"), agent)
        raise CallError(grpc.StatusCode.NOT_FOUND, f'this plugin has no agent "{request.name}"')

    def _agents(self) -> list[Any]:
        grouped: dict[tuple[str, bool], list[Any]] = {}
        category = self._dialect.message("TaskCategory")
        for one in self._registry.all():
            grouped.setdefault((one.name, one.is_sync), []).append(category(name=one.task_type, version=one.version))
        return [self._dialect.listed(name, is_sync, categories) for (name, is_sync), categories in grouped.items()]

    def _find_job(self, request: Any) -> Registered:
        category = request.task_category
        # task_type is what Flyte asked by before there were categories, and Flyte 2 has dropped it.
        return self._find(category.name or getattr(request, "task_type", ""), category.version, is_sync=False)

    def _find(self, task_type: str, version: int, is_sync: bool) -> Registered:
        found = self._registry.find(task_type, version, is_sync)
        self._check_ready()
        return found


def _asked(one: Registered, method: str, answer: Callable[..., Any], *args: Any) -> AgentCall:
    return AgentCall(one.loop, one.name, one.task_type, method, answer, (one, *args))


def _only_field(message: Any, value: Any) -> Any:
    """A message of one field, which Flyte 2 has another name for."""
    (field,) = message.DESCRIPTOR.fields
    return message(**{field.name: value})


def _serialize(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
