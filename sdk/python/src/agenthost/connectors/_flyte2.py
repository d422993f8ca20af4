"""The connectors of Flyte 2's SDK."""

from __future__ import annotations

import importlib
import importlib.metadata
import inspect
from collections.abc import AsyncIterator, Collection, Mapping, Sequence
from typing import Any

from agenthost.plugin import take_over
from agenthost.service import Registered, Registry

from ._dialect import ConnectorDialect, kept
from ._loading import import_modules, load

# Flyte 2 has other names for the same messages.
_RENAMED = {
    "Agent": "Connector",
    "ListAgentsRequest": "ListConnectorsRequest",
    "ListAgentsResponse": "ListConnectorsResponse",
    "GetAgentRequest": "GetConnectorRequest",
    "GetAgentResponse": "GetConnectorResponse",
}


class Flyte2(ConnectorDialect):
    """Calls connectors as Flyte 2's own server does."""

    distribution = "flyte"
    has_sync = False

    def load(self, modules: Sequence[str], task_types: Collection[str] | None = None) -> Registry:
        import_modules(["flyte.connectors"])
        take_over("flyte")
        take_over("flyte.user")
        # One that fails may be another connector than the wanted one.
        failures = [load(f"the entry point {entry.value}", entry.load) for entry in _entry_points()]
        import_modules(modules)
        registry = importlib.import_module("flyte.connectors").ConnectorRegistry._REGISTRY
        found = [
            Registered(one, one.name, key.task_type_name, key.task_type_version, False, self.loop_of(one))
            for key, one in registry.items()
        ]
        return Registry(found, [failure for failure in failures if failure])

    def message(self, name: str) -> Any:
        from flyteidl2.connector import connector_pb2
        from flyteidl2.core import literals_pb2

        return getattr(connector_pb2, _RENAMED.get(name, name), None) or getattr(literals_pb2, name)

    async def create(self, one: Registered, request: Any, metadata: Mapping[str, str]) -> Any:
        template = request.template
        meta = await one.loop.here(
            one.agent.create,
            task_template=template,
            inputs=await _native_inputs(template, request.inputs),
            output_prefix=request.output_prefix,
            task_execution_metadata=request.task_execution_metadata,
            **_connection(request),
        )
        return self.message("CreateTaskResponse")(resource_meta=kept(one.agent, meta))

    async def get(self, one: Registered, request: Any) -> Any:
        from flyte.connectors._connector import get_resource_proto

        resource = await one.loop.here(one.agent.get, resource_meta=_meta(one, request), **_connection(request))
        return self.message("GetTaskResponse")(resource=await get_resource_proto(resource))

    async def delete(self, one: Registered, request: Any) -> Any:
        await one.loop.here(one.agent.delete, resource_meta=_meta(one, request), **_connection(request))
        return self.message("DeleteTaskResponse")()

    async def metrics(self, one: Registered, request: Any) -> Any:
        return await one.loop.here(one.agent.get_metrics, resource_meta=_meta(one, request))

    async def logs(self, one: Registered, request: Any) -> AsyncIterator[Any]:
        parts = one.loop.stream_here(one.agent.get_logs, resource_meta=_meta(one, request), token=request.token)
        async for part in parts:
            yield part

    def listed(self, name: str, is_sync: bool, categories: list[Any]) -> Any:
        return self.message("Agent")(name=name, supported_task_categories=categories)


def _entry_points() -> list[importlib.metadata.EntryPoint]:
    return list(importlib.metadata.entry_points(group="flyte.connectors"))


async def _native_inputs(template: Any, inputs: Any) -> dict[str, Any]:
    from flyte._internal.runtime.convert import Inputs, convert_from_inputs_to_native
    from flyte.models import NativeInterface
    from flyte.types import TypeEngine

    types = {
        entry.key: (TypeEngine.guess_python_type(entry.value.type), inspect.Parameter.empty)
        for entry in template.interface.inputs.variables
    }
    interface = NativeInterface.from_types(inputs=types, outputs={})
    native: dict[str, Any] = await convert_from_inputs_to_native(interface, Inputs(proto_inputs=inputs))
    return native


def _connection(request: Any) -> dict[str, str]:
    """What Flyte 2 sends along for the connector to reach its system; a setting comes before a secret of its name."""
    return {**request.connection.secrets, **request.connection.configs}


def _meta(one: Registered, request: Any) -> Any:
    return one.agent.metadata_type.decode(request.resource_meta)
