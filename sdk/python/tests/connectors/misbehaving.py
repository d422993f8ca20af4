"""A connector that does what connectors must not do. Its task's custom part says what."""

import os
import sys
import time
from dataclasses import dataclass

try:
    from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta
except ImportError:
    from flytekit.extend.backend.base_agent import AgentRegistry as ConnectorRegistry
    from flytekit.extend.backend.base_agent import AsyncAgentBase as AsyncConnectorBase
    from flytekit.extend.backend.base_agent import Resource, ResourceMeta

from flyteidl.admin.agent_pb2 import GetTaskLogsResponse
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit import lazy_module

slow = lazy_module("slow")

print("1|1|unix|/nowhere|grpc|")  # as a handshake would look
os.write(1, b"straight to the file descriptor\n")


@dataclass
class Meta(ResourceMeta):
    """What a job does when it is asked."""

    mode: str
    gate: str


def wait_for(path):
    """Blocks whoever calls it."""
    while not os.path.exists(path):
        time.sleep(0.02)


class Misbehaving(AsyncConnectorBase):
    """Blocks, exits, prints and raises."""

    name = "Misbehaving"

    def __init__(self, task_type):
        super().__init__(task_type_name=task_type, metadata_type=Meta)

    async def create(self, task_template, inputs=None, **kwargs):
        print("printed in a call")
        custom = task_template.custom or {}
        mode = custom.get("mode", "")
        if mode == "exit":
            sys.exit(7)
        if mode == "lazy":
            assert slow.READY
        if mode == "raise":
            raise KeyError("missing")
        if mode == "none":
            return None
        if mode == "unreadable":
            return Meta({1: wait_for}, "")
        if mode == "block":
            wait_for(custom["gate"])
        return Meta(mode, custom.get("gate", ""))

    def get(self, resource_meta):  # takes no **kwargs, as some do
        if resource_meta.mode == "exit in get":
            sys.exit("enough")
        return Resource(phase=TaskExecution.SUCCEEDED, outputs={"n": 1})

    async def delete(self, resource_meta, **kwargs):
        raise NotImplementedError("there is no way back")

    async def get_logs(self, resource_meta, **kwargs):
        yield GetTaskLogsResponse(body={"results": ["first"]})
        if resource_meta.gate:
            wait_for(resource_meta.gate)
        yield GetTaskLogsResponse(body={"results": ["second"]})


class Quiet(Misbehaving):
    """Returns its log whole, as flytekit's interface has it."""

    name = "Quiet"

    def get_logs(self, resource_meta, **kwargs):
        return GetTaskLogsResponse(body={"results": ["all", "at once"]})


ConnectorRegistry.register(Misbehaving("misbehaving"))
ConnectorRegistry.register(Quiet("quiet"))
