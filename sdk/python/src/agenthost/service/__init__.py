"""Flyte's agent services, for agents of any kind: those written with `agenthost.agent`, and others' connectors."""

from ._registry import Registered, Registry
from ._service import AgentService, Dialect

__all__ = ["AgentService", "Dialect", "Registered", "Registry"]
