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

from agenthost.plugin import ABANDON_HEADER, FIND_ONLY_HEADER, CallError, guarded, guarded_stream

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

    def register(self, server: grpc.aio.Server) -> None:
        d = self._dialect

        def unary(method: str, answer: Callable[..., Any]) -> grpc.RpcMethodHandler:
            return grpc.unary_unary_rpc_method_handler(answer, d.message(f"{method}Request").FromString, _serialize)

        logs = grpc.unary_stream_rpc_method_handler(self._logs, d.message("GetTaskLogsRequest").FromString, _serialize)
        services: dict[str, dict[str, grpc.RpcMethodHandler]] = {
            "AsyncAgentService": {
                "CreateTask": unary("CreateTask", self._create),
                "GetTask": unary("GetTask", self._job_call("Get", d.get)),
                "DeleteTask": unary("DeleteTask", self._job_call("Delete", d.delete)),
                "GetTaskMetrics": unary("GetTaskMetrics", self._job_call("Metrics", d.metrics)),
                "GetTaskLogs": logs,
            },
            "AgentMetadataService": {
                "ListAgents": unary("ListAgents", self._list),
                "GetAgent": unary("GetAgent", self._one),
            },
        }
        if d.has_sync:
            execute = grpc.stream_stream_rpc_method_handler(
                self._execute, d.message("ExecuteTaskSyncRequest").FromString, _serialize
            )
            services["SyncAgentService"] = {"ExecuteTaskSync": execute}
        server.add_generic_rpc_handlers(
            tuple(
                grpc.method_handlers_generic_handler(f"flyteidl.service.{name}", methods)
                for name, methods in services.items()
            )
        )

    async def _create(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        template = request.template
        one = await self._find(context, template.type, template.task_type_version, is_sync=False)
        metadata = _metadata(context)
        method, call = "Create", self._dialect.create
        # Whatever the values: what asks for less than a creation must not make a job.
        if FIND_ONLY_HEADER in metadata:
            method, call = "Find", self._dialect.find
        elif ABANDON_HEADER in metadata:
            method, call = "Abandon", self._dialect.abandon
        return await self._guarded(context, one, method, one.loop.call(call, one, request, metadata))

    def _job_call(self, method: str, call: Callable[[Registered, Any], Any]) -> Callable[..., Any]:
        async def answer(request: Any, context: grpc.aio.ServicerContext) -> Any:
            one = await self._find_job(context, request)
            return await self._guarded(context, one, method, one.loop.call(call, one, request))

        return answer

    async def _logs(self, request: Any, context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        one = await self._find_job(context, request)
        parts = one.loop.stream(self._dialect.logs, one, request)
        async for part in guarded_stream(context, one.name, one.task_type, "Logs", parts):
            yield part

    async def _execute(self, requests: AsyncIterator[Any], context: grpc.aio.ServicerContext) -> AsyncIterator[Any]:
        """Answers with one message, the header with the resource and its outputs: FlytePropeller reads no more."""
        header, inputs = None, self._dialect.message("LiteralMap")()
        async for part in requests:
            if part.HasField("header"):
                header = part.header
            if part.HasField("inputs"):
                inputs.MergeFrom(part.inputs)
        if header is None:
            await context.abort(
                grpc.StatusCode.INVALID_ARGUMENT,
                "the call has no header: ExecuteTaskSync needs a header with the task's template first",
            )
            return
        template = header.template
        one = await self._find(context, template.type, template.task_type_version, is_sync=True)
        yield await self._guarded(
            context, one, "Execute", one.loop.call(self._dialect.execute, one, header, inputs, _metadata(context))
        )

    async def _list(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        return _only_field(self._dialect.message("ListAgentsResponse"), self._agents())

    async def _one(self, request: Any, context: grpc.aio.ServicerContext) -> Any:
        for agent in self._agents():
            if agent.name == request.name:
                return _only_field(self._dialect.message("GetAgentResponse"), agent)
        await context.abort(grpc.StatusCode.NOT_FOUND, f'this plugin has no agent "{request.name}"')

    def _agents(self) -> list[Any]:
        grouped: dict[tuple[str, bool], list[Any]] = {}
        category = self._dialect.message("TaskCategory")
        for one in self._registry.all():
            grouped.setdefault((one.name, one.is_sync), []).append(category(name=one.task_type, version=one.version))
        return [self._dialect.listed(name, is_sync, categories) for (name, is_sync), categories in grouped.items()]

    async def _find_job(self, context: grpc.aio.ServicerContext, request: Any) -> Registered:
        category = request.task_category
        # task_type is what Flyte asked by before there were categories, and Flyte 2 has dropped it.
        name = category.name or getattr(request, "task_type", "")
        return await self._find(context, name, category.version, is_sync=False)

    async def _find(self, context: grpc.aio.ServicerContext, task_type: str, version: int, is_sync: bool) -> Registered:
        try:
            found = self._registry.find(task_type, version, is_sync)
            self._check_ready()
            return found
        except CallError as e:
            await context.abort(e.code, str(e))
            raise

    @staticmethod
    async def _guarded(context: grpc.aio.ServicerContext, one: Registered, method: str, call: Any) -> Any:
        return await guarded(context, one.name, one.task_type, method, call)


def _only_field(message: Any, value: Any) -> Any:
    """A message of one field, which Flyte 2 has another name for."""
    (field,) = message.DESCRIPTOR.fields
    return message(**{field.name: value})


def _metadata(context: grpc.aio.ServicerContext) -> dict[str, str]:
    return {key: value for key, value in context.invocation_metadata() or () if isinstance(value, str)}


def _serialize(message: Any) -> bytes:
    data: bytes = message.SerializeToString()
    return data
