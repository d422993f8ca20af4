# A plugin that means harm, written with the Python SDK: the twin of package hostile, which says more.
import asyncio
import json
import os
import sys
from pathlib import Path

from agenthost.agent import Plugin, Resource, SyncAgent, Task, failed, succeeded

LIMIT = 20.0
ESCAPE = "\x1b]0;hostile\x07\x1b[31m"


class Hostile(SyncAgent):
    task_type = sys.argv[1]

    async def execute(self, task: Task) -> Resource:
        order = task.custom()
        world = json.loads(order["world"])

        def large() -> str:
            return "large " * ((int(world["bound"]) << 20) // 6)

        match order["attempt"]:
            case "large-answer":
                return succeeded({"large": large()})
            case "large-error":
                raise RuntimeError(large())
            case "large-message":
                return failed(large())
            case "terminal-answer":
                return succeeded({"answer": ESCAPE}).with_message(ESCAPE)
            case "terminal-error":
                raise RuntimeError(ESCAPE)
            case "crash":
                os._exit(3)
            case name:
                return succeeded(await in_child(name, world))


async def in_child(name: str, world: dict[str, object]) -> dict[str, str]:
    """Makes an attempt in a process of its own, so that what becomes of that does not matter."""
    child = await asyncio.create_subprocess_exec(
        sys.executable,
        str(Path(__file__).with_name("attempts.py")),
        name,
        stdin=asyncio.subprocess.PIPE,
        stdout=asyncio.subprocess.PIPE,
    )
    try:
        said, _ = await asyncio.wait_for(child.communicate(json.dumps(world).encode()), LIMIT)
        answer: dict[str, str] = json.loads(said)
    except (TimeoutError, ValueError) as silent:
        if child.returncode is None:
            child.kill()
        return {"outcome": "refused", "evidence": f"the process that tried: {child.returncode}, {silent}"}
    return answer


if __name__ == "__main__":
    Plugin("hostile", "1.0.0", [Hostile()]).serve()
