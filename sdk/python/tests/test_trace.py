"""Lines of the log that are written in a call name its trace."""

from __future__ import annotations

import asyncio
import json
import logging
from collections.abc import Callable
from contextvars import copy_context

import pytest
from flyteidl.admin import agent_pb2
from opentelemetry import trace

from agenthost.agent import Plugin, Resource, SyncAgent, Task, succeeded
from agenthost.plugin import _hostlog, _trace
from agenthost.testing import Client
from agenthost.testing._client import result

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def line(**extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"msg": "logged", "levelno": logging.INFO, "created": 0.0, **extra})
    written: dict[str, object] = json.loads(_hostlog.HostFormatter().format(record))
    return written


def test_a_line_of_a_call_names_its_trace() -> None:
    def call() -> None:
        _trace.enter((("traceparent", f"00-{TRACE}-{SPAN}-01"),))
        assert (line()["trace_id"], line()["span_id"]) == (TRACE, SPAN)
        assert line(trace_id="its own")["trace_id"] == "its own"

    copy_context().run(call)
    assert "trace_id" not in line()


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        ("00-x-y-01",),
        (f"00-{'0' * 32}-{SPAN}-01",),
        (f"00-{TRACE}-{'0' * 16}-01",),
        (f"00-{TRACE.upper()}-{SPAN}-01",),
        (f"00-{TRACE}-{SPAN}-01-more",),
        (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
    ],
)
def test_what_names_no_trace_is_left_out(values: tuple[str, ...]) -> None:
    def call() -> None:
        _trace.enter(tuple(("traceparent", value) for value in values))
        assert "trace_id" not in line()

    copy_context().run(call)


def test_a_call_without_metadata_names_none() -> None:
    copy_context().run(lambda: _trace.enter(None))


class Traced(SyncAgent):
    task_type = "traced"

    async def execute(self, task: Task) -> Resource:
        here = trace.get_current_span().get_span_context()
        there = await asyncio.to_thread(lambda: trace.get_current_span().get_span_context())
        return succeeded({"ids": [f"{one.trace_id:032x}-{one.span_id:016x}" for one in (here, there)]})


class TracedPlainly(SyncAgent):
    task_type = "traced_plainly"

    def execute(self, task: Task) -> Resource:
        here = trace.get_current_span().get_span_context()
        return succeeded({"ids": [f"{here.trace_id:032x}-{here.span_id:016x}"]})


@pytest.mark.parametrize("task_type", ["traced", "traced_plainly"])
def test_an_agent_runs_in_the_calls_context_of_opentelemetry(
    task_type: str, agenthost_run: Callable[[Plugin], Client]
) -> None:
    client = agenthost_run(Plugin("p", "1", [Traced(), TracedPlainly()]))
    request, _ = client._request(task_type)
    asked = agent_pb2.ExecuteTaskSyncRequest(header=agent_pb2.CreateRequestHeader(template=request.template))
    metadata = [("traceparent", f"00-{TRACE}-{SPAN}-01")]
    for _ in range(2):
        (answer,) = client.sync_agents.ExecuteTaskSync(iter([asked]), timeout=30, metadata=metadata)
        ids = result(answer.header.resource).outputs
        assert ids is not None
        assert set(ids["ids"]) == {f"{TRACE}-{SPAN}"}
    ids = client.execute(task_type).outputs
    assert ids is not None
    assert set(ids["ids"]) == {"0" * 32 + "-" + "0" * 16}  # and nothing of it stays behind
