"""A plugin as a process: handshake, TLS, contract, end."""

from __future__ import annotations

import importlib
import os
import pathlib
import signal
import subprocess
import sys
from collections.abc import Callable

import grpc
import pytest
from flyteidl.admin import agent_pb2
from google.protobuf import descriptor_pb2, descriptor_pool

import agenthost
from agenthost.agent import Phase
from agenthost.plugin import _contract
from agenthost.testing import Client, command

HELLO = [sys.executable, str(pathlib.Path(__file__).parents[1] / "examples" / "hello" / "hello.py")]
PROTO = pathlib.Path(__file__).parents[3] / "proto" / "contract.binpb"

Command = Callable[..., Client]


@pytest.mark.parametrize("tls", [True, False])
def test_hello_greets(tls: bool, agenthost_command: Command) -> None:
    client = agenthost_command(HELLO, tls=tls)
    result = client.run_task("hello", inputs={"name": "Ada"})
    assert (result.phase, result.outputs) == (Phase.SUCCEEDED, {"greeting": "Hello, Ada"})
    described = client.describe()
    assert (described.name, described.version, described.sdk.name) == ("hello", "1.0.0", "agenthost-python")


def test_a_stranger_is_refused(tmp_path: pathlib.Path) -> None:
    from agenthost.plugin import _certificate
    from agenthost.testing import _command

    own, stranger = _certificate.make(), _certificate.make()
    env = _command._environment(str(tmp_path), own.certificate.decode(), {})
    process = subprocess.Popen(HELLO, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        handshake = _command._handshake(process, [])
        assert _lists(_command._connect(handshake, own, True))
        for channel in (
            _command._connect(handshake, stranger, True),
            grpc.insecure_channel(f"unix:{handshake[3]}"),
        ):
            with pytest.raises(grpc.RpcError) as error:
                _lists(channel)
            assert error.value.code() is grpc.StatusCode.UNAVAILABLE
    finally:
        _command._kill(process)


def _lists(channel: grpc.Channel) -> bool:
    with channel:
        call = channel.unary_unary(
            "/flyteidl.service.AgentMetadataService/ListAgents",
            request_serializer=agent_pb2.ListAgentsRequest.SerializeToString,
            response_deserializer=agent_pb2.ListAgentsResponse.FromString,
        )
        return bool(call(agent_pb2.ListAgentsRequest(), timeout=10).agents)


@pytest.mark.parametrize(
    ("env", "said"),
    [
        ({}, "it is started by agenthost, not by hand"),
        ({"AGENTHOST_PLUGIN": "another"}, "it is started by agenthost, not by hand"),
        ({"AGENTHOST_PLUGIN": "flyte-agent-plugin", "PLUGIN_PROTOCOL_VERSIONS": "2,3"}, "in version 2,3"),
    ],
)
def test_a_wrong_start_is_explained(env: dict[str, str], said: str) -> None:
    ran = subprocess.run(HELLO, env={"PATH": os.environ["PATH"], **env}, capture_output=True, text=True, timeout=60)
    assert (ran.returncode, ran.stdout) == (1, "")
    assert said in ran.stderr


def test_sigterm_ends_it_in_good_order(tmp_path: pathlib.Path) -> None:
    from agenthost.testing import _command

    env = _command._environment(str(tmp_path), "", {})
    process = subprocess.Popen(HELLO, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    try:
        socket = pathlib.Path(_command._handshake(process, [])[3])
        assert socket.exists()
        process.send_signal(signal.SIGTERM)
        assert process.wait(30) == 0
        assert not socket.exists()
    finally:
        _command._kill(process)


def test_it_ends_with_its_parent(tmp_path: pathlib.Path) -> None:
    """A shell starts it and is killed; the pipe closes when the plugin has ended, too."""
    from agenthost.testing import _command

    env = _command._environment(str(tmp_path), "", {})
    shell = ["sh", "-c", '"$@" & wait', "sh", *HELLO]
    parent = subprocess.Popen(shell, env=env, stdout=subprocess.PIPE, stderr=subprocess.PIPE, text=True)
    output = _command._Output(parent.stderr)
    assert len(_command._handshake(parent, output)) == 6
    parent.kill()
    parent.wait(30)
    output._reader.join(30)  # ends when nobody holds the other end any more
    assert not output._reader.is_alive()
    for stream in (parent.stdout, parent.stderr):
        assert stream is not None
        stream.close()


def test_large_messages_pass(agenthost_command: Command) -> None:
    client = agenthost_command(HELLO)
    name = "a" * (20 << 20)
    assert client.run_task("hello", inputs={"name": name}).outputs == {"greeting": f"Hello, {name}"}


def test_a_plugin_that_ends_badly_is_told_by_the_test_kit() -> None:
    with pytest.raises(AssertionError, match="is no handshake; the plugin wrote:\nboom"):  # noqa: SIM117
        with command([sys.executable, "-c", "import sys; sys.exit('boom')"]):
            pass


def test_flyteidl_is_the_contract_that_the_host_speaks() -> None:
    """The messages come from PyPI's flyteidl: a second copy of the same names would collide in protobuf's pool."""
    contract = descriptor_pb2.FileDescriptorSet.FromString(PROTO.read_bytes())
    flyteidl = [file for file in contract.file if file.name.startswith("flyteidl/")]
    assert len(flyteidl) > 10
    importlib.import_module("flyteidl.service.agent_pb2")
    for file in flyteidl:
        installed = descriptor_pb2.FileDescriptorProto()
        descriptor_pool.Default().FindFileByName(file.name).CopyToProto(installed)
        for option in ("options", "source_code_info"):  # paths for HTTP, packages of Go
            installed.ClearField(option)
            file.ClearField(option)
        for method in (method for service in installed.service for method in service.method):
            method.ClearField("options")
        del installed.dependency[:], file.dependency[:]  # of the options
        assert installed == file, file.name


def test_the_package_carries_the_contract() -> None:
    carried = pathlib.Path(agenthost.__file__).with_name("contract.binpb")
    assert carried.read_bytes() == PROTO.read_bytes()
    assert {file.name for file in _contract.files()} >= {"agenthost/plugin/v1/plugin.proto", "goplugin/goplugin.proto"}
