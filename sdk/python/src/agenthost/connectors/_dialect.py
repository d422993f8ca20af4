"""What the two kinds of connectors have in common for those who serve them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Collection, Sequence
from typing import Any

from agenthost.plugin import AgentLoop
from agenthost.service import Dialect, Registry


class ConnectorDialect(Dialect):
    """How one generation of connectors is loaded and called."""

    distribution: str
    """The package that has the registry, for people."""

    share_loop = False
    """Whether all connectors run in one event loop, for those that share clients."""

    def __init__(self) -> None:
        self._loops: dict[int | None, AgentLoop] = {}

    def loop_of(self, connector: Any) -> AgentLoop:
        """The loop of a connector, the same for all its task categories."""
        return self._loops.setdefault(None if self.share_loop else id(connector), AgentLoop())

    @abstractmethod
    def load(self, modules: Sequence[str], task_types: Collection[str] | None = None) -> Registry:
        """Imports what registers connectors: those for some task types at least, or all. Raises LoadError."""


def kept(connector: Any, meta: Any) -> bytes:
    """A job's metadata as Flyte keeps it; TypeError where no poll could read it back, and the job would be lost."""
    wanted = connector.metadata_type
    name, said = getattr(wanted, "__name__", wanted), f"create returned {type(meta).__name__}, which"
    if meta is None:
        raise TypeError(f"create returned None, by which no poll finds the job: return its {name}")
    try:
        data: bytes = meta.encode()
    except Exception as e:
        raise TypeError(f"{said} cannot be written as {name}: {e}") from e
    try:
        wanted.decode(data)
    except Exception as e:
        raise TypeError(f"{said} cannot be read back as {name}: {e}") from e
    return data
