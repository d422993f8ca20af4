"""What the two kinds of connectors have in common for those who serve them."""

from __future__ import annotations

from abc import abstractmethod
from collections.abc import Sequence

from agenthost.service import Dialect, Registry


class ConnectorDialect(Dialect):
    """How one generation of connectors is loaded and called."""

    distribution: str
    """The package that has the registry, for people."""

    @abstractmethod
    def load(self, modules: Sequence[str]) -> Registry:
        """Imports what registers connectors. Raises LoadError."""
