"""What the SDK promises to authors of agents, in process."""

import asyncio
import dataclasses
import datetime
import enum
import json
import logging
import sys
import threading
import time
from collections.abc import AsyncIterator, Callable
from dataclasses import dataclass, field
from pathlib import Path
from typing import Any

import grpc
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import types_pb2

from agenthost.agent import (
    AsyncAgent,
    Category,
    ConfigError,
    Directory,
    File,
    Job,
    LogLine,
    LogQuery,
    NextToken,
    NotFound,
    Phase,
    Plugin,
    Resource,
    Secret,
    StructuredDataset,
    SyncAgent,
    SystemFailure,
    Task,
    Unavailable,
    UserFailure,
    failed,
    queued,
    retryable_failed,
    running,
    secret,
    succeeded,
)
from agenthost.plugin import LoadError
from agenthost.testing import Client

Run = Callable[[Plugin], Client]


@dataclass
class Count:
    n: int
    key: str = ""
    types: str = ""


class Counter(AsyncAgent[Count]):
    """Does what its task's custom part says."""

    task_type = "count"
    also = (Category("count", 2), Category("count_more"))
    name = "Counter"

    def __init__(self) -> None:
        self.polls = 0
        self.deleted: list[int] = []
        self.closed = False
        self.hold = threading.Event()

    async def create(self, task: Task) -> Count:
        mode = task.custom().get("mode")
        if mode == "exit":
            sys.exit(3)
        if mode == "raise":
            raise ValueError("the author's mistake")
        if mode == "unavailable":
            raise Unavailable("the warehouse sleeps")
        if mode == "block":
            self.hold.wait(60)
        return Count(task.input("n", int, 3), task.idempotency_key, task.output_types)

    def get(self, job: Job[Count]) -> Resource:
        self.polls += 1
        if job.meta.n < 0:
            return failed(UserFailure("Negative", ValueError("n is negative").args[0]))
        if job.meta.n == 0:
            return retryable_failed(SystemFailure("Zero", "n is zero"))
        if self.polls == 1:
            return running("counting").with_link("Console", "https://example.com").with_info(done=0.5)
        return succeeded({"n": job.meta.n, "key": job.meta.key}, types=job.meta.types)

    async def delete(self, job: Job[Count]) -> None:
        if job.meta.n == 404:
            raise NotFound("gone")
        self.deleted.append(job.meta.n)

    async def logs(self, job: Job[Count], query: LogQuery) -> AsyncIterator[Any]:
        yield f"lines {query.lines}"
        yield LogLine("second", datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc), "SYSTEM")
        yield NextToken("more")

    async def close(self) -> None:
        self.closed = True


