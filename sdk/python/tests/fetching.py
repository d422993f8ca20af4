"""A plugin of two agents with clients, as authors write them, and one that stands for ever. Started by test_loops."""

from __future__ import annotations

import sys
import threading
import time
from dataclasses import dataclass
from typing import Any, ClassVar

import aiohttp
import httpx

from agenthost.agent import AsyncAgent, Job, Plugin, Resource, Task, succeeded


@dataclass
class Config:
    url: str


@dataclass
class Made:
    answer: str


class Fetching(AsyncAgent[Made]):
    """Asks the server in every call, by one client; creations block the loop for as long as their task says."""

    client: Any = None
    url: ClassVar[str] = ""

    async def create(self, task: Task) -> Made:
        time.sleep(task.input("block", float, 0.0))
        return Made(await self.fetch())

    async def get(self, job: Job[Made]) -> Resource:
        return succeeded({"answer": await self.fetch()})

    async def delete(self, job: Job[Made]) -> None:
        await self.fetch()

    async def fetch(self) -> str: ...


class Httpx(Fetching):
    task_type = "httpx"

    async def connect(self, config: Config) -> None:
        self.client, self.url = httpx.AsyncClient(timeout=30), config.url

    async def fetch(self) -> str:
        return str((await self.client.get(self.url)).text)

    async def close(self) -> None:
        await self.client.aclose()


class Aiohttp(Fetching):
    task_type = "aiohttp"

    async def connect(self, config: Config) -> None:
        self.client, self.url = aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30)), config.url

    async def fetch(self) -> str:
        async with self.client.get(self.url) as response:
            return str(await response.text())

    async def close(self) -> None:
        await self.client.close()


class Late(Aiohttp):
    """Makes its client in its first creation."""

    task_type = "late"

    async def connect(self, config: Config) -> None:
        self.url = config.url

    async def fetch(self) -> str:
        self.client = self.client or aiohttp.ClientSession(timeout=aiohttp.ClientTimeout(30))
        return await super().fetch()


class Standing(Fetching):
    task_type = "standing"

    async def create(self, task: Task) -> Made:
        print("standing", file=sys.stderr, flush=True)
        threading.Event().wait()
        return Made("never")


if __name__ == "__main__":
    first, second, third = Httpx(), Aiohttp(), Late()
    plugin = Plugin("fetching", "1.0.0", [first, second, third, Standing()])
    plugin.configure(Config, first.connect, second.connect, third.connect).serve()
