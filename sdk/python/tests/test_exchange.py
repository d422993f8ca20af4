"""Calls that come many in one message mean what they mean by themselves, and go their own ways."""

from __future__ import annotations

import asyncio
import itertools
import logging
import queue
import threading
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from pathlib import Path
from typing import Any

import grpc
import grpc.aio
import pytest
from flyteidl.admin import agent_pb2
from google.rpc import status_pb2

from agenthost.agent import AsyncAgent, FailedPrecondition, Job, Phase, Plugin, Resource, Task, running, succeeded
from agenthost.plugin import _contract, _serve, start, trace_headers
from agenthost.testing import Client

Run = Callable[[Plugin], Client]

SERVICE = "/flyteidl.service.AsyncAgentService/"
CREATE, GET, DELETE, METRICS = (
    f"{SERVICE}{name}" for name in ("CreateTask", "GetTask", "DeleteTask", "GetTaskMetrics")
)
TRACE = ("traceparent", "00-4bf92f3577b34da6a3ce929d0e0e4736-00f067aa0ba902b7-01")


@dataclass
class Meta:
    does: str
    said: str = ""


class Playing(AsyncAgent[Meta]):
    """Does in a poll what its job says."""

    task_type = "playing"

    def __init__(self) -> None:
        self.opened, self.entered, self.cancelled = threading.Event(), threading.Event(), threading.Event()
        self.polls = 0
        self.closed = False

    async def create(self, task: Task) -> Meta:
        said = f"{task.idempotency_key} {trace_headers()} {task.deadline is not None}"
        return Meta(task.input("does", str, ""), said)

    async def get(self, job: Job[Meta]) -> Resource:
        self.polls += 1
        if job.meta.does == "raise":
            raise KeyError("missing")
        if job.meta.does == "raise no text":
            raise OSError("no such file: \udcff")
        if job.meta.does == "refuse":
            raise FailedPrecondition("there is no key")
        if job.meta.does == "exit":
            raise SystemExit(3)
        if job.meta.does == "block":
            self.entered.set()
            self.opened.wait(60)
        if job.meta.does == "wait":
            await self._wait()
        if job.meta.does.startswith("answer "):
            return succeeded({"much": "." * int(job.meta.does.removeprefix("answer "))})
        return running(job.meta.said)

    async def _wait(self) -> None:
        self.entered.set()
        try:
            while not self.opened.is_set():
                await asyncio.sleep(0.01)
        except asyncio.CancelledError:
            self.cancelled.set()
            raise

    def delete(self, job: Job[Meta]) -> None:
        if job.meta.does == "block":
            self.entered.set()
            self.opened.wait(60)

    async def close(self) -> None:
        self.closed = True


class Beside(Playing):
    task_type = "beside"


class Exchange:
    """A stream to a plugin, as the host has it."""

    def __init__(self, channel: grpc.Channel) -> None:
        self._sent: queue.SimpleQueue[Any] = queue.SimpleQueue()
        self._ids = itertools.count(1)
        self._answers: dict[int, Any] = {}
        exchange = channel.stream_stream(
            "/agenthost.plugin.v1.CallService/Exchange",
            request_serializer=lambda message: message if isinstance(message, bytes) else message.SerializeToString(),
            response_deserializer=_contract.Answers.FromString,
        )
        self.stream = exchange(iter(self._sent.get, None), timeout=60)
        self.greeting = next(self.stream)

    def send(self, *calls: Any, canceled: Any = ()) -> list[int]:
        """Returns the calls' ids."""
        for call in calls:
            call.id = next(self._ids)
        self._sent.put(_contract.Calls(calls=calls, canceled=canceled))
        return [call.id for call in calls]

    def send_bytes(self, message: bytes) -> None:
        self._sent.put(message)

    def answer(self, id: int) -> Any:
        while id not in self._answers:
            self.receive()
        return self._answers.pop(id)

    def receive(self) -> Any:
        """The next message."""
        message = next(self.stream)
        for one in message.answers:
            assert one.id not in self._answers
            self._answers[one.id] = one
        return message

    def ask(self, call: Any) -> Any:
        return self.answer(*self.send(call))

    def end(self) -> None:
        self._sent.put(None)
        self.stream.cancel()


@pytest.fixture
def agent() -> Iterator[Playing]:
    agent = Playing()
    yield agent
    agent.opened.set()


@pytest.fixture
def client(agent: Playing, agenthost_run: Run) -> Client:
    return agenthost_run(Plugin("p", "1", [agent, Beside()]))


@pytest.fixture
def exchange(client: Client) -> Iterator[Exchange]:
    exchange = Exchange(client.channel)
    yield exchange
    exchange.end()


