"""How a Flyte agent is written in Python.

An agent handles the tasks of one task type. It is a class with three methods, and a program with one line:

    >>> from dataclasses import dataclass
    >>> from agenthost.agent import AsyncAgent, Job, Plugin, Resource, Task, succeeded

    >>> @dataclass
    ... class Query:  # what Flyte keeps between the calls, as JSON
    ...     statement: str

    >>> class Warehouse(AsyncAgent[Query]):
    ...     task_type = "warehouse_query"
    ...
    ...     async def create(self, task: Task) -> Query:  # start, return at once
    ...         return Query(task.input("statement", str))
    ...
    ...     async def get(self, job: Job[Query]) -> Resource:  # how is it?
    ...         return succeeded({"ran": job.meta.statement})
    ...
    ...     async def delete(self, job: Job[Query]) -> None: ...  # end it; fine if it is gone

    >>> plugin = Plugin("warehouse", "1.0.0", [Warehouse()])

The program's last line is `plugin.serve()`. In a test:

    >>> from agenthost.testing import run
    >>> with run(plugin) as client:
    ...     client.run_task("warehouse_query", inputs={"statement": "select 1"}).outputs
    {'ran': 'select 1'}

Methods may be plain functions too: those run in threads. For work that fits within a call, write a `SyncAgent` with one
method, `execute`. `agenthost.testing` runs plugins in tests.
"""

from agenthost.plugin import ConfigError, trace_headers

from ._agents import AsyncAgent, Category, LogLine, LogQuery, MetricsQuery, NextToken, SyncAgent
from ._configtypes import SecretRef, Size
from ._errors import (
    Abandoned,
    FailedPrecondition,
    InvalidArgument,
    NotFound,
    SystemFailure,
    Unauthenticated,
    Unavailable,
    UserFailure,
)
from ._literals import Binary, Directory, File, FlyteError, StructuredDataset
from ._plugin import Plugin
from ._resource import (
    Phase,
    Resource,
    aborted,
    failed,
    initializing,
    queued,
    retryable_failed,
    running,
    succeeded,
    waiting_for_resources,
)
from ._secrets import Secret, secret
from ._task import Connection, Job, Task

__all__ = [
    "Abandoned",
    "AsyncAgent",
    "Binary",
    "Category",
    "ConfigError",
    "Connection",
    "Directory",
    "FailedPrecondition",
    "File",
    "FlyteError",
    "InvalidArgument",
    "Job",
    "LogLine",
    "LogQuery",
    "MetricsQuery",
    "NextToken",
    "NotFound",
    "Phase",
    "Plugin",
    "Resource",
    "Secret",
    "SecretRef",
    "Size",
    "StructuredDataset",
    "SyncAgent",
    "SystemFailure",
    "Task",
    "Unauthenticated",
    "Unavailable",
    "UserFailure",
    "aborted",
    "failed",
    "initializing",
    "queued",
    "retryable_failed",
    "running",
    "secret",
    "succeeded",
    "trace_headers",
    "waiting_for_resources",
]
