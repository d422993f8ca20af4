"""A login node of a small Slurm cluster: an SSH server with Slurm's programs, which run jobs for real.

Run by the tests in the environment of the connectors, where asyncssh is: slurm_cluster.py PORT FOLDER AUTHORIZED_KEYS
"""

import asyncio
import os
import pathlib
import subprocess
import sys

import asyncssh

SBATCH = r"""#!/bin/sh
# sbatch [--parsable] [--OPTION VALUE]... SCRIPT [ARG]...: begins a job, and says its number as Slurm does.
said="Submitted batch job "
[ "$1" != --parsable ] || { said=; shift; }
while [ "${1#--}" != "$1" ]; do echo "$1 $2" >>"$JOBS/options"; shift 2; done
job=1
until mkdir "$JOBS/$job" 2>/dev/null; do job=$((job + 1)); done
output=$(sed -n 's/^#SBATCH --output=//p' "$1")
touch "$JOBS/$job.out"
setsid sh -c 'job=$1; shift; echo $$ >"$job.pid"; sh "$@" >"$0" 2>&1; echo $? >"$job.code"' \
  "${output:-$JOBS/$job.out}" "$JOBS/$job" "$@" </dev/null >/dev/null 2>&1 &
echo "$said$job"
"""

SCONTROL = r"""#!/bin/sh
# scontrol --json show job NUMBER
job=$JOBS/$4
[ -e "$job.out" ] || { echo "slurm_load_jobs error: Invalid job id specified" >&2; exit 1; }
state=RUNNING
[ -e "$job.code" ] && { [ "$(cat "$job.code")" = 0 ] && state=COMPLETED || state=FAILED; }
[ -e "$job.cancelled" ] && state=CANCELLED
echo "{\"jobs\": [{\"job_state\": [\"$state\"], \"standard_output\": \"$job.out\"}]}"
"""

SQUEUE = r"""#!/bin/sh
# squeue -h -j NUMBER -o FORMAT: the job, unless it is over.
job=$JOBS/$3
[ -e "$job.code" ] || [ -e "$job.cancelled" ] || echo "$3|RUNNING|None"
"""

SACCT = r"""#!/bin/sh
# sacct -X -n -P -j NUMBER --format=FORMAT
job=$JOBS/$5
state=FAILED
[ "$(cat "$job.code")" = 0 ] && state=COMPLETED
[ -e "$job.cancelled" ] && state=CANCELLED
echo "$5|$state|0:0|None"
"""

SCANCEL = r"""#!/bin/sh
touch "$JOBS/$1.cancelled"
kill -- "-$(cat "$JOBS/$1.pid")" 2>/dev/null || true
"""


PROGRAMS = {"sbatch": SBATCH, "scontrol": SCONTROL, "squeue": SQUEUE, "sacct": SACCT, "scancel": SCANCEL}


async def run(process: asyncssh.SSHServerProcess[str]) -> None:
    """Runs a command that a client has sent."""
    ran = await asyncio.create_subprocess_shell(
        process.command or "true", stdout=subprocess.PIPE, stderr=subprocess.PIPE, stdin=subprocess.DEVNULL
    )
    out, errors = await ran.communicate()
    process.stdout.write(out.decode())
    process.stderr.write(errors.decode())
    process.exit(ran.returncode or 0)


async def main(port: int, folder: pathlib.Path, authorized_keys: str) -> None:
    """Serves until it is killed."""
    programs, jobs = folder / "bin", folder / "jobs"
    programs.mkdir()
    jobs.mkdir()
    for name, text in PROGRAMS.items():
        (programs / name).write_text(text)
        (programs / name).chmod(0o755)
    os.environ |= {"PATH": f"{programs}:{os.environ['PATH']}", "JOBS": str(jobs)}
    server = await asyncssh.listen(
        "127.0.0.1",
        port,
        server_host_keys=[asyncssh.generate_private_key("ssh-ed25519")],
        authorized_client_keys=authorized_keys,
        process_factory=run,
        sftp_factory=True,
    )
    await server.wait_closed()


asyncio.run(main(int(sys.argv[1]), pathlib.Path(sys.argv[2]), sys.argv[3]))
