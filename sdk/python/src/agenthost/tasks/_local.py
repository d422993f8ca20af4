from __future__ import annotations

import os
from collections.abc import Callable
from dataclasses import dataclass
from typing import Any

import grpc
from flyteidl.admin import agent_pb2
from flyteidl.service import agent_pb2_grpc
from flytekit.exceptions.system import FlyteSystemException
from flytekit.exceptions.user import FlyteUserException
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskTemplate

try:  # flytekit 1.16 and later
    from flytekit.extend.backend.base_connector import (
        AsyncConnectorBase,
        AsyncConnectorExecutorMixin,
        ConnectorRegistry,
        Resource,
        ResourceMeta,
        SyncConnectorBase,
        SyncConnectorExecutorMixin,
    )
except ImportError:  # the same things by the names they had before
    from flytekit.extend.backend.base_agent import AgentRegistry as ConnectorRegistry
    from flytekit.extend.backend.base_agent import AsyncAgentBase as AsyncConnectorBase
    from flytekit.extend.backend.base_agent import AsyncAgentExecutorMixin as AsyncConnectorExecutorMixin
    from flytekit.extend.backend.base_agent import Resource, ResourceMeta
    from flytekit.extend.backend.base_agent import SyncAgentBase as SyncConnectorBase
    from flytekit.extend.backend.base_agent import SyncAgentExecutorMixin as SyncConnectorExecutorMixin

ADDRESS = "AGENTHOST_ADDRESS"
"""The environment variable that names the host which runs tasks in local executions, as for `agenthost task run`."""

RPC_TIMEOUT = 10.0
"""Seconds that a call to the host may take: what FlytePropeller allows by default."""


class RunsOnHost(AsyncConnectorExecutorMixin):  # type: ignore[misc]
    """Local execution (`my_task(x=1)` in Python, `pyflyte run`) for tasks that need a plugin.

    A connector that is registered for the task type in this process runs the task, as in flytekit's other tasks.
    Without one, the host at AGENTHOST_ADDRESS runs it. Without that either, the error says what to do. Nothing of
    this plays a part when the task runs on Flyte.
    """

    def execute(self, **kwargs: Any) -> LiteralMap:
        _ensure_connector(self, HostConnector)
        return super().execute(**kwargs)


class RunsOnHostAtOnce(SyncConnectorExecutorMixin):  # type: ignore[misc]
    """RunsOnHost for tasks of synchronous plugins, which answer within one call."""

    def execute(self, **kwargs: Any) -> LiteralMap:
        _ensure_connector(self, HostSyncConnector)
        return super().execute(**kwargs)


def _ensure_connector(task: Any, connector: Callable[[str, int], Any]) -> None:
    try:
        ConnectorRegistry.get_agent(task.task_type, task.task_type_version)
    except FlyteSystemException:  # there is none; its exact class depends on flytekit's version
        ConnectorRegistry.register(connector(task.task_type, task.task_type_version))


@dataclass
class HostJob(ResourceMeta):  # type: ignore[misc]
    """A job on the host: where it runs, and what the host calls it."""

    address: str
    output_prefix: str
    resource_meta: bytes


class HostConnector(AsyncConnectorBase):  # type: ignore[misc]
    """A connector that runs nothing itself: it sends each call on to a host, as FlytePropeller would."""

    name = "agenthost"

    def __init__(self, task_type: str, task_type_version: int) -> None:
        super().__init__(metadata_type=HostJob, task_type_name=task_type, task_type_version=task_type_version)
        self._category = agent_pb2.TaskCategory(name=task_type, version=task_type_version)

    def create(
        self,
        task_template: TaskTemplate,
        output_prefix: str,
        inputs: LiteralMap | None = None,
        **kwargs: Any,
    ) -> HostJob:
        address = _address_for(task_template)
        request = agent_pb2.CreateTaskRequest(
            template=task_template.to_flyte_idl(),
            inputs=inputs.to_flyte_idl() if inputs else None,
            output_prefix=output_prefix,
        )
        response = self._call(address, "CreateTask", request)
        return HostJob(address, output_prefix, response.resource_meta)

    def get(self, resource_meta: HostJob, **kwargs: Any) -> Resource:
        request = agent_pb2.GetTaskRequest(
            task_type=self._category.name,
            task_category=self._category,
            resource_meta=resource_meta.resource_meta,
            output_prefix=resource_meta.output_prefix,
        )
        found = self._call(resource_meta.address, "GetTask", request).resource
        return _resource(found)

    def delete(self, resource_meta: HostJob, **kwargs: Any) -> None:
        request = agent_pb2.DeleteTaskRequest(
            task_type=self._category.name,
            task_category=self._category,
            resource_meta=resource_meta.resource_meta,
        )
        self._call(resource_meta.address, "DeleteTask", request)

    def _call(self, address: str, method: str, request: Any) -> Any:
        with grpc.insecure_channel(address) as channel:
            stub = agent_pb2_grpc.AsyncAgentServiceStub(channel)
            try:
                return getattr(stub, method)(request, timeout=RPC_TIMEOUT)
            except grpc.RpcError as e:
                raise _failed(method, self._category, address, e) from e


class HostSyncConnector(SyncConnectorBase):  # type: ignore[misc]
    """HostConnector for synchronous plugins."""

    name = "agenthost sync"

    def __init__(self, task_type: str, task_type_version: int) -> None:
        super().__init__(task_type_name=task_type, task_type_version=task_type_version)
        self._category = agent_pb2.TaskCategory(name=task_type, version=task_type_version)

    def do(
        self,
        task_template: TaskTemplate,
        output_prefix: str,
        inputs: LiteralMap | None = None,
        **kwargs: Any,
    ) -> Resource:
        address = _address_for(task_template)
        header = agent_pb2.CreateRequestHeader(template=task_template.to_flyte_idl(), output_prefix=output_prefix)
        parts = [agent_pb2.ExecuteTaskSyncRequest(header=header)]
        if inputs:
            parts.append(agent_pb2.ExecuteTaskSyncRequest(inputs=inputs.to_flyte_idl()))
        with grpc.insecure_channel(address) as channel:
            stub = agent_pb2_grpc.SyncAgentServiceStub(channel)
            try:
                # The host answers with one message.
                (answer,) = stub.ExecuteTaskSync(iter(parts), timeout=RPC_TIMEOUT)
            except grpc.RpcError as e:
                raise _failed("ExecuteTaskSync", self._category, address, e) from e
        return _resource(answer.header.resource)


def _address_for(task_template: TaskTemplate) -> str:
    address = os.environ.get(ADDRESS)
    if not address:
        raise FlyteUserException(
            f"The task {task_template.id.name} runs in agenthost's plugin for {task_template.type!r}, not in "
            f"Python. To run it locally, start a host (`agenthost serve`) and set {ADDRESS}=localhost:8000."
        )
    return address


def _resource(found: Any) -> Resource:
    return Resource(
        phase=found.phase,
        message=found.message,
        log_links=list(found.log_links),
        # None, not an empty map, makes flytekit look for outputs.pb.
        outputs=LiteralMap.from_flyte_idl(found.outputs) if found.HasField("outputs") else None,
    )


def _failed(method: str, category: Any, address: str, e: grpc.RpcError) -> FlyteSystemException:
    return FlyteSystemException(
        f"{method} of {category.name!r} on the host at {address} ({ADDRESS}) failed: {e.code().name}: {e.details()}"
    )
