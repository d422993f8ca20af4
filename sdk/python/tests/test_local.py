"""Local execution: a host that listens on a real socket, and what a user sees when there is none."""

import socket
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor

import grpc
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2, literals_pb2
from flyteidl.service import agent_pb2_grpc
from flytekit import kwtypes
from flytekit.exceptions.system import FlyteSystemException
from flytekit.exceptions.user import FlyteUserException

from agenthost.tasks import DuckDBQuery, _local

double = DuckDBQuery(name="double", query_template="select 2 * $n as n", inputs=kwtypes(n=int), outputs=kwtypes(n=int))


class Doubler(agent_pb2_grpc.AsyncAgentServiceServicer):
    """Answers as a host does whose plugin doubles n. A negative n is a failure, and 0 a host that knows no plugin."""

    def __init__(self) -> None:
        self.created: list[agent_pb2.CreateTaskRequest] = []
        self.polled: list[agent_pb2.GetTaskRequest] = []

    def CreateTask(self, request, context):  # type: ignore[no-untyped-def]
        self.created.append(request)
        n = request.inputs.literals["n"].scalar.primitive.integer
        if n == 0:
            context.abort(grpc.StatusCode.NOT_FOUND, "no plugin serves task category duckdb_query")
        return agent_pb2.CreateTaskResponse(resource_meta=b"\xff%d" % n)

    def GetTask(self, request, context):  # type: ignore[no-untyped-def]
        self.polled.append(request)
        n = int(request.resource_meta[1:])
        if n < 0:
            return agent_pb2.GetTaskResponse(
                resource=agent_pb2.Resource(phase=execution_pb2.TaskExecution.FAILED, message="Binder Error: n < 0")
            )
        if len(self.polled) == 1:
            return agent_pb2.GetTaskResponse(resource=agent_pb2.Resource(phase=execution_pb2.TaskExecution.RUNNING))
        doubled = literals_pb2.Literal(scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(integer=2 * n)))
        return agent_pb2.GetTaskResponse(
            resource=agent_pb2.Resource(
                phase=execution_pb2.TaskExecution.SUCCEEDED,
                outputs=literals_pb2.LiteralMap(literals={"n": doubled}),
            )
        )


@pytest.fixture
def no_connector(monkeypatch: pytest.MonkeyPatch) -> None:
    """flytekit's registry is one per process: each test starts and ends without our entry."""
    monkeypatch.setattr(_local.ConnectorRegistry, "_REGISTRY", {})
    monkeypatch.setattr(_local.ConnectorRegistry, "_METADATA", {})
    monkeypatch.delenv(_local.ADDRESS, raising=False)


@pytest.fixture
def host(no_connector: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Doubler]:
    doubler = Doubler()
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    agent_pb2_grpc.add_AsyncAgentServiceServicer_to_server(doubler, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv(_local.ADDRESS, f"127.0.0.1:{port}")
    yield doubler
    server.stop(grace=None).wait()


def test_a_host_runs_the_task(host: Doubler) -> None:
    assert double(n=21) == 42

    (created,) = host.created
    assert created.template.type == "duckdb_query"
    assert created.template.sql.statement == "select 2 * $n as n"
    assert created.output_prefix
    assert len(host.polled) == 2
    for polled in host.polled:
        assert polled.task_category == agent_pb2.TaskCategory(name="duckdb_query", version=0)
        assert polled.task_type == "duckdb_query"
        assert polled.resource_meta == b"\xff21"
        assert polled.output_prefix == created.output_prefix


def test_a_second_run_finds_the_connector_registered(host: Doubler) -> None:
    assert [double(n=1), double(n=2)] == [2, 4]


def test_a_failed_job_raises_its_message(host: Doubler) -> None:
    with pytest.raises(FlyteUserException, match="Failed to run the task double with error: Binder Error: n < 0"):
        double(n=-1)


def test_a_host_without_the_plugin_says_so(host: Doubler) -> None:
    with pytest.raises(FlyteSystemException, match="NOT_FOUND: no plugin serves task category duckdb_query"):
        double(n=0)


def test_without_a_host_the_error_says_how_to_get_one(no_connector: None) -> None:
    with pytest.raises(FlyteUserException, match=r"start a host .* and set AGENTHOST_ADDRESS"):
        double(n=1)


def test_a_host_that_does_not_answer_is_named(no_connector: None, monkeypatch: pytest.MonkeyPatch) -> None:
    with socket.socket() as closed:  # bound, never listening
        closed.bind(("127.0.0.1", 0))
        address = f"127.0.0.1:{closed.getsockname()[1]}"
        monkeypatch.setenv(_local.ADDRESS, address)
        with pytest.raises(FlyteSystemException, match=f"on the host at {address} .* failed: UNAVAILABLE"):
            double(n=1)


def test_a_connector_in_this_process_comes_first(host: Doubler) -> None:
    class Here(_local.HostConnector):
        def create(self, *args, **kwargs):  # type: ignore[no-untyped-def]
            raise RuntimeError("reached")

    _local.ConnectorRegistry.register(Here("duckdb_query", 0))
    with pytest.raises(RuntimeError, match="reached"):
        double(n=1)
    assert not host.created
