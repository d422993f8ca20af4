"""The agents that a plugin serves, found as Flyte asks for them."""

from __future__ import annotations

from collections.abc import Iterable, Sequence
from dataclasses import dataclass
from typing import Any

import grpc

from agenthost.plugin import AgentLoop, CallError, LoadError


@dataclass(frozen=True)
class Registered:
    """An agent (Flyte 2: connector) under one task category, and the loop that its calls run in."""

    agent: Any
    name: str
    task_type: str
    version: int
    is_sync: bool
    loop: AgentLoop

    @property
    def kind(self) -> str:
        return "synchronous" if self.is_sync else "asynchronous"


class Registry:
    """The agents by task type and version."""

    def __init__(self, registered: Iterable[Registered], failures: Sequence[str] = ()) -> None:
        """
        :param failures: what could not be loaded, and why; it is worth telling only where something is missing.
        """
        self._failures = failures
        self._by_type: dict[str, dict[int, Registered]] = {}
        for one in registered:
            self._by_type.setdefault(one.task_type, {})[one.version] = one

    def only(self, task_types: Sequence[str]) -> Registry:
        """The part for some task types. LoadError if one of them has no connector."""
        missing = [task_type for task_type in task_types if task_type not in self._by_type]
        if missing:
            raise LoadError(
                f"no connector in this environment is for {_quoted(missing)}; there are connectors for "
                f"{_quoted(self._by_type)}. Install the package that brings it here, or name its module in --modules."
                + "".join(f"\n{failure}" for failure in self._failures)
            )
        return Registry(one for task_type in task_types for one in self._by_type[task_type].values())

    def all(self) -> list[Registered]:
        """Sorted; the highest version of a type comes last, which is the one that Flyte 1 keeps."""
        found = [one for versions in self._by_type.values() for one in versions.values()]
        return sorted(found, key=lambda one: (one.name, one.task_type, one.version))

    def find(self, task_type: str, version: int, is_sync: bool) -> Registered:
        """The agent for a category: that of its version, or else that of the highest version of the name."""
        versions = self._by_type.get(task_type)
        if not versions:
            raise CallError(
                grpc.StatusCode.NOT_FOUND,
                f'no agent here serves task category "{task_type}"; there are agents for {_quoted(self._by_type)}',
            )
        found = versions.get(version) or versions[max(versions)]
        if found.is_sync != is_sync:
            call = "SyncAgentService.ExecuteTaskSync" if found.is_sync else "AsyncAgentService.CreateTask"
            raise CallError(
                grpc.StatusCode.FAILED_PRECONDITION,
                f'task category "{task_type}" is served by the {found.kind} agent "{found.name}": call {call}',
            )
        return found


def _quoted(names: Iterable[str]) -> str:
    return ", ".join(f'"{name}"' for name in sorted(names)) or "nothing"
