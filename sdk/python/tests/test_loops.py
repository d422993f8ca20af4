"""Each agent has one event loop, which is never another: clients that are kept between calls live in it."""

from __future__ import annotations

import asyncio
import concurrent.futures
import contextlib
import ctypes
import functools
import logging
import pathlib
import sys
import threading
import time
from collections.abc import Callable, Iterator
from dataclasses import dataclass
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import aiohttp
import grpc
import httpx
import pytest
from grpc_health.v1 import health_pb2, health_pb2_grpc

from agenthost.agent import AsyncAgent, Job, Phase, Plugin, Resource, SyncAgent, Task, running, succeeded
from agenthost.plugin import AgentLoop
from agenthost.testing import Client, run

Run = Callable[[Plugin], Client]
Fetch = Callable[[str], Any]


@pytest.fixture(scope="module")
def url() -> Iterator[str]:
    """A server that lets connections be used again: those are what belongs to an event loop."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"

        def do_GET(self) -> None:
            self.send_response(200)
            self.send_header("content-length", "2")
            self.end_headers()
            self.wfile.write(b"ok")

        def log_message(self, format: str, *args: Any) -> None:
            """Not on the test's terminal."""

    class Server(ThreadingHTTPServer):
        def handle_error(self, request: Any, client_address: Any) -> None:
            """Connections that plugins kept end with them."""

    server = Server(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    yield f"http://127.0.0.1:{server.server_port}"
    server.shutdown()
    server.server_close()


class Aiohttp:
    """aiohttp's client, which must be made in a running loop."""

    def __init__(self) -> None:
        self._session = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30))

    async def get(self, url: str) -> str:
        async with self._session.get(url) as response:
            return await response.text()

    async def close(self) -> None:
        await self._session.close()


class Httpx:
    """httpx's client, which takes the loop of its first call."""

    def __init__(self) -> None:
        self._client = httpx.AsyncClient(timeout=30)

    async def get(self, url: str) -> str:
        return (await self._client.get(url)).text

    async def close(self) -> None:
        await self._client.aclose()


CLIENTS = [Aiohttp, Httpx]


@dataclass
class Config:
    url: str


@dataclass
class Made:
    answer: str


class Fetching(AsyncAgent[Made]):
    """Asks a server in every call, by a client that it keeps; and blocks its loop for as long as its task says."""

    task_type = "fetch"

    def __init__(self, make: Callable[[], Any], url: str = "") -> None:
        self.make, self.url = make, url
        self.client: Any = None

    async def connect(self, config: Config) -> None:
        self.url, self.client = config.url, self.make()

    def connect_plainly(self, config: Config) -> None:
        self.url, self.client = config.url, self.make()

    async def create(self, task: Task) -> Made:
        time.sleep(task.input("block", float, 0.0))
        return Made(await self._fetch())

    async def get(self, job: Job[Made]) -> Resource:
        return succeeded({"answer": await self._fetch()})

    async def delete(self, job: Job[Made]) -> None:
        await self._fetch()

    async def close(self) -> None:
        await self.client.close()

    async def _fetch(self) -> str:
        if self.client is None:
            self.client = self.make()
        return str(await self.client.get(self.url))


def fetches(client: Client, task_type: str, **inputs: Any) -> dict[str, Any] | None:
    return client.run_task(task_type, inputs=inputs).outputs


@pytest.mark.parametrize("seconds", [0.5, 2.0])
@pytest.mark.parametrize("make", CLIENTS)
def test_a_client_that_is_kept_between_calls_outlives_a_block(
    make: Callable[[], Any], seconds: float, url: str, agenthost_run: Run
) -> None:
    client = agenthost_run(Plugin("fetch", "1", [Fetching(make, url)]))
    fetches(client, "fetch")
    with concurrent.futures.ThreadPoolExecutor(8) as threads:
        blocking = threads.submit(fetches, client, "fetch", block=seconds)
        beside = [threads.submit(fetches, client, "fetch") for _ in range(7)]
        after = [threads.submit(fetches, client, "fetch") for _ in range(16)]
        assert [one.result() for one in (blocking, *beside, *after)] == [{"answer": "ok"}] * 24


@pytest.mark.parametrize("configure", [Fetching.connect, Fetching.connect_plainly], ids=["async", "plain"])
@pytest.mark.parametrize("make", CLIENTS)
def test_a_client_may_be_made_by_the_configuration(
    make: Callable[[], Any], configure: Any, url: str, agenthost_run: Run
) -> None:
    agent = Fetching(make)
    client = agenthost_run(Plugin("fetch", "1", [agent]).configure(Config, configure.__get__(agent)))
    assert client.configure({"url": url}) == []
    assert [fetches(client, "fetch") for _ in range(3)] == [{"answer": "ok"}] * 3
    with concurrent.futures.ThreadPoolExecutor() as threads:
        blocking = threads.submit(fetches, client, "fetch", block=0.6)
        after = [threads.submit(fetches, client, "fetch") for _ in range(8)]
        assert [one.result() for one in (blocking, *after)] == [{"answer": "ok"}] * 9