def a_call(method: str, request: Any, *headers: tuple[str, str], **more: Any) -> Any:
    data = request if isinstance(request, bytes) else request.SerializeToString()
    found = [{"name": name, "value": value.encode()} for name, value in headers]
    return _contract.Calls().calls.add(method=method, request=data, headers=found, **more)


def about(request: Any, does: str = "", task_type: str = "playing") -> Any:
    return request(task_category={"name": task_type}, resource_meta=Playing().encode(Meta(does)))


def poll(does: str = "", task_type: str = "playing", **more: Any) -> Any:
    return a_call(GET, about(agent_pb2.GetTaskRequest, does, task_type), **more)


def resource(answer: Any) -> Any:
    assert not answer.status, status_pb2.Status.FromString(answer.status)
    return agent_pb2.GetTaskResponse.FromString(answer.message).resource


def code(answer: Any) -> grpc.StatusCode:
    number = status_pb2.Status.FromString(answer.status).code
    return next(code for code in grpc.StatusCode if code.value[0] == number)


def test_the_stream_begins_with_the_methods_that_it_takes(exchange: Exchange) -> None:
    assert set(exchange.greeting.methods) == {CREATE, GET, DELETE, METRICS}
    assert not exchange.greeting.answers


def test_all_calls_of_a_message_are_answered(exchange: Exchange) -> None:
    ids = exchange.send(*(poll(task_type=name) for name in ("playing", "beside") * 100))
    assert [resource(exchange.answer(id)).phase for id in ids] == [Phase.RUNNING] * 200


def by_itself(client: Client, call: Any) -> tuple[Any, ...]:
    """What a call of its own gets: answer, code, text, trailers."""
    method = client.channel.unary_unary(call.method)
    headers = [(header.name, header.value.decode()) for header in call.headers]
    try:
        answer, made = method.with_call(call.request, timeout=30, metadata=headers)
        return answer, grpc.StatusCode.OK, "", list(made.trailing_metadata())
    except grpc.RpcError as e:
        return None, e.code(), e.details(), list(e.trailing_metadata())


def on_the_stream(exchange: Exchange, call: Any) -> tuple[Any, ...]:
    answer = exchange.ask(call)
    status = status_pb2.Status.FromString(answer.status)
    trailers = [(trailer.name, trailer.value.decode()) for trailer in answer.trailers]
    return None if answer.status else answer.message, code(answer), status.message, trailers


def told(caplog: pytest.LogCaptureFixture) -> list[dict[str, Any]]:
    fields = ("levelname", "msg", "agent", "task_category", "method", "code", "error")
    return [{name: vars(record).get(name) for name in fields} for record in caplog.records]


def creation(client: Client, *headers: tuple[str, str]) -> Any:
    request, _ = client._request("playing")
    return a_call(CREATE, request, *headers, timeout=20_000_000)


CASES: dict[str, Callable[[Client], Any]] = {
    "a creation": lambda client: creation(client),
    "a creation with metadata": lambda client: creation(client, ("agenthost-idempotency-key", "a" * 64), TRACE),
    "a search": lambda client: creation(client, ("agenthost-find-only", "1")),
    "a poll": lambda client: poll("answer 10"),
    "a poll that raises": lambda client: poll("raise"),
    "a poll that raises what is no text": lambda client: poll("raise no text"),
    "a poll that refuses": lambda client: poll("refuse"),
    "a poll that exits": lambda client: poll("exit"),
    "a poll of a stranger": lambda client: poll(task_type="unknown"),
    "a poll of foreign metadata": lambda client: a_call(
        GET, agent_pb2.GetTaskRequest(task_category={"name": "playing"}, resource_meta=b"\xff")
    ),
    "a poll that is no message": lambda client: a_call(GET, b"\xff\xff"),
    "a deletion": lambda client: a_call(DELETE, about(agent_pb2.DeleteTaskRequest)),
    "metrics that there are not": lambda client: a_call(METRICS, about(agent_pb2.GetTaskMetricsRequest)),
}


@pytest.mark.parametrize("case", CASES.values(), ids=CASES.keys())
def test_a_call_gets_what_it_gets_by_itself(
    case: Callable[[Client], Any], client: Client, exchange: Exchange, caplog: pytest.LogCaptureFixture
) -> None:
    call = case(client)
    with caplog.at_level(logging.INFO):
        expected, lines = by_itself(client, call), told(caplog)
        caplog.clear()
        assert on_the_stream(exchange, call) == expected
        assert told(caplog) == lines
    assert resource(exchange.ask(poll())).phase  # and the stream goes on


