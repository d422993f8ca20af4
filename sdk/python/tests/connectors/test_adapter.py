"""agenthost-flytekit against connectors that do what they must not, in both generations of flytekit's names."""

from __future__ import annotations

import concurrent.futures
import functools
import json
import os
import pathlib
import subprocess
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest

from agenthost.agent import LogLine, Phase
from agenthost.testing import Client, command

HERE = pathlib.Path(__file__).parent
ENV = {"PYTHONPATH": str(HERE)}

Venv = Callable[[str], pathlib.Path]
Command = Callable[..., Client]


@pytest.fixture(scope="module", params=["connectors", "flytekit-1.15"], ids=["flytekit 1.16", "flytekit 1.15"])
def program(venv: Venv, request: pytest.FixtureRequest) -> str:
    return str(venv(request.param) / "agenthost-flytekit")


MISBEHAVING = ["--task-types", "misbehaving,quiet", "--modules", "misbehaving"]


@pytest.fixture(scope="module")
def client(program: str) -> Iterator[Client]:
    with command([program, *MISBEHAVING], env=ENV) as client:
        yield client


@pytest.fixture
def fresh_client(program: str) -> Iterator[Client]:
    """One that has done nothing yet, for a test of what is told first."""
    with command([program, *MISBEHAVING], env=ENV) as client:
        yield client


def status(error: pytest.ExceptionInfo[grpc.RpcError]) -> str:
    return f"{error.value.code().name}: {error.value.details()}"


def test_only_the_wanted_types_are_listed(client: Client) -> None:
    """Every environment with flytekit has a sensor, too."""
    assert [(agent.name, list(agent.supported_task_types)) for agent in client.agents()] == [
        ("Misbehaving", ["misbehaving"]),
        ("Quiet", ["quiet"]),
    ]


def test_what_is_printed_reaches_the_log_and_not_the_handshake(client: Client) -> None:
    client.create("misbehaving")
    client.wrote("1|1|unix|/nowhere|grpc|")
    client.wrote("straight to the file descriptor")
    client.wrote("printed in a call")


def test_agents_use_what_they_import_lazily_at_the_same_time(client: Client) -> None:
    with concurrent.futures.ThreadPoolExecutor() as threads:
        create = functools.partial(client.create, custom={"mode": "lazy"})
        assert len(list(threads.map(create, ["misbehaving", "quiet"]))) == 2


