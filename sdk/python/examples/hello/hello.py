# The smallest Flyte agent: its tasks greet whom their input names.
from dataclasses import dataclass

from agenthost.agent import AsyncAgent, Job, Plugin, Resource, Task, succeeded


@dataclass
class Greeting:
    name: str


class Hello(AsyncAgent[Greeting]):
    task_type = "hello"

    async def create(self, task: Task) -> Greeting:
        return Greeting(task.input("name", str))

    async def get(self, job: Job[Greeting]) -> Resource:
        return succeeded({"greeting": f"Hello, {job.meta.name}"})

    async def delete(self, job: Job[Greeting]) -> None: ...


if __name__ == "__main__":
    Plugin("hello", "1.0.0", [Hello()]).serve()