def test_a_call_knows_its_metadata_and_its_deadline(client: Client, exchange: Exchange) -> None:
    made = exchange.ask(creation(client, ("agenthost-idempotency-key", "a" * 64), TRACE))
    meta = Playing().decode(agent_pb2.CreateTaskResponse.FromString(made.message).resource_meta)
    assert meta.said == f"{'a' * 64} {dict([TRACE])} True"
    endless = creation(client)
    endless.timeout = 0
    made = exchange.ask(endless)
    meta = Playing().decode(agent_pb2.CreateTaskResponse.FromString(made.message).resource_meta)
    assert meta.said.endswith(" {} False")  # and nothing of the call before is left


def test_a_method_that_the_stream_does_not_take_is_one_calls_error(exchange: Exchange) -> None:
    refused = exchange.ask(a_call("/flyteidl.service.AgentMetadataService/ListAgents", b""))
    assert code(refused) is grpc.StatusCode.UNIMPLEMENTED
    assert resource(exchange.ask(poll())).phase


@pytest.mark.parametrize("slow", [poll("wait"), a_call(DELETE, about(agent_pb2.DeleteTaskRequest, "block"))])
def test_a_slow_call_holds_up_no_other(slow: Any, agent: Playing, exchange: Exchange) -> None:
    """One that awaits, and a plain method that blocks its thread."""
    waiting, *others = exchange.send(slow, *(poll() for _ in range(20)))
    assert agent.entered.wait(30)
    others += exchange.send(poll(), poll(task_type="beside"))
    assert all(resource(exchange.answer(id)).phase for id in others)
    agent.opened.set()
    assert not exchange.answer(waiting).status


def test_an_agent_that_blocks_holds_up_no_other_agent(agent: Playing, exchange: Exchange) -> None:
    blocking, beside = exchange.send(poll("block"), poll(task_type="beside"))
    assert agent.entered.wait(30)
    assert resource(exchange.answer(beside)).phase
    assert resource(exchange.ask(poll(task_type="beside"))).phase
    agent.opened.set()
    assert resource(exchange.answer(blocking)).phase


def test_a_call_that_is_cancelled_ends_and_no_other(agent: Playing, exchange: Exchange) -> None:
    (waiting,) = exchange.send(poll("wait"))
    assert agent.entered.wait(30)
    (other,) = exchange.send(poll(), canceled=[waiting, 4711])
    assert agent.cancelled.wait(30)
    assert resource(exchange.answer(other)).phase


def test_a_call_that_is_cancelled_before_its_loop_is_free_is_not_begun(agent: Playing, exchange: Exchange) -> None:
    (blocking,) = exchange.send(poll("block"))
    assert agent.entered.wait(30)
    (late,) = exchange.send(poll())
    exchange.send(canceled=[late])
    assert resource(exchange.ask(poll(task_type="beside"))).phase  # the plugin has heard of it
    agent.opened.set()
    assert resource(exchange.answer(blocking)).phase
    assert resource(exchange.ask(poll())).phase
    assert agent.polls == 2


def test_a_call_ends_when_its_time_is_over(agent: Playing, exchange: Exchange) -> None:
    later, sooner = exchange.send(poll("wait", timeout=200_000), poll("wait", timeout=50_000))
    assert code(exchange.answer(sooner)) is grpc.StatusCode.DEADLINE_EXCEEDED
    assert agent.cancelled.wait(30)
    assert code(exchange.answer(later)) is grpc.StatusCode.DEADLINE_EXCEEDED
    endless = exchange.send(poll("wait", timeout=2**64 - 1))
    agent.opened.set()
    assert resource(exchange.answer(*endless)).phase


def test_an_answer_that_is_larger_than_allowed_is_told_by_its_size(client: Client, exchange: Exchange) -> None:
    whole, _, _, _ = by_itself(client, poll("answer 5000"))
    answer = exchange.ask(poll("answer 5000", max_answer=len(whole) - 1))
    assert (answer.oversize, answer.message, answer.status) == (len(whole), b"", b"")
    assert exchange.ask(poll("answer 5000", max_answer=len(whole))).message == whole


def test_large_answers_leave_in_messages_of_moderate_size(exchange: Exchange) -> None:
    asked = [poll(f"answer {size}") for size in [*[100_000] * 8, 1_000_000, 10]]
    left, messages = set(exchange.send(*asked)), []
    while left:
        messages.append(exchange.receive())
        left -= {answer.id for answer in messages[-1].answers}
    assert all(len(one.answers) == 1 or one.ByteSize() < 300_000 for one in messages)


