#!/usr/bin/env bash
# flytekit's Slurm connectors cannot tell the phase of a job that waits, of one whose node died, nor of any that runs a function.
#
# Expected: each state of a job that Slurm documents is a phase: PENDING is a job that waits, OUT_OF_MEMORY one that failed.
# Seen (flytekitplugins-slurm 1.16.31, asyncssh 2.24.1): a poll reads the job's output, too, and where the file is not there yet, as of a job
# that waits, the script's connector fails with a NameError: the exception that it would ignore is not imported. The function's connector has
# no logger, which it logs to in either case: all of its polls fail. Six of Slurm's states are "Unrecognized" to both. Flyte gives a job up
# after six such polls in all: it fails a job that is merely in the queue, and takes one that ran out of memory for running, for ever.
#
# What follows for us: agenthost-flytekit serves the connectors as they are. Flyte 2's flyteplugins-slurm, served by agenthost-flyte2, knows
# these states.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q flytekit==1.16.31 flytekitplugins-slurm==1.16.31 asyncssh==2.24.1
cat > finding.py <<'PY'
import asyncio
import json
import pathlib
import shlex

import asyncssh
from flyteidl.core.execution_pb2 import TaskExecution
from flytekitplugins.slurm.function import connector as function
from flytekitplugins.slurm.script import connector as script

# The base states of Slurm's manual, and whether the job has begun to write its output.
STATES = {"PENDING": False, "RUNNING": True, "SUSPENDED": True, "COMPLETED": True, "CANCELLED": True, "FAILED": True, "TIMEOUT": True,
          "NODE_FAIL": True, "PREEMPTED": True, "BOOT_FAIL": False, "DEADLINE": True, "OUT_OF_MEMORY": True}


class Everybody(asyncssh.SSHServer):
    def begin_auth(self, username):
        return False


def scontrol(process):
    """What Slurm's command prints of a job, here named after its state."""
    state = shlex.split(process.command)[-1]
    process.stdout.write(json.dumps({"jobs": [{"job_state": [state], "standard_output": str(pathlib.Path(f"{state}.out").resolve())}]}))
    process.exit(0)


async def poll(connector, metadata):
    try:
        return TaskExecution.Phase.Name((await connector.get(metadata)).phase)
    except Exception as error:
        return type(error).__name__


async def main():
    server = await asyncssh.listen("127.0.0.1", 0, server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
                                   server_factory=Everybody, process_factory=scontrol, sftp_factory=True)
    pathlib.Path(".ssh").mkdir()
    pathlib.Path(".ssh/config").write_text(f"Host cluster\n  HostName 127.0.0.1\n  Port {server.get_port()}\n  User someone\n")
    where = {"host": "cluster", "username": "someone"}
    seen = {}
    for state, writes in STATES.items():
        if writes:
            pathlib.Path(f"{state}.out").write_text("a line\n")
        seen[state] = (await poll(script.SlurmScriptConnector(), script.SlurmJobMetadata(state, where, {})),
                       await poll(function.SlurmFunctionConnector(), function.SlurmJobMetadata(state, where)))
        print(f"{state}: a script's job is {seen[state][0]}, a function's {seen[state][1]}")
    unknown = ("ValueError", "ValueError")
    assert seen == {
        "PENDING": ("NameError", "NameError"), "RUNNING": ("RUNNING", "NameError"), "SUSPENDED": unknown,
        "COMPLETED": ("SUCCEEDED", "NameError"), "CANCELLED": ("FAILED", "NameError"), "FAILED": ("FAILED", "NameError"),
        "TIMEOUT": ("FAILED", "NameError"), "NODE_FAIL": unknown, "PREEMPTED": unknown, "BOOT_FAIL": unknown, "DEADLINE": unknown,
        "OUT_OF_MEMORY": unknown,
    }, "CHANGED"
    server.close()


asyncio.run(main())
PY
HOME=$work venv/bin/python finding.py
