# Everything that the Python SDK offers, in one plugin. A job does what its input "do" says. test/languages/features
# asks it, as it asks the same example in the other languages.
import asyncio
import datetime
import enum
import html
import logging
import os
import pathlib
import tempfile
import threading
from collections.abc import AsyncIterator
from dataclasses import dataclass, field
from typing import Any

import prometheus_client
from flyteidl.core import metrics_pb2

from agenthost import httpclient, storage
from agenthost.agent import (
    Abandoned,
    AsyncAgent,
    Category,
    Directory,
    File,
    InvalidArgument,
    Job,
    LogLine,
    LogQuery,
    MetricsQuery,
    NextToken,
    NotFound,
    Plugin,
    Resource,
    Size,
    StructuredDataset,
    SyncAgent,
    SystemFailure,
    Task,
    Unavailable,
    UserFailure,
    failed,
    retryable_failed,
    running,
    succeeded,
)
from agenthost.jobstore import JobStore

log = logging.getLogger("features")
jobs = prometheus_client.Counter("features_jobs", "Jobs created, by what they do.", ["do"])


class Region(enum.Enum):
    EU = "eu"
    US = "us"


@dataclass
class Limits:
    cpu: int = 1


@dataclass
class Config:
    region: Region = field(metadata={"description": "Where jobs run."})
    grace: datetime.timedelta = datetime.timedelta(seconds=30)
    memory: Size = Size("1GiB")
    hosts: list[str] = field(default_factory=list)
    weights: dict[str, int] = field(default_factory=dict)
    limits: Limits | None = None


@dataclass
class Meta:
    """What Flyte keeps of a job."""

    do: str
    key: str = ""
    prefix: str = ""
    types: str = ""
    seconds_left: float = 0


class Jobs(AsyncAgent[Meta]):
    task_type = "features_job"
    also = (Category("features_job", 2),)
    name = "Features"
    idempotent_create = True

    def __init__(self) -> None:
        self.attempts: dict[str, Meta | None] = {}
        """What became of the attempts, by their keys: a job, or None where the attempt was abandoned."""
        self.watching: list[asyncio.Task[None]] = []

    async def find(self, task: Task) -> Meta:
        if task.idempotency_key not in self.attempts:
            raise NotFound("the attempt has no job")
        made = self.attempts[task.idempotency_key]
        if made is None:
            raise Abandoned("the attempt was abandoned")
        return made

    async def abandon(self, task: Task) -> None:
        self.attempts[task.idempotency_key] = None

    async def create(self, task: Task) -> Meta:
        if self.attempts.get(task.idempotency_key, ...) is None:
            raise Abandoned("the attempt was abandoned")
        do = task.input("do", str)
        jobs.labels(do).inc()
        if do == "block":
            log.info("blocks")
            threading.Event().wait()
        if do == "watch":
            self.watching.append(asyncio.create_task(watch(task)))
        if do == "unavailable":
            raise Unavailable("the warehouse is closed")
        if do == "panic":
            raise RuntimeError("out of order")
        if do == "print":
            print("printed to stdout")
            log.warning("logged", extra={"rows": 3})
        if do == "hold":
            await hold(pathlib.Path(task.output_prefix, "begun"))
        made = Meta(do, task.idempotency_key, task.output_prefix, task.output_types, task.seconds_left or 0)
        self.attempts[task.idempotency_key] = made
        return made

    async def get(self, job: Job[Meta]) -> Resource:
        match job.meta.do:
            case "running":
                return (
                    running("half way")
                    .with_link("Console", "https://example.com/1")
                    .with_link("Queue", "https://example.com/2", show_while_pending=True, hide_once_finished=True)
                    .with_info(rows=3)
                )
            case "progress":
                return running().with_progress(0.4, "4 of 10 files")
            case "user-error":
                return failed(UserFailure("BadSQL", "no such table"))
            case "system-error":
                return retryable_failed(SystemFailure("Quota", "no more slots"))
            case "typed":
                return succeeded({"ratio": 1}, types=job.meta.types)
        secret = job.secret("from_variable")
        outputs: dict[str, Any] = {
            "key": job.meta.key,
            "created_prefix": job.meta.prefix,
            "polled_prefix": job.output_prefix,
            "seconds_left": job.meta.seconds_left,
            "variable": secret.reveal(),
            "file": job.secret("from_file").reveal(),
            "printed": str(secret),
        }
        if job.connection is not None:
            outputs["host"] = job.connection.configs["host"]
        return succeeded(outputs)

    async def delete(self, job: Job[Meta]) -> None: ...

    async def logs(self, job: Job[Meta], query: LogQuery) -> AsyncIterator[Any]:
        yield LogLine("first", datetime.datetime.fromtimestamp(1e9, datetime.timezone.utc), "USER")
        yield LogLine("second", originator="SYSTEM")
        yield NextToken("2")

    async def metrics(self, job: Job[Meta], query: MetricsQuery) -> list[metrics_pb2.ExecutionMetricResult]:
        assert query.start is not None and query.end is not None and query.step is not None
        span, step = (query.end - query.start).total_seconds(), query.step.total_seconds()
        results = [metrics_pb2.ExecutionMetricResult(metric=name) for name in query.queries]
        for result in results:
            result.data.update({"span": span, "step": step})
        return results

    def decode(self, data: bytes) -> Meta:
        """Also reads what another program has written: "legacy:" and what the job does."""
        if data.startswith(b"legacy:"):
            return Meta(data.removeprefix(b"legacy:").decode())
        return super().decode(data)

    async def close(self) -> None:
        log.info("closed")