def test_what_is_no_message_ends_the_stream(exchange: Exchange) -> None:
    exchange.send_bytes(b"\xff\xff")
    with pytest.raises(grpc.RpcError) as ended:
        exchange.receive()
    assert ended.value.code() is grpc.StatusCode.INTERNAL


def test_calls_end_with_their_stream(agent: Playing, client: Client, exchange: Exchange) -> None:
    exchange.send(poll("wait"))
    assert agent.entered.wait(30)
    exchange.end()
    assert agent.cancelled.wait(30)
    assert resource(Exchange(client.channel).ask(poll())).phase


def test_answers_that_are_ready_together_leave_together(tmp_path: Path) -> None:
    agent = Playing()

    async def scenario() -> int:
        address = f"unix:{tmp_path}/socket"
        process = await start(Plugin("p", "1", [agent]).service(), address)
        async with grpc.aio.insecure_channel(address) as channel:
            stream = _aio_exchange(channel)()
            await stream.read()
            calls = [poll(does) for does in ("block", *[""] * 100)]
            for id, call in enumerate(calls, 1):
                call.id = id
            await stream.write(_contract.Calls(calls=calls))
            await asyncio.to_thread(agent.entered.wait, 30)
            agent.opened.set()
            while agent.polls < 101:  # this loop, which serves, hears nothing meanwhile
                agent.entered.wait(0.01)
            answered, messages = 0, 0
            while answered < 101:
                answered += len((await stream.read()).answers)
                messages += 1
            stream.cancel()
        process.end()
        await process.ended()
        return messages

    assert asyncio.run(scenario()) <= 2  # the last one may not have been ready yet


def test_a_plugin_that_stops_answers_what_it_has_begun_and_says_which_call_was_the_last(
    tmp_path: Path, monkeypatch: pytest.MonkeyPatch
) -> None:
    monkeypatch.setattr(_serve, "ANSWER_GRACE", 60)
    agent = Playing()

    async def scenario() -> None:
        address = f"unix:{tmp_path}/socket"
        process = await start(Plugin("p", "1", [agent]).service(), address)
        async with grpc.aio.insecure_channel(address) as channel:
            stream, idle = _aio_exchange(channel)(), _aio_exchange(channel)()
            assert (await stream.read()).methods and (await idle.read()).methods

            async def ask(id: int, does: str) -> None:
                call = poll(does)
                call.id = id
                await stream.write(_contract.Calls(calls=[call]))

            await ask(1, "wait")
            await asyncio.to_thread(agent.entered.wait, 30)
            ending = process.end()
            while not process._calls._draining:
                await asyncio.sleep(0.01)
            await ask(2, "")
            (late,) = (await stream.read()).answers
            by_itself = channel.unary_unary(GET)(poll().request)
            assert (late.id, code(late)) == (2, grpc.StatusCode.UNAVAILABLE)
            assert status_pb2.Status.FromString(late.status).message == await by_itself.details()
            assert [(one.name, one.value) for one in late.trailers] == [("agenthost-not-taken", b"1")]
            agent.opened.set()
            (answer,) = (await stream.read()).answers
            assert (answer.id, answer.status) == (1, b"")
            for one, last in ((stream, 2), (idle, 0)):
                message = await one.read()
                assert (message.HasField("last"), message.last, len(message.answers)) == (True, last, 0)
                assert await one.read() is grpc.aio.EOF
                assert await one.code() is grpc.StatusCode.OK
            await ending
            await asyncio.wait_for(process.ended(), 30)  # no stream delays it
        assert agent.closed

    asyncio.run(scenario())


def test_the_stream_is_not_served_where_interceptors_would_miss_its_calls(
    agent: Playing, agenthost_run: Run, monkeypatch: pytest.MonkeyPatch
) -> None:
    """As instrumentation puts them into every server of a process."""
    serve, seen = grpc.aio.server, []

    class Seeing(grpc.aio.ServerInterceptor):  # type: ignore[misc]
        async def intercept_service(self, continuation: Any, details: Any) -> Any:
            seen.append(details.method)
            return await continuation(details)

    monkeypatch.setattr(grpc.aio, "server", lambda *args, **kwargs: serve(*args, interceptors=[Seeing()], **kwargs))
    client = agenthost_run(Plugin("p", "1", [agent]))
    with pytest.raises(grpc.RpcError) as refused:
        Exchange(client.channel)
    assert refused.value.code() is grpc.StatusCode.UNIMPLEMENTED
    assert by_itself(client, poll())[1] is grpc.StatusCode.OK
    assert seen[-1] == GET


def _aio_exchange(channel: grpc.aio.Channel) -> Any:
    return channel.stream_stream(
        "/agenthost.plugin.v1.CallService/Exchange",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=_contract.Answers.FromString,
    )