def code_of(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    return f"{error.value.code().name}: {error.value.details()}"


@pytest.fixture
def counter() -> Counter:
    return Counter()


@pytest.fixture
def client(counter: Counter, agenthost_run: Run) -> Client:
    return agenthost_run(Plugin("counter", "1.0.0", [counter]))


def test_a_job_lives_through_its_metadata(client: Client, counter: Counter) -> None:
    job = client.create("count", inputs={"n": 7}, idempotency_key="k")
    assert json.loads(job.meta) == {"n": 7, "key": "k", "types": ""}
    first = job.get()
    assert (first.phase, first.message) == (Phase.RUNNING, "counting")
    assert [(link.name, link.uri) for link in first.resource.log_links] == [("Console", "https://example.com")]
    assert first.resource.custom_info["done"] == 0.5
    assert job.wait().outputs == {"n": 7, "key": "k"}
    job.delete()
    assert counter.deleted == [7]


def test_metadata_of_a_newer_version_is_read_and_of_a_stranger_refused(client: Client) -> None:
    client.job("count", b'{"n": 1, "of_the_future": true}').get()
    with pytest.raises(grpc.RpcError) as error:
        client.job("count", b'{"m": 1}').get()
    assert code_of(error).startswith(
        "INVALID_ARGUMENT: agent Counter: Get: the job's metadata is not what this agent wrote: n: "
    )


def test_each_attempt_has_a_key(client: Client) -> None:
    keys = {json.loads(client.create("count").meta)["key"] for _ in range(3)}
    assert len(keys) == 3
    assert all(len(key) == 64 for key in keys)


KEYS = Path(__file__).parents[3] / "proto/agenthost/plugin/v1/testdata/idempotency_keys.json"


@pytest.mark.parametrize("case", json.loads(KEYS.read_text(encoding="utf-8")), ids=lambda case: case["name"])
def test_the_key_is_that_of_the_contract(case: dict[str, Any]) -> None:
    from flyteidl.core import identifier_pb2

    from agenthost.agent._dialect import idempotency_key

    run = identifier_pb2.WorkflowExecutionIdentifier(**case["execution"])
    execution = identifier_pb2.TaskExecutionIdentifier(
        task_id=identifier_pb2.Identifier(**case["task"]),
        node_execution_id=identifier_pb2.NodeExecutionIdentifier(node_id=case["node"], execution_id=run),
        retry_attempt=case["retry_attempt"],
    )
    assert idempotency_key(execution, case["output_prefix"]) == case["key"]


def test_outputs_take_the_types_that_the_job_kept(client: Client) -> None:
    types = {
        "n": types_pb2.LiteralType(simple=types_pb2.FLOAT),
        "key": types_pb2.LiteralType(simple=types_pb2.STRING),
    }
    result = client.run_task("count", inputs={"n": 5}, outputs=types)
    assert result.resource.outputs.literals["n"].scalar.primitive.float_value == 5.0


def test_failures_say_whose_fault_they_are(client: Client) -> None:
    result = client.run_task("count", inputs={"n": -1})
    error = result.resource.agent_error
    assert (result.phase, result.message) == (Phase.FAILED, "n is negative")
    assert (error.code, error.kind, error.origin) == ("Negative", agent_pb2.AgentError.NON_RECOVERABLE, 1)
    result = client.run_task("count", inputs={"n": 0})
    error = result.resource.agent_error
    assert (result.phase, error.code, error.kind) == (
        Phase.RETRYABLE_FAILED,
        "Zero",
        agent_pb2.AgentError.RECOVERABLE,
    )


@pytest.mark.parametrize(
    ("mode", "want"),
    [
        ("raise", "INTERNAL: agent Counter: Create: ValueError: the author's mistake"),
        ("unavailable", "UNAVAILABLE: agent Counter: Create: the warehouse sleeps"),
        ("exit", "INTERNAL: agent Counter: Create: the call tried to end the process with SystemExit(3)"),
    ],
)
def test_what_goes_wrong_is_told_without_a_traceback(client: Client, mode: str, want: str) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.create("count", custom={"mode": mode})
    assert code_of(error).startswith(want)
    assert "Traceback" not in code_of(error)
    client.create("count")  # the plugin lives on


def test_an_input_of_another_type_is_named(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.create("count", inputs={"n": "many"})
    assert code_of(error).startswith('INVALID_ARGUMENT: agent Counter: Create: input "n": ')


def test_logs_are_streamed_with_time_and_token(client: Client) -> None:
    job = client.create("count")
    second = LogLine("second", datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc), "SYSTEM")
    assert list(job.logs(lines=5)) == [LogLine("lines 5"), second, NextToken("more")]
    request = agent_pb2.GetTaskLogsRequest(task_category=job.category, resource_meta=job.meta)
    parts = list(client.async_agents.GetTaskLogs(request))
    (line,) = parts[1].body.structured_lines
    assert (line.message, line.timestamp.seconds, line.originator) == ("second", 1767312000, 2)


def test_metrics_that_an_agent_lacks_are_unimplemented(client: Client) -> None:
    request = agent_pb2.GetTaskMetricsRequest(task_category={"name": "count"}, resource_meta=b'{"n": 1}')
    with pytest.raises(grpc.RpcError) as error:
        client.async_agents.GetTaskMetrics(request)
    assert code_of(error) == "UNIMPLEMENTED: agent Counter: Metrics: the agent Counter has no metrics"


def test_agents_are_listed_with_the_highest_version_last(client: Client) -> None:
    (listed,) = client.agents()
    assert [(c.name, c.version) for c in listed.supported_task_categories] == [
        ("count", 0),
        ("count", 2),
        ("count_more", 0),
    ]
    assert list(listed.supported_task_types) == ["count", "count_more"]
    assert (listed.name, listed.is_sync) == ("Counter", False)


def test_unknown_categories_and_the_wrong_kind_of_call_are_told(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.create("cuont")
    assert code_of(error) == (
        'NOT_FOUND: no agent here serves task category "cuont"; there are agents for "count", "count_more"'
    )
    with pytest.raises(grpc.RpcError) as error:
        client.execute("count")
    assert code_of(error) == (
        'FAILED_PRECONDITION: task category "count" is served by the asynchronous agent "Counter": '
        "call AsyncAgentService.CreateTask"
    )


def test_a_deprecated_task_type_still_finds_the_agent(client: Client) -> None:
    request = agent_pb2.GetTaskRequest(task_type="count", resource_meta=b'{"n": 1}')
    assert client.async_agents.GetTask(request).resource.phase == Phase.RUNNING


def test_deleting_what_is_gone_is_fine(client: Client) -> None:
    client.job("count", b'{"n": 404}').delete()


def test_agents_are_closed_behind_the_last_call(counter: Counter) -> None:
    from agenthost.testing import run

    with run(Plugin("counter", "1.0.0", [counter])) as client:
        client.create("count")
        assert not counter.closed
    assert counter.closed


def test_the_connection_of_flyte_2_brings_secrets(agenthost_run: Run, monkeypatch: pytest.MonkeyPatch) -> None:
    seen: list[Task] = []

    class Connected(AsyncAgent[Count]):
        task_type = "connected"

        def create(self, task: Task) -> Count:
            seen.append(task)
            return Count(1)

        def get(self, job: Job[Count]) -> Resource:
            return queued()

        def delete(self, job: Job[Count]) -> None: ...

    client = agenthost_run(Plugin("connected", "1", [Connected()]))
    request, _ = client._request("connected")

    def entry(field: int, key: bytes, value: bytes) -> bytes:
        pair = b"\x0a%c%s\x12%c%s" % (len(key), key, len(value), value)
        return b"%c%c%s" % (field << 3 | 2, len(pair), pair)

    connection = b"\x0a\x04conn" + entry(2, b"token", b"s3cret") + entry(3, b"region", b"eu")
    sent = request.SerializeToString() + b"\x2a%c%s" % (len(connection), connection)
    client.async_agents.CreateTask(agent_pb2.CreateTaskRequest.FromString(sent))
    monkeypatch.setenv("_FSEC_OTHER", "own")
    (task,) = seen
    assert task.connection is not None
    assert (task.connection.task_type, task.connection.configs) == ("conn", {"region": "eu"})
    assert task.secret("token").reveal() == "s3cret"
    assert task.secret("other").reveal() == "own"
    assert "s3cret" not in repr(task.connection)


class Doubler(SyncAgent):
    task_type = "double"

    async def execute(self, task: Task) -> Resource:
        n = task.input("n", int)
        return running() if n == 0 else succeeded({"n": 2 * n})


def test_a_sync_agent_answers_once_in_the_declared_types(agenthost_run: Run) -> None:
    client = agenthost_run(Plugin("double", "1", [Doubler()]))
    result = client.execute("double", inputs={"n": 4}, outputs={"n": types_pb2.LiteralType(simple=types_pb2.FLOAT)})
    assert result.resource.outputs.literals["n"].scalar.primitive.float_value == 8.0
    with pytest.raises(grpc.RpcError) as error:
        client.execute("double", inputs={"n": 0})
    assert "must end with a terminal phase, not RUNNING" in code_of(error)


class Other(AsyncAgent[Count]):
    task_type = "other"

    def create(self, task: Task) -> Count:
        return Count(1)

    def get(self, job: Job[Count]) -> Resource:
        return queued()

    def delete(self, job: Job[Count]) -> None: ...


class Promising(Counter):
    idempotent_create = True


def test_an_agents_promise_holds_for_its_categories_and_that_of_all_agents_for_the_plugin(agenthost_run: Run) -> None:
    def promises(*agents: AsyncAgent[Count] | SyncAgent) -> tuple[list[str], list[tuple[str, int]]]:
        said = agenthost_run(Plugin("p", "1", agents)).describe()
        assert all(list(one.capabilities) == ["idempotent_create"] for one in said.category_capabilities)
        return list(said.capabilities), [(one.name, one.version) for one in said.category_capabilities]

    assert promises(Promising(), Other()) == ([], [("count", 0), ("count", 2), ("count_more", 0)])
    assert promises(Promising(), Doubler()) == (["idempotent_create"], [])
    assert promises(Other(), Doubler()) == ([], [])


def test_contradicting_agents_are_refused() -> None:
    class Twin(SyncAgent):
        task_type = "count"
        version = 9

        def execute(self, task: Task) -> Resource:
            return succeeded()

    with pytest.raises(LoadError, match="agents of both kinds"):
        Plugin("p", "1", [Counter(), Twin()]).service()
    with pytest.raises(LoadError, match='category "count" version 0 has two agents'):
        Plugin("p", "1", [Counter(), Counter()]).service()
    with pytest.raises(LoadError, match="at least one agent"):
        Plugin("p", "1", []).service()


class Level(enum.Enum):
    LOW = "low"


@dataclass
class Inner:
    a: int
    b: str = "x"


@dataclass
class Everything:
    whole: int
    ratio: float
    text: str
    flag: bool
    when: datetime.datetime
    long: datetime.timedelta
    data: bytes
    numbers: list[int]
    names: dict[str, str]
    file: File
    folder: Directory
    table: StructuredDataset
    inner: Inner
    nothing: str | None = None
    level: Level = Level.LOW


class Echo(SyncAgent):
    task_type = "echo"

    def execute(self, task: Task) -> Resource:
        everything = task.inputs_as(Everything)
        assert task.input("inner", Inner) == everything.inner
        assert task.input("level", Level) is Level.LOW
        assert task.input("file", File) == everything.file
        assert task.input("absent", str, "default") == "default"
        return succeeded({name: getattr(everything, name) for name in vars(everything)})


def test_every_kind_of_literal_goes_both_ways(agenthost_run: Run) -> None:
    values: dict[str, Any] = {
        "whole": 2**62,
        "ratio": 0.5,
        "text": "grün",
        "flag": True,
        "when": datetime.datetime(2026, 1, 2, 3, 4, 5, 6, tzinfo=datetime.timezone.utc),
        "long": datetime.timedelta(days=2, microseconds=5),
        "data": b"\x00\xff",
        "numbers": [1, 2],
        "names": {"a": "b"},
        "file": File("s3://b/f", "csv"),
        "folder": Directory("s3://b/d"),
        "table": StructuredDataset("s3://b/t", "parquet", {"n": "INTEGER"}),
        "inner": Inner(3),
        "nothing": None,
        "level": "low",
    }
    client = agenthost_run(Plugin("echo", "1", [Echo()]))
    assert client.execute("echo", inputs=values).outputs == values | {"inner": {"a": 3, "b": "x"}}


def test_outputs_of_a_union_name_their_variant() -> None:
    from agenthost.agent._literals import LiteralError, to_literal, to_literals

    number = types_pb2.LiteralType(simple=types_pb2.FLOAT)
    whole = types_pb2.LiteralType(simple=types_pb2.INTEGER)
    union = types_pb2.LiteralType(union_type=types_pb2.UnionType(variants=[number, whole]))
    assert to_literal(3, union).scalar.union.type == whole
    assert to_literal(3.5, union).scalar.union.type == number
    with pytest.raises(LiteralError, match=r"no variant of the declared union\[float, integer\] takes str 'x'"):
        to_literal("x", union)
    with pytest.raises(LiteralError, match=r"rows: \[1\]: the task declares integer, got str"):
        to_literals({"rows": [1, "2"]}, {"rows": types_pb2.LiteralType(collection_type=whole)})
    with pytest.raises(LiteralError, match="declared outputs are missing: a; outputs are not declared: b"):
        to_literals({"b": 1}, {"a": whole})


class WrongOutputs(AsyncAgent[dict[str, str]]):
    task_type = "wrong_outputs"

    def create(self, task: Task) -> dict[str, str]:
        return {"types": task.output_types}

    def get(self, job: Job[dict[str, str]]) -> Resource:
        return succeeded({"greting": "Hello"}, types=job.meta["types"])

    def delete(self, job: Job[dict[str, str]]) -> None:
        pass


def test_outputs_that_do_not_fit_are_the_end_of_a_job_at_its_first_poll(agenthost_run: Run) -> None:
    client = agenthost_run(Plugin("p", "1", [WrongOutputs()]))
    text = types_pb2.LiteralType(simple=types_pb2.STRING)
    ended = client.create("wrong_outputs", outputs={"greeting": text}).get()
    assert (ended.phase, ended.resource.agent_error.code) == (Phase.FAILED, "BadOutputs")
    assert ended.message == "declared outputs are missing: greeting; outputs are not declared: greting"


@dataclass
class Limits:
    memory: int = 1


@dataclass
class Config:
    region: str
    limits: Limits = field(default_factory=Limits)
    grace: datetime.timedelta = datetime.timedelta(seconds=30)


def test_a_configuration_is_told_what_is_wrong_with_it_by_key_and_at_once(agenthost_run: Run) -> None:
    taken: list[Config] = []
    plugin = Plugin("configured", "1", [Doubler()]).configure(Config, taken.append)
    client = agenthost_run(plugin)
    schema = json.loads(client.describe().config_schema)
    assert schema["required"] == ["region"]
    assert client.configure({"limits": {"memroy": 1, "memory": "lots"}, "regoin": "eu"}) == [
        ConfigError("limits.memory", 'must be an integer, got "lots"'),
        ConfigError("limits.memroy", 'unknown key: did you mean "memory"?'),
        ConfigError("region", "is required"),
        ConfigError("regoin", 'unknown key: did you mean "region"?'),
    ]
    with pytest.raises(grpc.RpcError) as error:
        client.execute("double", inputs={"n": 1})
    assert code_of(error).startswith("FAILED_PRECONDITION: plugin configured has no configuration yet")
    assert client.configure({"region": "eu", "grace": "5s"}) == []
    assert taken == [Config("eu", Limits(1), datetime.timedelta(seconds=5))]
    assert client.execute("double", inputs={"n": 1}).outputs == {"n": 2}
    with pytest.raises(grpc.RpcError) as error:
        client.configure({"region": "eu"})
    assert code_of(error).startswith("FAILED_PRECONDITION: plugin configured is configured already")


def test_a_function_may_refuse_the_configuration(agenthost_run: Run) -> None:
    async def refuse(config: Config) -> list[ConfigError]:
        if config.region == "moon":
            raise ValueError("there is no air on the moon")
        return [ConfigError("region", "is closed")]

    client = agenthost_run(Plugin("configured", "1", [Doubler()]).configure(Config, refuse))
    assert client.configure({"region": "moon"}) == [ConfigError("", "there is no air on the moon")]
    assert client.configure({"region": "eu"}) == [ConfigError("region", "is closed")]


def test_secrets_come_from_the_environment_or_a_file_and_do_not_show(
    monkeypatch: pytest.MonkeyPatch, tmp_path: Any
) -> None:
    monkeypatch.setenv("_FSEC_TOKEN", "from-env")
    assert secret("token").reveal() == "from-env"
    monkeypatch.setenv("FLYTE_SECRETS_DEFAULT_DIR", str(tmp_path))
    (tmp_path / "key").write_text(" from-file\n")
    found = secret("KEY")
    assert found.reveal() == "from-file"
    assert f"{found} {found!r}" == "[secret] [secret]"
    with pytest.raises(Exception, match=f"neither the environment variable _FSEC_NONE nor the file {tmp_path}/none"):
        secret("none")

    @dataclass
    class Leaky:
        token: Secret

    class Agent(AsyncAgent[Leaky]):
        task_type = "leaky"

        def create(self, task: Task) -> Leaky:
            return Leaky(Secret(""))

        def get(self, job: Job[Leaky]) -> Resource:
            return queued()

        def delete(self, job: Job[Leaky]) -> None: ...

    with pytest.raises(
        LoadError, match=r"the agent Agent cannot keep Leaky as JSON: .* must not be kept in a job's metadata"
    ):
        Plugin("leaky", "1", [Agent()]).service()


@pytest.mark.parametrize("registered", [False, True], ids=["generic handlers", "registered handlers"])
def test_a_stopping_plugin_says_that_it_has_not_taken_a_call(
    counter: Counter, registered: bool, tmp_path: Path
) -> None:
    """The host makes such a call again, on the plugin's next process."""
    from agenthost.plugin import start

    service = Plugin("counter", "1", [counter]).service()
    if registered:  # as generated code does, too
        register = service.register
        service = dataclasses.replace(service, register=lambda server: register(_Registering(server)))

    async def scenario() -> list[tuple[Any, Any]]:
        address = f"unix:{tmp_path}/socket"
        process = await start(service, address)
        async with grpc.aio.insecure_channel(address) as channel:
            create = channel.unary_unary(
                "/flyteidl.service.AsyncAgentService/CreateTask",
                request_serializer=agent_pb2.CreateTaskRequest.SerializeToString,
                response_deserializer=agent_pb2.CreateTaskResponse.FromString,
            )
            request = agent_pb2.CreateTaskRequest()
            request.template.type = "count"
            request.template.custom["mode"] = "block"
            under_way = create(request)
            while not process._calls._running:
                await asyncio.sleep(0.01)
            ending = process.end()
            while not process._calls._draining:
                await asyncio.sleep(0.01)
            logs = channel.unary_stream("/flyteidl.service.AsyncAgentService/GetTaskLogs")
            late = [create(request), logs(b"")]
            refused = [(await one.code(), dict(await one.trailing_metadata())) for one in late]
            counter.hold.set()
            await under_way
            await ending
            await process.ended()
        return refused

    for code, trailer in asyncio.run(scenario()):
        assert code is grpc.StatusCode.UNAVAILABLE
        assert trailer["agenthost-not-taken"] == "1"
    assert counter.closed


class _Registering:
    """Registers the methods that are added as generic handlers."""

    def __init__(self, server: Any) -> None:
        self._server = server

    def add_generic_rpc_handlers(self, handlers: Any) -> None:
        for handler in handlers:
            methods = {name.rsplit("/", 1)[1]: method for name, method in handler._method_handlers.items()}
            self._server.add_registered_method_handlers(handler.service_name(), methods)


def test_log_lines_are_what_the_host_reads() -> None:
    from agenthost.plugin._hostlog import HostFormatter

    record = logging.getLogger("warehouse").makeRecord(
        "warehouse", logging.WARNING, __file__, 1, "query %s", ("q1",), None, extra={"rows": 3}
    )
    record.created = time.mktime((2026, 1, 2, 3, 4, 5, 0, 0, 0)) + 0.5
    line = json.loads(HostFormatter().format(record))
    assert {key: line[key] for key in ("@level", "@message", "@module", "rows")} == {
        "@level": "warn",
        "@message": "query q1",
        "@module": "warehouse",
        "rows": 3,
    }
    assert line["@timestamp"].endswith("05.500000Z")


def test_a_call_knows_when_its_caller_stops_waiting(agenthost_run: Run) -> None:
    class Waiting(AsyncAgent[float]):
        task_type = "waiting"

        def create(self, task: Task) -> float:  # in a thread
            return task.seconds_left or -1

        async def get(self, job: Job[float]) -> Resource:
            assert job.deadline is not None and job.seconds_left is not None
            now = datetime.datetime.now(datetime.timezone.utc)
            return succeeded({"created": job.meta, "polled": (job.deadline - now).total_seconds()})

        async def delete(self, job: Job[float]) -> None: ...

    client = agenthost_run(Plugin("p", "1", [Waiting()]))
    request, _ = client._request("waiting")
    made = client.async_agents.CreateTask(request, timeout=1000).resource_meta
    outputs = client.job("waiting", made).get().outputs
    assert outputs is not None
    assert 900 < outputs["created"] < 1100  # gRPC rounds what it sends up
    assert 0 < outputs["polled"] <= 120
    assert client.async_agents.CreateTask(request).resource_meta == b"-1.0"


def test_links_are_shown_when_their_options_say(agenthost_run: Run) -> None:
    class Linked(SyncAgent):
        task_type = "linked"

        def execute(self, task: Task) -> Resource:
            done = succeeded().with_link("Console", "https://example.com/1")
            return done.with_link("Queue", "https://example.com/2", show_while_pending=True, hide_once_finished=True)

    links = agenthost_run(Plugin("p", "1", [Linked()])).execute("linked").resource.log_links
    assert [(one.name, one.ShowWhilePending, one.HideOnceFinished) for one in links] == [
        ("Console", False, False),
        ("Queue", True, True),
    ]


class Informing(AsyncAgent[str]):
    task_type = "informing"

    def __init__(self, info: Any) -> None:
        self.info = info

    def create(self, task: Task) -> str:
        return "7"

    def get(self, job: Job[str]) -> Resource:
        return running().with_info(rows=3, extra=self.info)

    def delete(self, job: Job[str]) -> None: ...


@pytest.mark.parametrize("info", [threading.Thread(), {"a": [object()]}, {1: "a"}], ids=["thread", "inside", "key"])
def test_info_that_has_no_json_is_the_end_of_a_job_at_its_first_poll(info: Any, agenthost_run: Run) -> None:
    ended = agenthost_run(Plugin("p", "1", [Informing(info)])).create("informing").get()
    assert (ended.phase, ended.resource.agent_error.code) == (Phase.FAILED, "BadOutputs")
    assert ended.message.startswith(f"info extra: JSON has no {type(info).__name__} ")


def test_info_keeps_what_no_float_holds_as_text(agenthost_run: Run) -> None:
    info = {"big": 2**60, "nan": float("nan"), "list": (1, -float("inf")), "none": None}
    found = agenthost_run(Plugin("p", "1", [Informing(info)])).create("informing").get().resource.custom_info
    assert dict(found["extra"])["big"] == str(2**60)
    assert (found["extra"]["nan"], list(found["extra"]["list"])) == ("nan", [1, "-inf"])