FETCHING = [sys.executable, str(pathlib.Path(__file__).with_name("fetching.py"))]


@pytest.mark.parametrize("task_type", ["httpx", "aiohttp", "late"])
def test_ten_of_ten_creations_succeed_in_a_process_whose_agent_blocks_once(
    task_type: str, url: str, agenthost_command: Callable[..., Client]
) -> None:
    client = agenthost_command(FETCHING)
    assert client.configure({"url": url}) == []
    jobs = [client.create(task_type)]
    with concurrent.futures.ThreadPoolExecutor(10) as threads:
        blocks = [0.5, *[0.0] * 9]
        jobs += threads.map(lambda block: client.create(task_type, inputs={"block": block}), blocks)
    assert [job.get().outputs for job in jobs] == [{"answer": "ok"}] * 11
    for job in jobs:
        job.delete()


def test_a_process_with_an_agent_that_stands_for_ever_serves_the_others_and_ends(
    url: str, agenthost_command: Callable[..., Client]
) -> None:
    client = agenthost_command(FETCHING)
    assert client.configure({"url": url}) == []
    request, _ = client._request("standing")
    standing = client.async_agents.CreateTask.future(request, timeout=30)
    client.wrote("standing")
    assert [fetches(client, name) for name in ("httpx", "aiohttp", "late") * 3] == [{"answer": "ok"}] * 9
    health = health_pb2_grpc.HealthStub(client.channel)
    answer = health.Check(health_pb2.HealthCheckRequest(service="plugin"), timeout=5)
    assert answer.status == health_pb2.HealthCheckResponse.SERVING
    assert not standing.done()  # the fixture asks for the end, and waits for exit code 0


@pytest.mark.parametrize("make", CLIENTS)
def test_a_client_of_another_agents_loop_is_told_with_its_cure(
    make: Callable[[], Any], url: str, agenthost_run: Run
) -> None:
    class Other(Fetching):
        task_type = "other"

    async def connect(config: Config) -> None:
        one.client = other.client = make()
        one.url = other.url = config.url

    one, other = Fetching(make), Other(make)
    client = agenthost_run(Plugin("p", "1", [one, other]).configure(Config, connect))
    client.configure({"url": url})
    assert fetches(client, "fetch") == {"answer": "ok"}
    with pytest.raises(grpc.RpcError) as refused, concurrent.futures.ThreadPoolExecutor(8) as threads:
        list(threads.map(lambda _: fetches(client, "other"), range(8)))
    assert "made in another event loop than this agent's" in refused.value.details()
    assert "shared_loop" in refused.value.details()


class Where(SyncAgent):
    """Tells which thread its calls run in."""

    async def configured(self, config: Config) -> None:
        self.configured_in = threading.get_ident()

    async def execute(self, task: Task) -> Resource:
        assert asyncio.get_running_loop()
        return succeeded({"thread": threading.get_ident()})


def where(task_type: str, shared_loop: str = "") -> Where:
    agent: Where = type(task_type, (Where,), {"task_type": task_type, "shared_loop": shared_loop})()
    return agent


def test_agents_share_a_loop_only_where_they_ask_for_it(agenthost_run: Run) -> None:
    agents = [where("a"), where("b"), where("c", "http"), where("d", "http")]
    plugin = Plugin("where", "1", agents).configure(Config, agents[2].configured)
    client = agenthost_run(plugin)
    client.configure({"url": ""})
    seen = [client.execute(name).outputs["thread"] for name in "abcd" * 2]  # type: ignore[index]
    assert seen[:4] == seen[4:]
    assert len(set(seen)) == 3
    assert seen[2] == seen[3] == agents[2].configured_in


def test_a_function_of_no_agent_configures_in_the_first_ones_loop(agenthost_run: Run) -> None:
    configured: list[int] = []
    plugin = Plugin("where", "1", [where("a"), where("b")])
    client = agenthost_run(plugin.configure(Config, lambda config: configured.append(threading.get_ident())))
    client.configure({"url": ""})
    assert [client.execute("a").outputs] == [{"thread": thread} for thread in configured]


def test_each_agents_own_function_configures_in_its_loop(agenthost_run: Run) -> None:
    a, b = where("a"), where("b")
    client = agenthost_run(
        Plugin("where", "1", [a, b]).configure(Config, a.configured, functools.partial(b.configured))
    )
    client.configure({"url": ""})
    assert client.execute("a").outputs == {"thread": a.configured_in}
    assert client.execute("b").outputs == {"thread": b.configured_in}


class Gate(AsyncAgent[Made]):
    """Holds up its loop until the test opens it."""

    task_type = "gate"

    def __init__(self) -> None:
        self.entered, self.opened = threading.Event(), threading.Event()
        self.created: list[str] = []

    async def create(self, task: Task) -> Made:
        name = task.input("name", str)
        self.created.append(name)
        if name == "blocks":
            self.entered.set()
            self.opened.wait(60)
        return Made(name)

    async def get(self, job: Job[Made]) -> Resource:
        return running()

    async def delete(self, job: Job[Made]) -> None: ...


