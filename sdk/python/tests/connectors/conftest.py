"""A real host with real plugins, each in the environment that its authors' packages were installed into."""

from __future__ import annotations

import contextlib
import json
import os
import pathlib
import queue
import subprocess
import tempfile
import threading
from collections.abc import Callable, Iterator
from typing import Any

import grpc
import pytest
import servers

from agenthost.testing import Client

ROOT = pathlib.Path(__file__).parents[4]
START_TIMEOUT = 180.0


@pytest.fixture(scope="session")
def venv() -> Callable[[str], pathlib.Path]:
    """The folder of programs of an environment that a script makes: `venv("connectors") / "agenthost-flytekit"`."""

    def make(name: str) -> pathlib.Path:
        command = [ROOT / "scripts" / "venv", name]
        return pathlib.Path(subprocess.run(command, check=True, stdout=subprocess.PIPE, text=True).stdout.strip())

    return make


@pytest.fixture(scope="session")
def agenthost() -> pathlib.Path:
    """The host's program, built from this tree."""
    if "PREBUILT_PROGRAMS" in os.environ:  # of `make build`, just now
        return pathlib.Path(os.environ["PREBUILT_PROGRAMS"]) / "agenthost"
    program = ROOT / ".cache" / "agenthost"
    subprocess.run(["go", "build", "-o", program, "./cmd/agenthost"], cwd=ROOT, check=True)
    return program


Host = Callable[[dict[str, Any]], Client]


@pytest.fixture
def host(agenthost: pathlib.Path) -> Iterator[Host]:
    """Starts a host with these plugins, waits until it is ready, and gives what calls it as Flyte does."""
    yield from _starting(agenthost)


@pytest.fixture(scope="module")
def shared_host(agenthost: pathlib.Path) -> Iterator[Host]:
    """Likewise, until the last test of a module: connectors take seconds to start."""
    yield from _starting(agenthost)


@pytest.fixture(scope="session")
def bqemulator(venv: Callable[[str], pathlib.Path]) -> Iterator[str]:
    """The address of an emulator of BigQuery."""
    with servers.bqemulator(venv("bqemulator")) as url:
        yield url


def _starting(agenthost: pathlib.Path) -> Iterator[Host]:
    with contextlib.ExitStack() as stack:
        yield lambda plugins: stack.enter_context(_serving(agenthost, plugins))


@contextlib.contextmanager
def _serving(agenthost: pathlib.Path, plugins: dict[str, Any]) -> Iterator[Client]:
    # Not tmp_path: a test's name would make a unix socket's path too long.
    with tempfile.TemporaryDirectory(prefix="host-") as folder:
        settings = {
            "listen": {"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0"},
            "log": {"format": "json"},
            "run_dir": f"{folder}/run",
            "plugins": {name: {"start_timeout": "2m", **plugin} for name, plugin in plugins.items()},
        }
        config = pathlib.Path(folder, "agenthost.json")
        config.write_text(json.dumps(settings))
        process = subprocess.Popen([agenthost, "serve", "--config", config], stderr=subprocess.PIPE, text=True)
        try:
            log: list[str] = []
            ready: queue.Queue[str] = queue.Queue()
            following = threading.Thread(target=_follow, args=(process.stderr, log, ready))
            following.start()
            endpoint = ready.get(timeout=START_TIMEOUT)
            assert endpoint, "the host ended before it was ready:\n" + "".join(log)
            with grpc.insecure_channel(endpoint) as channel:
                yield Client(channel, log, process.pid)
        finally:
            process.terminate()
            process.wait(60)
            following.join()


def _follow(stream: Any, log: list[str], ready: queue.Queue[str]) -> None:
    for line in stream:
        log.append(line)
        with contextlib.suppress(ValueError):
            entry = json.loads(line)
            if entry.get("msg") == "agenthost is ready":
                ready.put(entry["grpc"])
    ready.put("")
