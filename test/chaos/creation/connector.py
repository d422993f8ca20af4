"""A connector of flytekit's whose jobs are the ledger's (test/chaos/ledger)."""

import os
from dataclasses import dataclass
from typing import Any

import httpx
from flytekit.extend.backend.base_connector import AsyncConnectorBase, ConnectorRegistry, Resource, ResourceMeta
from flytekit.extend.backend.utils import convert_to_flyte_phase

PHASES = {"queued": "QUEUED", "running": "RUNNING", "succeeded": "SUCCEEDED", "failed": "FAILED", "cancelled": "FAILED"}


@dataclass
class Job(ResourceMeta):
    job: str


async def call(op: str, **request: Any) -> dict[str, Any]:
    request |= {"agent": "flytekit", "release": "r1", "plugin": os.getpid(), "host": os.getppid()}
    async with httpx.AsyncClient(trust_env=False) as client:
        answer = await client.post(f"{os.environ['CHAOS_LEDGER']}/{op}", json=request)
        answer.raise_for_status()
        return answer.json()


class LedgerConnector(AsyncConnectorBase):
    name = "Ledger Connector"

    def __init__(self) -> None:
        super().__init__(task_type_name="chaos_flytekit", metadata_type=Job)

    async def create(self, task_template: Any, inputs: Any = None, **kwargs: Any) -> Job:
        execution = kwargs["task_execution_metadata"].task_execution_id
        answer = await call(
            "create",
            task=execution.node_execution_id.execution_id.name,
            attempt=execution.retry_attempt,
            number=inputs.literals["number"].scalar.primitive.integer,
            text=inputs.literals["text"].scalar.primitive.string_value,
        )
        return Job(job=answer["job"])

    async def get(self, resource_meta: Job, **kwargs: Any) -> Resource:
        answer = await call("get", job=resource_meta.job)
        outputs = None
        if answer["state"] == "succeeded":
            outputs = {"number": answer.get("number", 0), "text": answer.get("text", "")}
        phase = convert_to_flyte_phase(PHASES[answer["state"]])
        return Resource(phase=phase, message=answer.get("message"), outputs=outputs)

    async def delete(self, resource_meta: Job, **kwargs: Any) -> None:
        await call("delete", job=resource_meta.job)


ConnectorRegistry.register(LedgerConnector())
