# Reports are tables that a service makes, reached by HTTP: what a plugin in Python looks like. The SDK's README goes
# through it.
import datetime
import logging
from dataclasses import dataclass
from typing import Any

import prometheus_client

from agenthost import httpclient
from agenthost.agent import (
    AsyncAgent,
    InvalidArgument,
    Job,
    NotFound,
    Plugin,
    Resource,
    SecretRef,
    Size,
    StructuredDataset,
    SystemFailure,
    Task,
    UserFailure,
    failed,
    queued,
    retryable_failed,
    running,
    succeeded,
)

log = logging.getLogger(__name__)
begun = prometheus_client.Counter("reports_begun", "Reports that were asked for.")


@dataclass
class Config:
    """The plugin's `config:` in the host's file."""

    service: str
    token: SecretRef  # the name of a secret
    patience: datetime.timedelta = datetime.timedelta(hours=1)  # written as "90s" or "1h30m"
    max_size: Size = Size("1GiB")


@dataclass
class Report:
    """What Flyte keeps of a job between the calls, as JSON."""

    id: str
    table: str
    until: datetime.datetime


class Reports(AsyncAgent[Report]):
    task_type = "report"
    idempotent_create = True

    async def configure(self, config: Config) -> None:
        self.config = config
        self.client = httpclient.AsyncClient(base_url=config.service)  # in the loop that will use it

    async def create(self, task: Task) -> Report:
        """Starts a job and returns at once. The service makes one job of a name, however often it is told."""
        order = {
            "statement": task.input("statement", str),
            "limit": task.input("limit", int, 1000),
            "max_bytes": int(self.config.max_size),
            "to": f"{task.output_prefix}/report.parquet",
        }
        until = datetime.datetime.now(datetime.timezone.utc) + self.config.patience
        await self.call("PUT", task.idempotency_key, order)
        begun.inc()
        log.info("report begun", extra={"job": task.idempotency_key, "limit": order["limit"]})
        return Report(task.idempotency_key, order["to"], until)

    async def get(self, job: Job[Report]) -> Resource:
        """Says how a job is. It may come to another process than the one that made the job."""
        said = await self.call("GET", job.meta.id)
        match said["state"]:
            case "done":
                table = StructuredDataset(job.meta.table, "parquet", {"city": "STRING"})
                return succeeded({"rows": said["rows"], "table": table})
            case "failed":
                return failed(UserFailure("BadStatement", said["problem"]))
            case _ if datetime.datetime.now(datetime.timezone.utc) > job.meta.until:
                return retryable_failed(SystemFailure("TooSlow", "the service took too long"))
            case "queued":
                return queued("the service is busy")
        far = running().with_progress(said["rows"] / said["of"], f"{said['rows']} of {said['of']} rows")
        return far.with_link("Report", f"{self.config.service}/jobs/{job.meta.id}")

    async def delete(self, job: Job[Report]) -> None:
        """Ends a job; it is fine if there is none."""
        await self.call("DELETE", job.meta.id)

    async def call(self, method: str, id: str, order: Any = None) -> Any:
        """Asks the service about a job: again, where it is busy."""
        token = self.config.token.get().reveal()  # each time: it may change
        headers = {"authorization": f"Bearer {token}"}
        response = await self.client.request(method, f"/jobs/{id}", json=order, headers=headers)
        if response.status_code == 404:
            raise NotFound(f"the service has no job {id}")
        if response.is_error:
            raise InvalidArgument(f"the service refuses the call: {response.status_code} {response.reason_phrase}")
        return response.json() if response.content else None

    async def close(self) -> None:
        await self.client.aclose()


def plugin() -> Plugin:
    reports = Reports()
    return Plugin("reports", "1.0.0", [reports]).configure(Config, reports.configure).metrics()


if __name__ == "__main__":
    plugin().serve()
