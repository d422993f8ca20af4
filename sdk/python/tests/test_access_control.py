"""What FlytePropeller is sent for an AccessControl, what is refused before, and local execution on a host."""

from collections import OrderedDict
from collections.abc import Iterator
from concurrent.futures import ThreadPoolExecutor
from datetime import timedelta
from typing import Any

import grpc
import pytest
from flyteidl.admin import agent_pb2
from flyteidl.core import execution_pb2, literals_pb2, tasks_pb2, types_pb2
from flyteidl.service import agent_pb2_grpc
from flytekit import TaskMetadata, kwtypes, workflow
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.exceptions.system import FlyteSystemException
from flytekit.exceptions.user import FlyteUserException
from flytekit.tools.translator import get_serializable

from agenthost.tasks import AccessControl, _local

SETTINGS = SerializationSettings(
    project="demo", domain="development", version="v1", image_config=ImageConfig(Image("default", "flytekit", "1"))
)


def compiled(task: AccessControl) -> tasks_pb2.TaskTemplate:
    return get_serializable(OrderedDict(), SETTINGS, task).template.to_flyte_idl()


def test_the_template_is_what_the_plugin_expects() -> None:
    template = compiled(
        AccessControl(
            name="may_read",
            policy="flyte/authz/decision",
            inputs=kwtypes(dataset=str),
            outputs=["allowed", "reasons", "decision", "decision_id"],
            decision="object",
            on_deny="return",
            input={"action": "read", "path": "$.inputs.dataset"},
            metadata=TaskMetadata(retries=2, timeout=timedelta(minutes=5)),
        )
    )
    assert template.type == "access_control"
    assert template.task_type_version == 0
    assert template.WhichOneof("target") is None
    assert dict(template.custom["input"]) == {"action": "read", "path": "$.inputs.dataset"}
    assert {key: template.custom[key] for key in ("policy", "decision", "on_deny")} == {
        "policy": "flyte/authz/decision",
        "decision": "object",
        "on_deny": "return",
    }
    assert template.metadata.retries.retries == 2
    outputs = {name: variable.type for name, variable in template.interface.outputs.variables.items()}
    assert outputs["allowed"].simple == types_pb2.BOOLEAN
    assert outputs["reasons"].collection_type.simple == types_pb2.STRING
    assert outputs["decision"].simple == types_pb2.STRUCT
    assert outputs["decision_id"].simple == types_pb2.STRING


def test_a_task_that_fails_on_denials_has_no_outputs_unless_asked() -> None:
    template = compiled(AccessControl(name="t", policy="a/b"))
    assert dict(template.custom) == {"policy": "a/b", "on_deny": "fail"}
    assert not template.interface.outputs.variables
    returning = compiled(AccessControl(name="t", policy="a/b", on_deny="return"))
    assert set(returning.interface.outputs.variables) == {"allowed", "reasons"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"policy": "data/a"}, "without data, got 'data/a'"),
        ({"policy": "data.a.allow"}, "without data"),
        ({"policy": ""}, "got ''"),
        ({"policy": "/a"}, "got '/a'"),
        ({"decision": "maybe"}, "decision must be boolean, object or denials, got 'maybe'"),
        ({"on_deny": "ignore"}, "on_deny must be fail or return, got 'ignore'"),
        ({"outputs": ["allow"]}, "there is no output 'allow', but allowed, reasons, decision, decision_id"),
        ({"input": {"identity": "root"}}, "input cannot replace 'identity'"),
    ],
)
def test_what_the_plugin_would_refuse_is_refused_at_once(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"t: .*{message}"):
        AccessControl(**{"name": "t", "policy": "a/b", **wrong})


may_read = AccessControl(
    name="may_read", policy="flyte/authz/decision", inputs=kwtypes(dataset=str), on_deny="return", outputs=["allowed"]
)


def test_it_takes_its_place_in_a_workflow() -> None:
    @workflow
    def ask(dataset: str) -> bool:
        return may_read(dataset=dataset)  # type: ignore[no-any-return]

    (node,) = get_serializable(OrderedDict(), SETTINGS, ask).template.nodes
    assert node.task_node.reference_id.name == "may_read"


class Decider(agent_pb2_grpc.SyncAgentServiceServicer):
    """Answers as a host does whose plugin allows "flights" and is not there for "nowhere"."""

    def __init__(self) -> None:
        self.headers: list[agent_pb2.CreateRequestHeader] = []

    def ExecuteTaskSync(self, requests, context):  # type: ignore[no-untyped-def]
        inputs: dict[str, Any] = {}
        for part in requests:
            if part.HasField("header"):
                self.headers.append(part.header)
            inputs.update(part.inputs.literals)
        dataset = inputs["dataset"].scalar.primitive.string_value
        if dataset == "nowhere":
            context.abort(grpc.StatusCode.NOT_FOUND, "no plugin serves task category access_control")
        allowed = literals_pb2.Literal(
            scalar=literals_pb2.Scalar(primitive=literals_pb2.Primitive(boolean=dataset == "flights"))
        )
        resource = agent_pb2.Resource(phase=execution_pb2.TaskExecution.FAILED, message="AccessDenied: a secret")
        if dataset != "secret":
            resource = agent_pb2.Resource(
                phase=execution_pb2.TaskExecution.SUCCEEDED,
                outputs=literals_pb2.LiteralMap(literals={"allowed": allowed}),
            )
        yield agent_pb2.ExecuteTaskSyncResponse(header=agent_pb2.ExecuteTaskSyncResponseHeader(resource=resource))


@pytest.fixture
def no_connector(monkeypatch: pytest.MonkeyPatch) -> None:
    """flytekit's registry is one per process: each test starts and ends without our entry."""
    monkeypatch.setattr(_local.ConnectorRegistry, "_REGISTRY", {})
    monkeypatch.setattr(_local.ConnectorRegistry, "_METADATA", {})
    monkeypatch.delenv(_local.ADDRESS, raising=False)


@pytest.fixture
def host(no_connector: None, monkeypatch: pytest.MonkeyPatch) -> Iterator[Decider]:
    decider = Decider()
    server = grpc.server(ThreadPoolExecutor(max_workers=2))
    agent_pb2_grpc.add_SyncAgentServiceServicer_to_server(decider, server)
    port = server.add_insecure_port("127.0.0.1:0")
    server.start()
    monkeypatch.setenv(_local.ADDRESS, f"127.0.0.1:{port}")
    yield decider
    server.stop(grace=None).wait()


def test_a_host_decides(host: Decider) -> None:
    assert may_read(dataset="flights") is True
    assert may_read(dataset="weather") is False
    assert [header.template.type for header in host.headers] == ["access_control", "access_control"]
    assert host.headers[0].output_prefix


def test_a_denial_raises_its_reasons(host: Decider) -> None:
    with pytest.raises(FlyteUserException, match="AccessDenied: a secret"):
        may_read(dataset="secret")


def test_a_host_without_the_plugin_says_so(host: Decider) -> None:
    with pytest.raises(FlyteSystemException, match="NOT_FOUND: no plugin serves task category access_control"):
        may_read(dataset="nowhere")


def test_without_a_host_the_error_says_how_to_get_one(no_connector: None) -> None:
    with pytest.raises(FlyteUserException, match=r"start a host .* and set AGENTHOST_ADDRESS"):
        may_read(dataset="flights")
