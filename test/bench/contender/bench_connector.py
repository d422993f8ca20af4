"""A connector of flytekit's that does what the plugin hello does: its tasks greet whom their input names."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskTemplate


@dataclass
class Greeting(ResourceMeta):
    name: str


class Hello(AsyncConnectorBase):
    name = "Hello Connector"

    def __init__(self) -> None:
        super().__init__(task_type_name="hello", metadata_type=Greeting)

    async def create(self, task_template: TaskTemplate, inputs: LiteralMap | None = None, **_: Any) -> Greeting:
        assert inputs is not None
        return Greeting(inputs.literals["name"].scalar.primitive.string_value)

    async def get(self, resource_meta: Greeting, **_: Any) -> Resource:
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"greeting": f"Hello, {resource_meta.name}"})

    async def delete(self, resource_meta: Greeting, **_: Any) -> None:
        """Nothing is left to delete."""


ConnectorRegistry.register(Hello())
