"""A connector of flytekit's, for the environment in the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta


@dataclass
class Greeting(ResourceMeta):
    """Whom a job greets."""

    name: str


class Greeter(AsyncConnectorBase):
    """Greets whom its task's custom part names."""

    name = "Greeter"

    def __init__(self) -> None:
        super().__init__(task_type_name="flytekit_greeting", metadata_type=Greeting)

    async def create(self, task_template: Any, inputs: Any = None, **_: Any) -> Greeting:
        return Greeting(task_template.custom["name"])

    async def get(self, resource_meta: Greeting, **_: Any) -> Resource:
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"greeting": f"Hello, {resource_meta.name}"})

    async def delete(self, resource_meta: Greeting, **_: Any) -> None:
        pass


ConnectorRegistry.register(Greeter())
