"""A connector of Flyte 2's, for the environment in the image."""

from __future__ import annotations

from dataclasses import dataclass
from typing import Any

from flyte.connectors import AsyncConnector, ConnectorRegistry, Resource, ResourceMeta
from flyteidl2.core.execution_pb2 import TaskExecution
from google.protobuf import json_format


@dataclass
class Greeting(ResourceMeta):
    """Whom a job greets."""

    name: str


class Greeter(AsyncConnector):
    """Greets whom its task's custom part names."""

    name = "Greeter"
    task_type_name = "flyte2_greeting"
    metadata_type = Greeting

    async def create(self, task_template: Any, output_prefix: str, inputs: Any = None, **_: Any) -> Greeting:
        return Greeting(json_format.MessageToDict(task_template.custom)["name"])

    async def get(self, resource_meta: Greeting, **_: Any) -> Resource:
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"greeting": f"Hello, {resource_meta.name}"})

    async def delete(self, resource_meta: Greeting, **_: Any) -> None:
        pass


ConnectorRegistry.register(Greeter())