LINE = Gate.create.__code__.co_firstlineno + 5


class Sound(Gate):
    task_type = "sound"


@contextlib.contextmanager
def blocked(client: Client, gate: Gate) -> Iterator[None]:
    """A creation stands in the gate's loop until the block ends."""
    thread = threading.Thread(target=functools.partial(client.create, "gate", inputs={"name": "blocks"}))
    thread.start()
    try:
        assert gate.entered.wait(30)
        yield
    finally:
        gate.opened.set()
        thread.join()


def until(condition: Callable[[], bool]) -> None:
    deadline = time.monotonic() + 30
    while not condition():
        assert time.monotonic() < deadline
        time.sleep(0.01)


def test_a_blocked_loop_is_told_once_with_its_place_and_holds_up_no_other_agent(
    agenthost_run: Run, caplog: pytest.LogCaptureFixture
) -> None:
    gate, sound = Gate(), Sound()
    client = agenthost_run(Plugin("p", "1", [gate, sound]))
    job = client.create("sound", inputs={"name": "s"})
    with caplog.at_level(logging.WARNING, "agenthost"), blocked(client, gate):
        until(lambda: bool(caplog.records))
        for _ in range(50):
            assert job.get().phase == Phase.RUNNING
        health = health_pb2_grpc.HealthStub(client.channel)
        answer = health.Check(health_pb2.HealthCheckRequest(service="plugin"), timeout=5)
        assert answer.status == health_pb2.HealthCheckResponse.SERVING
        gate.opened.set()
        until(lambda: len(caplog.records) > 1)
    told, ended = (vars(record) for record in caplog.records)
    assert (told["agent"], told["stands_at"]) == ("gate", f"{__file__}:{LINE} in create")
    assert "self.opened.wait(60)" in told["stack"]
    assert "blocks its event loop" in told["msg"]
    assert (ended["agent"], ended["stood_at"]) == ("gate", told["stands_at"])
    assert ended["seconds"] >= 0.5


def test_native_code_that_lets_no_thread_run_is_told(agenthost_run: Run, caplog: pytest.LogCaptureFixture) -> None:
    class Native(SyncAgent):
        task_type = "native"

        async def execute(self, task: Task) -> Resource:
            ctypes.PyDLL(None).usleep(2_500_000)  # with Python's lock, unlike time.sleep
            await asyncio.to_thread(until, lambda: bool(told()))
            return succeeded()

    def told() -> list[dict[str, Any]]:
        return [vars(record) for record in caplog.records if "native code held Python's lock" in record.msg]

    with caplog.at_level(logging.WARNING, "agenthost"):
        agenthost_run(Plugin("p", "1", [Native()])).execute("native")
    assert told()[0]["agents_with_calls"] == "native"
    assert told()[0]["seconds"] >= 2


def test_a_call_whose_caller_has_gone_is_not_begun_when_the_loop_goes_on(agenthost_run: Run) -> None:
    """It would make a job that nobody knows of."""
    gate = Gate()
    plugin = Plugin("p", "1", [gate])
    client = agenthost_run(plugin)
    with blocked(client, gate):
        pulse = plugin._loops[id(gate)]._pulse
        request, _ = client._request("gate", inputs={"name": "late"})
        late = client.async_agents.CreateTask.future(request, timeout=0.2)
        assert late.code() is grpc.StatusCode.DEADLINE_EXCEEDED
        until(lambda: pulse is not None and pulse._calls == 1)  # the plugin has heard of it
    client.create("gate", inputs={"name": "after"})
    assert gate.created == ["blocks", "after"]


def test_agents_are_closed_beside_one_that_is_blocked(caplog: pytest.LogCaptureFixture) -> None:
    class Closing(Sound):
        closed = False

        async def close(self) -> None:
            self.closed = True

    gate, other = Gate(), Closing()
    with run(Plugin("p", "1", [gate, other])) as client:
        thread = threading.Thread(target=_created, args=(client,))
        thread.start()
        assert gate.entered.wait(30)
    assert other.closed
    gate.opened.set()
    thread.join()


def _created(client: Client) -> None:
    with contextlib.suppress(grpc.RpcError):
        client.create("gate", inputs={"name": "blocks"})


class Empty(Exception):
    """An error that is false, as one with a length may be."""

    def __len__(self) -> int:
        return 0


def test_a_call_that_fails_at_its_beginning_takes_no_other_with_it() -> None:
    """Calls cross to their loop many at a time."""

    async def fine() -> str:
        return "fine"

    async def raises() -> str:
        raise Empty

    async def scenario() -> list[Any]:
        loop = AgentLoop()
        loop.serves("agent")
        calls = [loop.call(fine), loop.call(fine, "one argument too many"), loop.call(raises), loop.call(fine)]
        return await asyncio.wait_for(asyncio.gather(*calls, return_exceptions=True), 30)

    first, wrong, empty, last = asyncio.run(scenario())
    assert (first, last) == ("fine", "fine")
    assert isinstance(wrong, TypeError) and isinstance(empty, Empty)
