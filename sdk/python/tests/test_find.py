"""What an agent that finds jobs by their key promises the host."""

from collections.abc import Callable

import grpc
import pytest

from agenthost.agent import Abandoned, AsyncAgent, Job, NotFound, Plugin, Resource, Task, queued
from agenthost.plugin import LoadError
from agenthost.testing import Client

Run = Callable[[Plugin], Client]


class Deaf(AsyncAgent[str]):
    """Has its jobs by the attempts' keys; None for one that was given up."""

    task_type = "deaf"

    def __init__(self) -> None:
        self.jobs: dict[str, str | None] = {}

    def create(self, task: Task) -> str:
        job = self.jobs.setdefault(task.idempotency_key, f"job of {task.idempotency_key}")
        if job is None:
            raise Abandoned("no job is made for it any more")
        return job

    def get(self, job: Job[str]) -> Resource:
        return queued()

    def delete(self, job: Job[str]) -> None: ...


class Ledger(Deaf):
    task_type = "ledger"

    async def find(self, task: Task) -> str:
        job = self.jobs.get(task.idempotency_key, "")
        if job is None:
            raise Abandoned("it was given up")
        if not job:
            raise NotFound("no job has this key")
        return job

    def abandon(self, task: Task) -> None:
        self.jobs[task.idempotency_key] = None


class Promising(Ledger):
    idempotent_create = True


def refused(call: Callable[..., object], task_type: str) -> str:
    with pytest.raises(grpc.RpcError) as error:
        call(task_type, idempotency_key="a")
    return str(error.value.code().name)


def test_a_finder_answers_for_the_attempt_and_makes_nothing(agenthost_run: Run) -> None:
    client = agenthost_run(Plugin("p", "1", [Ledger()]))
    assert list(client.describe().capabilities) == ["find_by_key"]
    assert [refused(client.find, "ledger") for _ in range(2)] == ["NOT_FOUND", "NOT_FOUND"]
    made = client.create("ledger", idempotency_key="a")
    assert client.find("ledger", idempotency_key="a").meta == made.meta
    for _ in range(2):
        client.abandon("ledger", idempotency_key="a")
        assert refused(client.find, "ledger") == "ABORTED"
        assert refused(client.create, "ledger") == "ABORTED"


def test_an_agent_that_cannot_find_says_so_and_makes_nothing(agenthost_run: Run) -> None:
    deaf = Deaf()
    client = agenthost_run(Plugin("p", "1", [deaf]))
    assert list(client.describe().capabilities) == []
    assert refused(client.find, "deaf") == "UNIMPLEMENTED"
    assert refused(client.abandon, "deaf") == "UNIMPLEMENTED"
    assert deaf.jobs == {}


def test_what_one_agent_promises_stands_together(agenthost_run: Run) -> None:
    said = agenthost_run(Plugin("p", "1", [Deaf(), Promising()])).describe()
    assert list(said.capabilities) == []
    (ledger,) = said.category_capabilities
    assert (ledger.name, list(ledger.capabilities)) == ("ledger", ["idempotent_create", "find_by_key"])


def test_finding_without_abandoning_is_a_mistake() -> None:
    class Half(Deaf):
        def find(self, task: Task) -> str:
            return ""

    with pytest.raises(LoadError, match="the agent Half has find, of find and abandon: it needs both or neither"):
        Plugin("p", "1", [Half()]).service()
