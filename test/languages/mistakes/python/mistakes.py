"""Makes an author's mistakes, each in the creation of a task type of its own."""

import sys
import threading
from dataclasses import dataclass
from typing import Any

from agenthost.agent import AsyncAgent, Job, Plugin, Resource, Task, secret, succeeded


@dataclass
class Config:
    greeting: str = "Hello"


class Mistaken(AsyncAgent[Any]):
    """An agent whose creations go wrong."""

    def get(self, job: Job[Any]) -> Resource:
        return succeeded()

    def delete(self, job: Job[Any]) -> None:
        pass


class WrongType(Mistaken):
    task_type = "wrong_type"

    def create(self, task: Task) -> Any:
        return task.input("name", int)


class Metadata(Mistaken):
    task_type = "metadata"

    def create(self, task: Task) -> Any:
        return {"results": threading.Thread()}


class Null(Mistaken):
    task_type = "null"

    def create(self, task: Task) -> Any:
        return None


class Panic(Mistaken):
    task_type = "panic"

    def create(self, task: Task) -> Any:
        names: list[str] = []
        return names[3]


class Block(Mistaken):
    task_type = "block"

    def create(self, task: Task) -> Any:
        threading.Event().wait()


class MissingSecret(Mistaken):
    task_type = "secret"

    def create(self, task: Task) -> Any:
        return secret("token").reveal()


class Exit(Mistaken):
    task_type = "exit"

    def create(self, task: Task) -> Any:
        print("no license found")
        sys.exit(3)


agents = [WrongType(), Metadata(), Null(), Panic(), Block(), MissingSecret(), Exit()]

if __name__ == "__main__":
    Plugin("mistakes", "1.0.0", agents).configure(Config).serve()
