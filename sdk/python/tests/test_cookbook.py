"""What the checks of `agenthost verify` do not see of the cookbook's agents."""

import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Iterator

import pytest

from agenthost.agent import Phase
from agenthost.testing import Client, command

ROOT = pathlib.Path(__file__).parents[3]


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Iterator[Client]:
    """The SSH agent, with a host that it reaches. The jobs are in tmp_path/jobs."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    with subprocess.Popen([ROOT / "scripts/sshd", str(port), tmp_path], stderr=subprocess.PIPE) as sshd:
        assert sshd.stderr is not None
        assert any(b"listening" in line for line in sshd.stderr)
        folder = subprocess.check_output([ROOT / "scripts/venv", "connectors"], text=True).strip()
        secrets = {f"_FSEC_{name.upper()}": (tmp_path / name).read_text() for name in ("client_key", "known_hosts")}
        with command([f"{folder}/python", str(ROOT / "sdk/python/examples/ssh/ssh.py")], env=secrets) as client:
            config = {"host": "127.0.0.1", "port": port, "key": "client_key", "known_hosts": "known_hosts"}
            assert client.configure(config | {"folder": str(tmp_path / "jobs")}) == []
            yield client
        sshd.terminate()


def sleepers(command: str) -> list[int]:
    """The processes with these arguments."""
    found = subprocess.run(["pgrep", "-f", "-x", command], capture_output=True, text=True, check=False)
    return [int(pid) for pid in found.stdout.split()]


def until(count: int, command: str) -> list[int]:
    for _ in range(1000):
        if len(found := sleepers(command)) == count:
            return found
        time.sleep(0.02)
    raise AssertionError(f"there are {sleepers(command)}, and not {count}, of {command}")


def test_with_a_command_by_ssh_ends_what_it_started(host: Client) -> None:
    job = host.create("ssh", inputs={"command": "sleep 71234 & sleep 71234"})
    until(2, "sleep 71234")
    assert job.get().phase == Phase.RUNNING
    job.delete()
    until(0, "sleep 71234")
    job.delete()


def test_a_command_by_ssh_that_is_killed_costs_a_retry(host: Client) -> None:
    job = host.create("ssh", inputs={"command": "echo so far; exec sleep 71235"})
    (pid,) = until(1, "sleep 71235")
    os.killpg(os.getpgid(pid), signal.SIGKILL)
    until(0, "sleep 71235")
    lost = job.get()
    assert (lost.phase, lost.message) == (Phase.RETRYABLE_FAILED, "it ended without an exit code: so far\n")