def test_an_exit_fails_one_call_and_not_the_process(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.create("misbehaving", custom={"mode": "exit"})
    assert status(error) == (
        "INTERNAL: agent Misbehaving: Create: the call tried to end the process with SystemExit(7); "
        "only the call has ended"
    )
    job = client.create("misbehaving", custom={"mode": "exit in get"})
    with pytest.raises(grpc.RpcError) as error:
        job.get()
    assert "SystemExit('enough')" in status(error)
    assert client.create("misbehaving").wait().phase == Phase.SUCCEEDED


def test_errors_keep_their_meaning_and_the_traceback_goes_to_the_log(client: Client) -> None:
    with pytest.raises(grpc.RpcError) as error:
        client.create("misbehaving", custom={"mode": "raise"})
    assert status(error) == "INTERNAL: agent Misbehaving: Create: KeyError: 'missing' (misbehaving.py:56)"
    line = json.loads(client.wrote("raise KeyError"))
    assert 'raise KeyError("missing")' in line["exception"]
    assert (line["@message"], line["@level"], line["agent"], line["method"], line["task_category"]) == (
        "a call failed",
        "error",
        "Misbehaving",
        "Create",
        "misbehaving",
    )
    with pytest.raises(grpc.RpcError) as error:
        client.create("misbehaving").delete()
    assert status(error) == "UNIMPLEMENTED: agent Misbehaving: Delete: there is no way back"
    with pytest.raises(grpc.RpcError) as error:
        client.create("sensor")
    assert status(error).startswith('NOT_FOUND: no agent here serves task category "sensor"')


def test_metadata_that_no_poll_could_read_is_refused_at_creation(client: Client) -> None:
    for mode, said in (
        ("none", "create returned None, by which no poll finds the job: return its Meta"),
        ("unreadable", "create returned Meta, which cannot be written as Meta: Object of type function is not JSON"),
    ):
        with pytest.raises(grpc.RpcError) as error:
            client.create("misbehaving", custom={"mode": mode})
        assert status(error).startswith(f"INTERNAL: agent Misbehaving: Create: TypeError: {said}")


def test_calls_that_block_hold_up_no_other_connector_and_are_told(fresh_client: Client, tmp_path: pathlib.Path) -> None:
    client = fresh_client
    gate = tmp_path / "gate"
    custom = {"mode": "block", "gate": str(gate)}
    blocked = [
        threading.Thread(target=client.create, args=("misbehaving",), kwargs={"custom": custom}) for _ in range(10)
    ]
    for thread in blocked:
        thread.start()
    try:
        told = json.loads(client.wrote("an agent blocks its event loop"))
        assert client.create("quiet").wait().phase == Phase.SUCCEEDED
        assert all(thread.is_alive() for thread in blocked)
    finally:
        gate.touch()
    for thread in blocked:
        thread.join()
    assert told["agent"] == "Misbehaving"
    file = HERE / "misbehaving.py"
    line = file.read_text().splitlines().index("        time.sleep(0.02)") + 1
    assert told["stands_at"] == f"{file}:{line} in wait_for"
    assert json.loads(client.wrote("the agent's event loop goes on"))["stood_at"] == told["stands_at"]
    assert client.create("misbehaving").wait().phase == Phase.SUCCEEDED


def test_connectors_share_a_loop_where_they_are_told_to(
    program: str, agenthost_command: Command, tmp_path: pathlib.Path
) -> None:
    arguments = [program, *MISBEHAVING, "--share-loop"]
    client = agenthost_command(arguments, env=ENV)
    custom = {"mode": "block", "gate": str(tmp_path / "gate")}
    with concurrent.futures.ThreadPoolExecutor() as threads:
        blocked = threads.submit(client.create, "misbehaving", custom=custom)
        told = json.loads(client.wrote("an agent blocks its event loop"))
        waiting = threads.submit(client.create, "quiet")
        (tmp_path / "gate").touch()
        assert blocked.result().wait().phase == waiting.result().wait().phase == Phase.SUCCEEDED
    assert told["agent"] == "Misbehaving, Quiet"


def test_logs_come_as_they_are_written(client: Client, tmp_path: pathlib.Path) -> None:
    gate = tmp_path / "gate"
    lines: Iterator[Any] = client.create("misbehaving", custom={"gate": str(gate)}).logs()
    assert next(lines) == LogLine("first")  # while the connector waits at the gate
    gate.touch()
    assert list(lines) == [LogLine("second")]
    assert list(client.create("quiet").logs()) == [LogLine("all"), LogLine("at once")]


def test_an_interrupt_is_for_the_host(client: Client) -> None:
    os.kill(client.pid, 2)
    assert client.create("misbehaving").wait().phase == Phase.SUCCEEDED


def refused(program: str, *arguments: str) -> str:
    env = {**os.environ, **ENV, "AGENTHOST_PLUGIN": "flyte-agent-plugin", "PLUGIN_PROTOCOL_VERSIONS": "1"}
    ran = subprocess.run([program, *arguments], env=env, capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1
    assert ran.stdout == ""
    return ran.stderr


def test_a_module_that_cannot_be_imported_is_named(program: str) -> None:
    said = refused(program, "--task-types", "misbehaving", "--modules", "no_such_module")
    assert "no_such_module cannot be imported: ModuleNotFoundError: No module named 'no_such_module'" in said


def test_a_task_type_without_a_connector_is_named(program: str) -> None:
    said = refused(program, "--task-types", "snowfall,misbehaving", "--modules", "misbehaving")
    assert 'no connector in this environment is for "snowfall"; there are connectors for ' in said
    # What nobody wanted is told, too; the environment with flytekit 1.15 has no httpx.
    assert '"webhook".' in said or "flytekit.extras.webhook cannot be imported: ModuleNotFoundError" in said


def test_a_person_is_told_what_the_program_is_for(program: str) -> None:
    ran = subprocess.run([program, "--task-types", "sensor"], capture_output=True, text=True, timeout=120)
    assert ran.returncode == 1
    assert "it is started by agenthost, not by hand" in ran.stderr


def test_the_types_of_an_environment_are_listed(program: str) -> None:
    command = [program, "--list", "--modules", "misbehaving"]
    ran = subprocess.run(command, env={**os.environ, **ENV}, capture_output=True, text=True, timeout=120, check=True)
    lines = ran.stdout.splitlines()
    assert "misbehaving\t0\tasync\tMisbehaving\tmisbehaving" in lines
    types = {line.split("\t")[0] for line in lines}
    assert "sensor" in types
    assert "webhook" in types or "No module named 'httpx'" in ran.stderr
