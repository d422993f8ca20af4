"""What the checks of `agenthost verify` do not see of the cookbook's agents."""

import os
import pathlib
import signal
import socket
import subprocess
import time
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager, contextmanager

import pytest

from agenthost.agent import Phase
from agenthost.testing import Client, command

ROOT = pathlib.Path(__file__).parents[3]


Start = Callable[[], AbstractContextManager[Client]]


@contextmanager
def serving(script: str, tmp_path: pathlib.Path, **config: str) -> Iterator[Start]:
    """What starts a process of the agent for SSH, for a host that a script serves."""
    with socket.create_server(("127.0.0.1", 0)) as free:
        port = free.getsockname()[1]
    python = subprocess.check_output([ROOT / "scripts/venv", "connectors"], text=True).strip() + "/python"
    where = {"host": "127.0.0.1", "port": port, "folder": str(tmp_path / "jobs")}
    with subprocess.Popen([ROOT / script, str(port), tmp_path], stderr=subprocess.PIPE) as server:
        assert server.stderr is not None
        assert any(b"listening" in line for line in server.stderr)
        secrets = {f"_FSEC_{name.upper()}": (tmp_path / name).read_text() for name in ("client_key", "known_hosts")}

        @contextmanager
        def start() -> Iterator[Client]:
            with command([python, str(ROOT / "sdk/python/examples/ssh/ssh.py")], env=secrets) as client:
                assert client.configure(where | config | {"key": "client_key", "known_hosts": "known_hosts"}) == []
                yield client

        try:
            yield start
        finally:
            server.terminate()


@pytest.fixture
def host(tmp_path: pathlib.Path) -> Iterator[Client]:
    with serving("scripts/sshd", tmp_path) as start, start() as client:
        yield client


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


def test_the_end_of_a_command_by_ssh_ends_what_it_started(host: Client) -> None:
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


def test_jobs_of_a_slurm_outlive_the_process_that_submitted_them(tmp_path: pathlib.Path) -> None:
    with serving("scripts/slurm", tmp_path, scheduler="slurm") as start:
        with start() as first:
            task = {"inputs": {"command": "echo job $SLURM_JOB_ID; exec sleep 2"}, "idempotency_key": "5" * 64}
            job, again = first.create("ssh", **task), first.create("ssh", **task)
            assert job.get().phase == Phase.RUNNING
        with start() as second:
            done = second.job("ssh", job.meta).wait()
            assert (done.phase, done.outputs, again.meta) == (Phase.SUCCEEDED, {"output": "job 1\n"}, job.meta)

            failing = second.create("ssh", inputs={"command": "echo job $SLURM_JOB_ID; exit 3"}).wait()
            assert (failing.phase, failing.message) == (Phase.FAILED, "exit code 3: job 2\n")

            cancelled = second.create("ssh", inputs={"command": "sleep 71236 & sleep 71236"})
            until(2, "sleep 71236")
            cancelled.delete()
            until(0, "sleep 71236")
