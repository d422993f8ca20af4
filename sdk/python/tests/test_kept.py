"""A job whose metadata could not be read back is refused when it is created, and not lost when it is polled."""

from __future__ import annotations

import dataclasses
import datetime
import threading
from collections.abc import Callable
from typing import Any

import grpc
import pydantic
import pytest

from agenthost.agent import AsyncAgent, Job, Plugin, Resource, Task, succeeded
from agenthost.plugin import LoadError
from agenthost.testing import Client

Run = Callable[[Plugin], Client]


class Lost:
    pass


@dataclasses.dataclass
class Inner:
    x: int = 0


@dataclasses.dataclass
class Meta:
    id: str = ""
    anything: Any = None
    numbers: set[int] = dataclasses.field(default_factory=set)
    handle: Any = dataclasses.field(default=None, compare=False)


@dataclasses.dataclass
class More(Meta):
    lost: str = "lost"


class Model(pydantic.BaseModel):
    token: pydantic.SecretStr


def agent_of(metadata: Any, made: Any) -> AsyncAgent[Any]:
    class Made(AsyncAgent[metadata]):  # type: ignore[valid-type]
        task_type = "made"

        async def create(self, task: Task) -> Any:
            return made

        async def get(self, job: Job[Any]) -> Resource:
            assert job.meta == made
            return succeeded()

        async def delete(self, job: Job[Any]) -> None: ...

        async def find(self, task: Task) -> Any:
            return made

        async def abandon(self, task: Task) -> None: ...

    return Made()


@pytest.mark.parametrize(
    ("metadata", "made", "said"),
    [
        (Meta, None, "returned None, by which no poll finds the job: return its Meta"),
        (Any, None, "returned None"),
        (Meta | None, None, "returned None"),
        (Meta, "7", "returned str, which cannot be read back as Meta"),
        (
            Meta,
            {"id": "7"},
            "returned dict, which is not read back as it was: it was dict {'id': '7'} and is then Meta",
        ),
        (Meta, Inner(1), "returned Inner, which cannot be written as Meta"),
        (Meta, More("7"), "returned More, which is not read back as it was"),
        (Meta, Meta(id=7), "returned Meta, which cannot be read back as Meta"),  # type: ignore[arg-type]
        (Meta, Meta(anything=threading.Thread()), "which cannot be written as Meta, for its anything"),
        (Meta, Meta(anything=Inner(1)), "its anything was Inner Inner(x=1) and is then dict {'x': 1}"),
        (Meta, Meta(anything={1: "a"}), "its anything was dict {1: 'a'} and is then dict {'1': 'a'}"),
        (Meta, Meta(anything=b"\xff"), "which cannot be written as Meta, for its anything"),
        (dict[str, Any], {"when": datetime.timedelta(1)}, "its when was timedelta"),
        (Model, Model(token=pydantic.SecretStr("k3y")), "its token was SecretStr"),
    ],
    ids=str,
)
def test_what_the_polls_would_not_get_is_refused(metadata: Any, made: Any, said: str, agenthost_run: Run) -> None:
    client = agenthost_run(Plugin("p", "1", [agent_of(metadata, made)]))
    for method, call in (("Create", client.create), ("Find", client.find)):
        with pytest.raises(grpc.RpcError) as refused:
            call("made")
        assert refused.value.code() is grpc.StatusCode.INTERNAL
        assert refused.value.details().startswith(f"agent made: {method}: TypeError: {method.lower()} returned")
        assert said in refused.value.details()
        assert "k3y" not in refused.value.details()


@pytest.mark.parametrize(
    ("metadata", "made"),
    [
        (str, "7"),
        (Meta, Meta("7", [1.5, {"a": None}], {3, 1, 2**70}, handle=0)),
        (dict[str, Any], {"a": [1, "ü"], "b": None}),
        (list[Inner], [Inner(1), Inner(2)]),
        (datetime.datetime, datetime.datetime(2026, 1, 2, tzinfo=datetime.timezone.utc)),
    ],
    ids=str,
)
def test_what_is_read_back_as_it_was_is_taken(metadata: Any, made: Any, agenthost_run: Run) -> None:
    assert agenthost_run(Plugin("p", "1", [agent_of(metadata, made)])).create("made").get().message == ""


def test_a_codec_of_the_agents_own_has_to_read_what_it_writes(agenthost_run: Run) -> None:
    class Own(agent_of(Meta, Meta("7")).__class__):  # type: ignore[misc]
        written: Any = b"7"

        def encode(self, meta: Meta) -> bytes:
            return self.written  # type: ignore[no-any-return]

        def decode(self, data: bytes) -> Meta:
            return Meta(str(int(data)))

    agent = Own()
    client = agenthost_run(Plugin("p", "1", [agent]))
    assert client.create("made").meta == b"7"
    for agent.written, said in (("7", "encode returned str"), (b"x", "which cannot be read back as Meta: invalid")):
        with pytest.raises(grpc.RpcError, match=said):
            client.create("made")


@pytest.mark.parametrize(
    ("metadata", "said"),
    [(None, "the agent Made keeps nothing of its jobs"), (Lost, "the agent Made cannot keep Lost as JSON: Unable to")],
)
def test_metadata_that_no_job_could_keep_is_refused_at_the_start(metadata: Any, said: str) -> None:
    with pytest.raises(LoadError, match=said):
        Plugin("p", "1", [agent_of(metadata, None)]).service()
