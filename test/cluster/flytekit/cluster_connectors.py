"""Connectors for flytekit's own server and for agenthost-flytekit, with either kind of metadata: JSON and pickles.

Their jobs are files: one is over when the file that its task names is there.
"""

import pickle
from dataclasses import dataclass
from pathlib import Path

from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskTemplate


@dataclass
class AsJSON(ResourceMeta):
    """A job by the file that ends it."""

    file: str


@dataclass
class AsPickle(AsJSON):
    """The same, in bytes that only Python with this module can read."""

    def encode(self) -> bytes:
        return pickle.dumps(self)

    @classmethod
    def decode(cls, data: bytes) -> "AsPickle":
        return pickle.loads(data)


class Files(AsyncConnectorBase):
    """Waits for files."""

    def __init__(self, task_type: str, metadata: type[AsJSON]):
        super().__init__(task_type_name=task_type, metadata_type=metadata)

    async def create(self, task_template: TaskTemplate, inputs: LiteralMap | None = None, **_: object) -> AsJSON:
        return self._metadata_type(file=task_template.custom["file"])

    async def get(self, resource_meta: AsJSON, **_: object) -> Resource:
        over = Path(resource_meta.file).exists()
        return Resource(phase=TaskExecution.SUCCEEDED if over else TaskExecution.RUNNING)

    async def delete(self, resource_meta: AsJSON, **_: object) -> None:
        """Leaves the file to its owner."""


ConnectorRegistry.register(Files("file_json", AsJSON))
ConnectorRegistry.register(Files("file_pickle", AsPickle))
