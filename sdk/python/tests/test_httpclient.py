"""A busy service is asked again when it says so, where that does no harm and in time; and is told the trace."""

from __future__ import annotations

import asyncio
import datetime
import email.utils
import time
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import httpx
import pytest

from agenthost import httpclient
from agenthost.agent import Plugin, Resource, SyncAgent, Task, Unavailable, succeeded, trace_headers
from agenthost.plugin import deadline
from agenthost.testing import Client


class Service:
    """Answers with one status after the other, the last one again and again; what is no status is raised."""

    def __init__(self, *answers: Any, after: str = "") -> None:
        self.answers, self.after = answers, after
        self.requests: list[httpx.Request] = []

    def __call__(self, request: httpx.Request) -> httpx.Response:
        answer = self.answers[min(len(self.requests), len(self.answers) - 1)]
        self.requests.append(request)
        if isinstance(answer, Exception):
            raise answer
        return httpx.Response(answer, headers={"retry-after": self.after} if self.after else {}, text="said")


Call = Callable[..., httpx.Response]


@pytest.fixture(params=["async", "plain"])
def call(request: pytest.FixtureRequest) -> Call:
    def in_loop(service: Service, method: str = "GET", **options: Any) -> httpx.Response:
        async def ask() -> httpx.Response:
            async with httpclient.AsyncClient(transport=httpx.MockTransport(service)) as client:
                return await client.request(method, "http://me:k3y@service.test/jobs", **options)

        return asyncio.run(ask())

    def plainly(service: Service, method: str = "GET", **options: Any) -> httpx.Response:
        with httpclient.Client(transport=httpx.MockTransport(service)) as client:
            return client.request(method, "http://me:k3y@service.test/jobs", **options)

    return in_loop if request.param == "async" else plainly


@pytest.fixture
def waits(monkeypatch: pytest.MonkeyPatch) -> Iterator[list[float]]:
    """What is waited for, without the waiting."""
    seconds: list[float] = []

    async def sleep(delay: float) -> None:
        if delay:
            seconds.append(delay)

    monkeypatch.setattr(asyncio, "sleep", sleep)
    monkeypatch.setattr(time, "sleep", seconds.append)
    yield seconds


BROKEN, UNREACHED = httpx.ReadError("the connection broke"), httpx.ConnectError("refused")


@pytest.mark.parametrize(
    ("service", "method", "status", "waited"),
    [
        (Service(200), "GET", 200, []),
        (Service(429, 200, after="7"), "POST", 200, [7]),
        (Service(503, 503, 200), "POST", 200, [0.25, 0.5]),
        (Service(500, BROKEN, 200), "GET", 200, [0.25, 0.5]),
        (Service(UNREACHED, 200), "POST", 200, [0.25]),
        (Service(500), "POST", 500, []),  # it may have begun a job
        (Service(501), "GET", 501, []),
        (Service(404), "GET", 404, []),
        (Service(503, 200, after="soon"), "GET", 200, [0.25]),
    ],
    ids=lambda value: str(getattr(value, "answers", value)),
)
def test_a_service_is_asked_again_where_that_does_no_harm(
    service: Service, method: str, status: int, waited: list[float], call: Call, waits: list[float]
) -> None:
    service.requests.clear()
    response = call(service, method, content=b"body" if method == "POST" else None)
    assert (response.status_code, response.text, waits) == (status, "said", waited)
    assert len(service.requests) == len(waited) + 1


def test_a_date_to_be_asked_again_at_is_waited_for(call: Call, waits: list[float]) -> None:
    at = datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=60)
    assert call(Service(503, 200, after=email.utils.format_datetime(at, usegmt=True))).status_code == 200
    assert 50 < waits[0] <= 60


@pytest.mark.parametrize(
    ("service", "method", "said", "tries"),
    [
        (Service(502), "GET", "after 7 tries: GET http://service.test/jobs answers 502 Bad Gateway: said", 7),
        (Service(UNREACHED), "POST", "after 7 tries: POST http://service.test/jobs: refused", 7),
        (Service(BROKEN), "POST", "POST http://service.test/jobs: the connection broke", 1),
    ],
)
def test_what_is_left_is_the_services_fault(
    service: Service, method: str, said: str, tries: int, call: Call, waits: list[float]
) -> None:
    service.requests.clear()
    with pytest.raises(Unavailable) as error:
        call(service, method)
    assert (str(error.value), len(service.requests)) == (said, tries)
    assert max(waits, default=0) <= 10


def test_nobody_waits_for_a_try_that_comes_too_late(call: Call, waits: list[float]) -> None:
    token = deadline.set(datetime.datetime.now(datetime.timezone.utc) + datetime.timedelta(seconds=10))
    try:
        with pytest.raises(Unavailable, match="answers 503 Service Unavailable, and to be asked again after 60: said"):
            call(Service(503, 200, after="60"))
        assert not waits
        assert call(Service(503, 200, after="6")).status_code == 200
    finally:
        deadline.reset(token)


def test_what_is_sent_once_is_gone(call: Call, waits: list[float]) -> None:
    def parts() -> Iterator[bytes]:
        yield b"body"

    async def aparts() -> Any:
        yield b"body"

    for content in (parts, aparts):
        service = Service(503, 200)
        try:
            assert call(service, "PUT", content=content()).status_code == 503
        except RuntimeError as e:  # the other kind of client's
            assert "Attempted to send" in str(e)
    assert not waits


class Asking(SyncAgent):
    task_type = "asking"

    def __init__(self, service: Service) -> None:
        self.service = service

    async def execute(self, task: Task) -> Resource:
        async with httpclient.AsyncClient(transport=httpx.MockTransport(self.service)) as client:
            await client.get("http://service.test/")
            await client.get("http://service.test/", headers={"traceparent": "its own"})
        return succeeded({"headers": trace_headers()})


def test_a_service_is_told_the_trace_of_the_call(agenthost_run: Callable[[Plugin], Client]) -> None:
    service = Service(200)
    client = agenthost_run(Plugin("p", "1", [Asking(service)]))
    request, _ = client._request("asking")
    header = {"template": request.template, "task_execution_metadata": request.task_execution_metadata}
    trace = {"traceparent": "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01", "tracestate": "a=b"}
    from flyteidl.admin import agent_pb2

    asked = [agent_pb2.ExecuteTaskSyncRequest(header=agent_pb2.CreateRequestHeader(**header))]
    list(client.sync_agents.ExecuteTaskSync(iter(asked), timeout=30, metadata=list(trace.items())))
    assert [one.headers.get("traceparent") for one in service.requests] == [trace["traceparent"], "its own"]
    assert service.requests[0].headers["tracestate"] == "a=b"
    service.requests.clear()
    assert client.execute("asking").outputs == {"headers": {}}
    assert "traceparent" not in service.requests[0].headers


def test_a_service_that_is_busy_for_long_is_unavailable_to_flyte(agenthost_run: Callable[[Plugin], Client]) -> None:
    with pytest.raises(grpc.RpcError) as error:
        agenthost_run(Plugin("p", "1", [Asking(Service(503, after="3600"))])).execute("asking")
    assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    assert "asked again after 3600" in error.value.details()
