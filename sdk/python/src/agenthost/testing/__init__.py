"""Runs a plugin in tests and talks to it as the host does, in Python values.

    def test_greets(agenthost_run):
        client = agenthost_run(Plugin("hello", "1.0.0", [Hello()]))
        assert client.run_task("hello", inputs={"name": "Ada"}).outputs == {"greeting": "Hello, Ada"}

`run` serves the agents in this process, which is quick and lets a debugger in. `command` starts the real program as the
host does, with the handshake, mutual TLS and a log, which shows what `run` cannot. Both give the same `Client`; with
pytest, the fixtures `agenthost_run` and `agenthost_command` end it with the test.
"""

from ._client import Client, Job, Result
from ._command import command
from ._run import run

__all__ = ["Client", "Job", "Result", "command", "run"]