class Plain(Jobs):
    task_type = "features_plain"
    also = ()
    name = "Plain"
    idempotent_create = False


class Blocking(Jobs):
    task_type = "features_blocks"
    also = ()
    name = "Blocks"


class Stored(AsyncAgent[str]):
    """Keeps its jobs in files, by the attempts' keys, which are all that Flyte keeps."""

    task_type = "features_stored"

    def __init__(self) -> None:
        folder = os.environ.get("FEATURES_STORE") or os.path.join(tempfile.gettempdir(), "features")
        self.jobs = JobStore(folder, Meta)

    def create(self, task: Task) -> str:
        self.jobs.add(task.idempotency_key, Meta(task.input("do", str), task.idempotency_key))
        return task.idempotency_key

    def get(self, job: Job[str]) -> Resource:
        kept = self.jobs.get(job.meta)
        return succeeded({"do": kept.do, "key": kept.key})

    def delete(self, job: Job[str]) -> None:
        self.jobs.delete(job.meta)


async def watch(task: Task) -> None:
    """What goes on behind a call, until a newer process takes over."""
    await task.replaced.wait()
    log.info("replaced")


async def hold(file: pathlib.Path) -> None:
    """Waits until the file that it makes is gone."""
    file.touch()
    while file.exists():
        await asyncio.sleep(0.01)


class Echo(SyncAgent):
    task_type = "features_echo"

    async def execute(self, task: Task) -> Resource:
        return succeeded(task.inputs())


@dataclass
class Counted:
    count: int
    label: str


class Custom(SyncAgent):
    task_type = "features_custom"

    async def execute(self, task: Task) -> Resource:
        counted = task.custom(Counted)
        return succeeded({"count": counted.count, "label": counted.label})


class Together(SyncAgent):
    task_type = "features_together"

    async def execute(self, task: Task) -> Resource:
        counted = task.inputs_as(Counted)
        return succeeded({"count": counted.count, "label": counted.label})


@dataclass
class Point:
    x: int
    label: str


class MovePoint(SyncAgent):
    task_type = "features_point"

    async def execute(self, task: Task) -> Resource:
        point = task.input("point", Point)
        return succeeded({"point": Point(point.x + 1, point.label)})


class Writes(SyncAgent):
    task_type = "features_writes"

    async def execute(self, task: Task) -> Resource:
        text = task.input("text", str)
        file = await storage.awrite(task.output_prefix, "report.txt", text)
        await storage.awrite_deck(task.output_prefix, f"<h1>Report</h1><p>{html.escape(text)}</p>")
        return succeeded({"file": file})


class Fetches(SyncAgent):
    task_type = "features_fetches"
    client: httpclient.AsyncClient | None = None

    async def execute(self, task: Task) -> Resource:
        self.client = self.client or httpclient.AsyncClient()
        url = task.input("url", str)
        response = await self.client.get(url)
        if response.status_code != 200:
            raise InvalidArgument(f"{url} answers {response.status_code}")
        return succeeded({"body": response.text})


@dataclass
class Stores:
    file: File
    directory: Directory
    table: StructuredDataset


class Refers(SyncAgent):
    task_type = "features_refers"

    async def execute(self, task: Task) -> Resource:
        got = task.inputs_as(Stores)
        table = " ".join([got.table.uri, got.table.format, *got.table.columns])
        return succeeded(
            {
                "said": f"file {got.file.uri} {got.file.format}, directory {got.directory.uri}, table {table}",
                "file": File(f"{got.file.uri}.out", "json"),
                "directory": Directory(f"{got.directory.uri}.out"),
                "table": StructuredDataset(f"{got.table.uri}.out", "parquet", {"n": "INTEGER"}),
            }
        )


if __name__ == "__main__":
    jobs_agents = [Jobs(), Plain(), Blocking(), Stored()]
    agents = [*jobs_agents, Echo(), Custom(), Together(), MovePoint(), Writes(), Fetches(), Refers()]
    Plugin("features", "1.0.0", agents).configure(Config, lambda config: None).metrics().serve()
