"""What a process hears of its life, and what it tells of itself: that it is being replaced, and its own metrics."""

from __future__ import annotations

import asyncio
import contextlib
import threading
from collections.abc import Callable

import grpc
import prometheus_client
import pytest

from agenthost.agent import Plugin, Resource, SyncAgent, Task, succeeded
from agenthost.testing import Client, run

Run = Callable[[Plugin], Client]


class Watching(SyncAgent):
    """Begins to watch, behind its calls, in its loop and in a thread."""

    task_type = "watching"

    def __init__(self) -> None:
        self.heard = [threading.Event(), threading.Event()]
        self.watching: list[object] = []

    async def execute(self, task: Task) -> Resource:
        gives_up = asyncio.create_task(task.replaced.wait())
        self.watching.append(asyncio.create_task(self.watch(task)))
        thread = threading.Thread(target=self.watch_in_thread, args=(task,), daemon=True)
        thread.start()
        with contextlib.suppress(asyncio.TimeoutError):
            await asyncio.wait_for(gives_up, 0.01)
        return succeeded({"replaced": bool(task.replaced)})

    async def watch(self, task: Task) -> None:
        await task.replaced.wait()
        self.heard[0].set()

    def watch_in_thread(self, task: Task) -> None:
        assert task.replaced.wait_in_thread()
        self.heard[1].set()


def test_what_goes_on_behind_the_calls_hears_that_the_process_is_replaced(agenthost_run: Run) -> None:
    agent = Watching()
    plugin = Plugin("p", "1", [agent])
    client = agenthost_run(plugin)
    assert client.execute("watching").outputs == {"replaced": False}
    assert not any(heard.is_set() for heard in agent.heard)
    assert len(plugin.replaced._waiting) == 1  # who has given up is forgotten
    client.replace()
    client.replace()
    assert all(heard.wait(30) for heard in agent.heard)
    assert client.execute("watching").outputs == {"replaced": True}


def test_a_host_that_does_not_tell_says_it_with_the_end() -> None:
    agent = Watching()
    with run(Plugin("p", "1", [agent])) as client:
        client.execute("watching")
    assert all(heard.wait(30) for heard in agent.heard)


class Counting(SyncAgent):
    task_type = "counting"

    def __init__(self, registry: prometheus_client.CollectorRegistry) -> None:
        self.tasks = prometheus_client.Counter("counted_tasks", "Tasks.", ["kind"], registry=registry)

    async def execute(self, task: Task) -> Resource:
        self.tasks.labels(task.input("kind", str)).inc()
        return succeeded()


def test_a_plugin_has_the_metrics_of_its_registry(agenthost_run: Run) -> None:
    registry = prometheus_client.CollectorRegistry()
    client = agenthost_run(Plugin("p", "1", [Counting(registry)]).metrics(registry))
    for _ in range(3):
        client.execute("counting", inputs={"kind": "a"})
    assert 'counted_tasks_total{kind="a"} 3.0\n' in client.metrics()


def test_the_usual_registry_is_taken_where_none_is_named(agenthost_run: Run) -> None:
    client = agenthost_run(Plugin("p", "1", [Watching()]).metrics())
    assert "python_info{" in client.metrics()


def test_metrics_that_hang_or_fail_hold_up_nothing_else(agenthost_run: Run) -> None:
    class Broken:
        opened = threading.Event()

        def collect(self) -> list[object]:
            self.opened.wait(30)
            raise OSError("there is no disk")

        def describe(self) -> list[object]:
            return []

    broken, registry = Broken(), prometheus_client.CollectorRegistry()
    registry.register(broken)  # type: ignore[arg-type]
    client = agenthost_run(Plugin("p", "1", [Watching()]).metrics(registry))

    def ask() -> None:
        with contextlib.suppress(grpc.RpcError):
            client.metrics()

    hanging = [threading.Thread(target=ask) for _ in range(2)]
    for thread in hanging:
        thread.start()
    assert client.execute("watching").outputs == {"replaced": False}
    broken.opened.set()
    for thread in hanging:
        thread.join(30)
    with pytest.raises(grpc.RpcError, match="Metrics: OSError: there is no disk"):
        client.metrics()


def test_a_plugin_without_metrics_says_so(agenthost_run: Run) -> None:
    with pytest.raises(grpc.RpcError) as error:
        agenthost_run(Plugin("p", "1", [Watching()])).metrics()
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
