"""flytekit's connectors, and its agents, as they were called before flytekit 1.16."""

from __future__ import annotations

import dataclasses
import functools
import importlib
import inspect
import os
from collections.abc import AsyncIterator, Collection, Iterable, Mapping, Sequence
from typing import Any

from agenthost.plugin import LoadError, take_over
from agenthost.service import Registered, Registry

from ._dialect import ConnectorDialect, kept
from ._loading import import_modules, load


class Flytekit(ConnectorDialect):
    """Calls connectors as flytekit's own server does, but for what that server gets wrong."""

    distribution = "flytekit"

    def load(self, modules: Sequence[str], task_types: Collection[str] | None = None) -> Registry:
        os.environ.setdefault("FLYTE_SDK_RICH_TRACEBACKS", "0")  # tracebacks go to the host's log, not to a terminal
        # flytekit imports every plugin that is installed beside it, and fails when one of them does.
        import_modules(["flytekit"], "every flytekit plugin in this environment is imported with it: use one for each")
        failures = _import_besides(one for one in _BESIDES if task_types is None or one in task_types)
        import_modules(modules)
        registry, sync = _backend()
        if not {category.name for category in registry}.issuperset(task_types or ()):
            failures = _import_besides(_BESIDES)  # the error tells all that there is
        # Their log is the host's. Besides, rich, which flytekit logs by, raises what is wrong with a call for the log,
        # and so ends each poll of a BigQuery job that has failed.
        for logger in ("flytekit", "user_space", "developer"):
            take_over(logger)
        found = [
            Registered(one, one.name, category.name, category.version, isinstance(one, sync), self.loop_of(one))
            for category, one in registry.items()
        ]
        return Registry(found, failures)

    def message(self, name: str) -> Any:
        from flyteidl.admin import agent_pb2
        from flyteidl.core import literals_pb2

        return getattr(agent_pb2, name, None) or getattr(literals_pb2, name)

    async def create(self, one: Registered, request: Any, metadata: Mapping[str, str]) -> Any:
        from flytekit.models.task import TaskExecutionMetadata

        method = one.agent.create
        meta = await one.loop.here(
            method,
            **_accepted(
                method,
                task_template=_template(request.template),
                inputs=_inputs(request.inputs),
                output_prefix=request.output_prefix,
                task_execution_metadata=TaskExecutionMetadata.from_flyte_idl(request.task_execution_metadata),
            ),
        )
        return self.message("CreateTaskResponse")(resource_meta=kept(one.agent, meta))

    async def get(self, one: Registered, request: Any) -> Any:
        resource = await one.loop.here(one.agent.get, resource_meta=_meta(one, request))
        return self.message("GetTaskResponse")(resource=await _resource(resource))

    async def delete(self, one: Registered, request: Any) -> Any:
        await one.loop.here(one.agent.delete, resource_meta=_meta(one, request))
        return self.message("DeleteTaskResponse")()

    async def metrics(self, one: Registered, request: Any) -> Any:
        return await one.loop.here(one.agent.get_metrics, resource_meta=_meta(one, request))

    async def logs(self, one: Registered, request: Any) -> AsyncIterator[Any]:
        async for part in one.loop.stream_here(one.agent.get_logs, resource_meta=_meta(one, request)):
            yield part

    async def execute(self, one: Registered, header: Any, inputs: Any, metadata: Mapping[str, str]) -> Any:
        method = one.agent.do
        resource = await one.loop.here(
            method,
            **_accepted(
                method,
                task_template=_template(header.template),
                inputs=_inputs(inputs),
                output_prefix=header.output_prefix,
            ),
        )
        answer = self.message("ExecuteTaskSyncResponseHeader")(resource=await _resource(resource))
        return self.message("ExecuteTaskSyncResponse")(header=answer)

    def listed(self, name: str, is_sync: bool, categories: list[Any]) -> Any:
        return self.message("Agent")(
            name=name,
            is_sync=is_sync,
            supported_task_types=dict.fromkeys(category.name for category in categories),
            supported_task_categories=categories,
        )


# What flytekit's own server imports besides, by the task type that it registers. Not every version has it, and not
# every environment what it needs. The webhook makes its client at once: only who serves it should wait for that.
_BESIDES = {"sensor": "flytekit.sensor.sensor_engine", "webhook": "flytekit.extras.webhook"}


def _import_besides(task_types: Iterable[str]) -> list[str]:
    """Returns what went wrong, for people."""
    modules = [_BESIDES[task_type] for task_type in task_types]
    failures = [load(module, functools.partial(importlib.import_module, module)) for module in modules]
    return [failure for failure in failures if failure]


def _backend() -> tuple[dict[Any, Any], type[Any]]:
    """The registry, and the base class of what is called synchronously, by this flytekit's names."""
    try:
        connectors = importlib.import_module("flytekit.extend.backend.base_connector")
        return connectors.ConnectorRegistry._REGISTRY, connectors.SyncConnectorBase
    except ImportError:
        agents = importlib.import_module("flytekit.extend.backend.base_agent")
    try:
        return agents.AgentRegistry._REGISTRY, agents.SyncAgentBase
    except AttributeError as e:
        raise LoadError(f"this flytekit is too old: its base_agent has {e}; use 1.12 or newer") from e


def _accepted(method: Any, **arguments: Any) -> dict[str, Any]:
    """The arguments that a connector's method takes: older ones do not know the newer."""
    names = _parameters(getattr(method, "__func__", method))
    return arguments if names is None else {name: value for name, value in arguments.items() if name in names}


@functools.cache
def _parameters(function: Any) -> frozenset[str] | None:
    """The names of a function's parameters; None where it takes any. Its signature takes longer to find than a call."""
    parameters = inspect.signature(function).parameters.values()
    if any(parameter.kind is parameter.VAR_KEYWORD for parameter in parameters):
        return None
    return frozenset(parameter.name for parameter in parameters)


def _template(template: Any) -> Any:
    from flytekit.models.task import TaskTemplate

    return TaskTemplate.from_flyte_idl(template)


def _inputs(inputs: Any) -> Any:
    from flytekit.models.literals import LiteralMap

    return LiteralMap.from_flyte_idl(inputs)


def _meta(one: Registered, request: Any) -> Any:
    return one.agent.metadata_type.decode(request.resource_meta)


async def _resource(resource: Any) -> Any:
    """flytekit's resource as a message; turning outputs into literals may upload them.

    Outputs that are literals already stay what they are: flytekit would pickle them.
    """
    from flytekit.models.literals import Literal

    outputs = resource.outputs if isinstance(resource.outputs, dict) else {}
    literals = {name: value for name, value in outputs.items() if isinstance(value, Literal)}
    if literals:
        native = {name: value for name, value in outputs.items() if name not in literals}
        resource = dataclasses.replace(resource, outputs=native)
    message = resource.to_flyte_idl()
    if inspect.isawaitable(message):
        message = await message
    for name, literal in literals.items():
        message.outputs.literals[name].CopyFrom(literal.to_flyte_idl())
    return message
