# Commands on a host that is reached by SSH, or jobs of the Slurm whose login node it is. They survive this process and
# the connection: what there is to know of one is in a folder on the host, which the attempt names.
import asyncio
import shlex
from dataclasses import dataclass
from typing import Literal

import asyncssh

from agenthost.agent import (
    AsyncAgent,
    Job,
    NotFound,
    Plugin,
    Resource,
    SecretRef,
    SystemFailure,
    Task,
    Unavailable,
    UserFailure,
    failed,
    retryable_failed,
    running,
    succeeded,
)

# A command leads a session and process group of its own, so that its end is the whole group's; its arguments name the
# job, so that a process which gets the same id later is not taken for it. Slurm has jobs with ids of their own; it
# may say that one is complete before the exit code has come by the network's file system.
SCHEDULERS = {
    "none": """
begin() { setsid sh -c "$run" "$1" </dev/null >/dev/null 2>&1 9>&- & echo $! >id; }
alive() { ps -o args= -p "$(cat id)" | grep -qF "$1"; }
end() { kill -s "$1" -- "-$(cat id)"; }
""",
    "slurm": """
begin() { sbatch --parsable --job-name="$1" --output=/dev/null --wrap="$run" 9>&- >id.new && mv id.new id; }
alive() { said=$(squeue -h -t all -o %T -n "$1") || exit; echo "$said" | grep -qE "PEND|CONF|RUN|COMP|SUSP|REQUEUE"; }
end() { scancel "$(cat id)"; }
""",
}
# $1 is the folder of all jobs, $2 the job's. The lock lets one of several calls begin the command.
CREATE = """
umask 077; mkdir -p "$1/$2" && cd "$1/$2" || exit
run='sh command >output 2>&1; echo $? >code.new; mv code.new code'
exec 9>lock; flock 9
[ -s id ] || { cat >command && begin "$2"; }
"""
# The code is looked for last: a command that is not alive has left all it is going to.
GET = """
cd "$1/$2" 2>/dev/null || { echo gone; exit; }
state=lost; ! alive "$2" || state=running
[ ! -e code ] || state=$(cat code)
echo "$state"; [ ! -e output ] || tail -c 65536 output
"""
DELETE = """
cd "$1/$2" 2>/dev/null || exit 0
for signal in TERM TERM TERM TERM TERM KILL; do ! alive "$2" || { end $signal; sleep 0.5; }; done
cd .. && rm -rf -- "$2"
"""


@dataclass
class Config:
    host: str
    key: SecretRef  # a private key in OpenSSH's form
    known_hosts: SecretRef  # the host's public key, as ssh-keyscan prints it
    port: int = 22
    user: str | None = None  # as whom this process runs, where it is missing
    folder: str = ".flyte-jobs"  # on the host, from the user's home; with Slurm its nodes have to see it, too
    scheduler: Literal["none", "slurm"] = "none"


@dataclass
class Command:
    """What Flyte keeps of a job: the name of its folder, which is the attempt's key."""

    key: str


class SSH(AsyncAgent[Command]):
    task_type = "ssh"
    idempotent_create = True

    async def configure(self, config: Config) -> None:
        self.config, self.connecting = config, asyncio.Lock()
        self.connection: asyncssh.SSHClientConnection | None = None
        self.sessions = asyncio.Semaphore(8)  # sshd allows 10 in a connection (MaxSessions)
        self.ended: dict[str, Resource] = {}  # so that polls of jobs that do not change any more do not wait for others

    async def create(self, task: Task) -> Command:
        await self.run(CREATE, task.idempotency_key, task.input("command", str))
        return Command(task.idempotency_key)

    async def get(self, job: Job[Command]) -> Resource:
        if job.meta.key in self.ended:
            return self.ended[job.meta.key]
        state, _, output = (await self.run(GET, job.meta.key)).partition("\n")
        match state:
            case "running":
                return running(output[-200:])
            case "lost":  # killed from outside, or the host was restarted
                ended = retryable_failed(SystemFailure("Lost", f"it ended without an exit code: {output[-2000:]}"))
            case "gone":
                raise NotFound(f"{self.config.host} has no job {job.meta.key}")
            case "0":
                ended = succeeded({"output": output})
            case _:
                ended = failed(UserFailure("ExitCode", f"exit code {state}: {output[-2000:]}"))
        if len(self.ended) >= 1000:
            self.ended.clear()
        self.ended[job.meta.key] = ended
        return ended

    async def delete(self, job: Job[Command]) -> None:
        self.ended.pop(job.meta.key, None)
        await self.run(DELETE, job.meta.key)

    async def run(self, script: str, key: str, given: str = "") -> str:
        """Runs one of the scripts on the host, and returns what it prints."""
        command = shlex.join(["sh", "-c", SCHEDULERS[self.config.scheduler] + script, "sh", self.config.folder, key])
        try:
            async with self.sessions:
                done = await (await self.connected()).run(command, input=given, errors="replace")
        except (OSError, asyncssh.Error, ValueError) as e:  # ValueError: a secret is no key
            raise Unavailable(f"{self.config.host}: {e}") from e
        if done.exit_status != 0:
            raise Unavailable(f"{self.config.host}: {done.stderr or done.exit_signal or done.exit_status}")
        return str(done.stdout)

    async def connected(self) -> asyncssh.SSHClientConnection:
        """The connection, which all calls share. A new one reads the secrets anew."""
        async with self.connecting:
            if self.connection is None or self.connection.is_closed():
                self.connection = await asyncssh.connect(
                    self.config.host,
                    self.config.port,
                    username=self.config.user or (),
                    client_keys=[asyncssh.import_private_key(self.config.key.get().reveal())],
                    known_hosts=asyncssh.import_known_hosts(self.config.known_hosts.get().reveal()),
                    keepalive_interval=10,  # by which a host that is gone is noticed
                    config=None,  # nothing of this machine's ~/.ssh
                )
            return self.connection


if __name__ == "__main__":
    ssh = SSH()
    Plugin("ssh", "1.0.0", [ssh]).configure(Config, ssh.configure).serve()
