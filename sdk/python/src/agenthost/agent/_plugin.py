"""A plugin: some agents in one program."""

from __future__ import annotations

import asyncio
import functools
import importlib.metadata
import logging
import os
import platform
import sys
from collections.abc import Awaitable, Callable, Sequence
from typing import Any, NoReturn, TypeVar

from agenthost.plugin import (
    AgentLoop,
    CategoryCapabilities,
    ConfigError,
    Description,
    LoadError,
    Replaced,
    Service,
    serve,
)
from agenthost.service import AgentService, Registered, Registry

from ._agents import AsyncAgent, SyncAgent
from ._config import Configuration
from ._dialect import Native
from ._errors import FailedPrecondition, Unavailable
from ._typed import adapter

_log = logging.getLogger("agenthost")

C = TypeVar("C")

Agent = AsyncAgent[Any] | SyncAgent


class Plugin:
    """Some agents, and what the host is told of them.

    Plugin("warehouse", "1.0.0", [Warehouse()]).serve()
    """

    def __init__(self, name: str, version: str, agents: Sequence[Agent]) -> None:
        self.name = name
        self.version = version
        self.agents = list(agents)
        self.replaced = Replaced()
        """Whether this process is being replaced: for what goes on behind the calls, such as watching a job."""
        self._loops: dict[int | str, AgentLoop] = {}
        self._configuration: Configuration[Any] | None = None
        self._configure: tuple[Callable[[Any], Any], ...] = ()
        self._configured = False
        self._metrics: Callable[[], bytes] | None = None

    def configure(self, type: type[C], *functions: Callable[[C], Awaitable[Any] | Any]) -> Plugin:
        """Takes a configuration, the plugin's `config:` block in the host's file, as a dataclass or pydantic model.

        >>> from dataclasses import dataclass
        >>> from agenthost.agent import Plugin, SyncAgent
        >>> from agenthost.testing import run
        >>> class Nothing(SyncAgent):
        ...     task_type = "nothing"
        ...     def execute(self, task): ...
        >>> @dataclass
        ... class Config:
        ...     region: str
        ...     retries: int = 3
        >>> plugin = Plugin("nothing", "1", [Nothing()]).configure(Config, print)
        >>> with run(plugin) as client:
        ...     client.configure({"regoin": "eu"})
        ...     client.configure({"region": "eu"})
        [ConfigError(key='region', message='is required'), \
ConfigError(key='regoin', message='unknown key: did you mean "region"?')]
        Config(region='eu', retries=3)
        []

        Wrong keys and values are reported by key, all at once, before a function is called. What a function raises
        is an error of the configuration as a whole; what it returns may be a list of ConfigError. Tasks are refused
        until the configuration has come.

        A function, async or plain, runs in the event loop of the agent whose method it is, or else of the plugin's
        first agent: clients that it makes are that agent's, and of those that share its loop (`shared_loop`). Agents
        with clients of their own have a function each: `configure(Config, first.connect, second.connect)`.
        """
        if self._configuration is not None:
            raise LoadError(f"plugin {self.name} has two configurations: a plugin takes one")
        self._configuration, self._configure = Configuration(type), functions
        return self

    def metrics(self, registry: Any = None) -> Plugin:
        """Lets the plugin have metrics of its own, which come out in the host's: those of prometheus_client's registry.

        `Counter("rows", …)` of a plugin "duckdb" is `plugin_rows_total{plugin="duckdb", …}` at the host's /metrics. Of
        each process the host takes up to 500 series, each bucket of a histogram being one, with up to 16 labels of up
        to 128 bytes. prometheus_client comes with `agenthost[metrics]`.

        :param registry: a CollectorRegistry; the usual one if it is not given.
        """
        try:
            import prometheus_client
        except ImportError as e:
            raise LoadError(f"plugin {self.name} has metrics: pip install 'agenthost[metrics]' ({e})") from e
        found = prometheus_client.REGISTRY if registry is None else registry
        self._metrics = lambda: prometheus_client.generate_latest(found)
        return self

    def serve(self) -> NoReturn:
        """Serves the plugin until the host stops it, and ends the process. It is the last call of a program.

        Log with `logging`: level and `extra` fields arrive in the host's log. What is printed arrives there, too.
        """
        serve(self.service, self._hint())

    def service(self) -> Service:
        """The plugin's services, for a server. Raises LoadError where agents contradict each other."""
        agents = AgentService(Native(self.replaced), self._registry(), self._check_ready)
        return Service(
            description=self._description(),
            register=agents.register,
            methods=agents.methods(),
            configure=self._configured_with,
            metrics=self._metrics and functools.partial(AgentLoop(limit=1).call, self._metrics),
            replaced=self.replaced,
            close=self._close,
        )

    def _registry(self) -> Registry:
        if not self.name or not self.agents:
            raise LoadError("a plugin needs a name and at least one agent: Plugin(name, version, [agent, …])")
        found: list[Registered] = []
        kinds: dict[str, Agent] = {}
        for agent in self.agents:
            if isinstance(agent, AsyncAgent):
                _check_metadata(agent)
            for category in agent.categories():
                if any((one.task_type, one.version) == (category.task_type, category.version) for one in found):
                    raise LoadError(
                        f'plugin {self.name}: task category "{category.task_type}" version {category.version} '
                        "has two agents"
                    )
                other = kinds.setdefault(category.task_type, agent)
                if isinstance(other, SyncAgent) != isinstance(agent, SyncAgent):
                    raise LoadError(
                        f'plugin {self.name}: task category "{category.task_type}" has agents of both kinds: Flyte '
                        "keeps one kind per name"
                    )
                found.append(
                    Registered(
                        agent,
                        agent.agent_name(),
                        category.task_type,
                        category.version,
                        isinstance(agent, SyncAgent),
                        self._loop_of(agent),
                    )
                )
        return Registry(found)

    def _description(self) -> Description:
        capabilities, category_capabilities = self._promises()
        return Description(
            name=self.name,
            version=self.version,
            sdk="agenthost-python",
            sdk_version=importlib.metadata.version("agenthost"),
            language=f"python{platform.python_version()}",
            capabilities=capabilities,
            category_capabilities=category_capabilities,
            config_schema=self._configuration.schema if self._configuration else "",
        )

    def _promises(self) -> tuple[tuple[str, ...], tuple[CategoryCapabilities, ...]]:
        """The capabilities as Describe has them: for the plugin, and for single categories.

        What every async agent promises is the plugin's promise, so that hosts that know no others hear of it too.
        """
        promised = [(agent, agent.promises()) for agent in self.agents if isinstance(agent, AsyncAgent)]
        known = dict.fromkeys(name for _, names in promised for name in names)
        whole = tuple(name for name in known if all(name in names for _, names in promised))
        single = []
        for agent, names in promised:
            own = tuple(name for name in names if name not in whole)
            single += [CategoryCapabilities(one.task_type, one.version, own) for one in agent.categories() if own]
        return whole, tuple(single)

    async def _configured_with(self, block: str) -> Sequence[ConfigError]:
        if self._configuration is None:
            if block.strip() in ("", "{}"):
                return []
            return [ConfigError("", f"the plugin {self.name} takes no configuration: remove the `config:` block")]
        if self._configured:
            raise FailedPrecondition(
                f"plugin {self.name} is configured already: a process takes its configuration once"
            )
        configuration, errors = self._configuration.read(block)
        if not errors:
            errors = await self._apply(configuration)
        self._configured = not errors
        return errors

    async def _apply(self, configuration: Any) -> list[ConfigError]:
        found: list[ConfigError] = []
        for function in self._configure:
            try:
                returned = await self._loop_of(self._owner(function)).set_up(function, configuration)
            except Exception as e:
                if isinstance(
                    e, Unavailable
                ):  # what the plugin needs is away, which is no mistake of the configuration
                    raise
                _log.warning("the configuration was refused", exc_info=e)
                return [*found, ConfigError("", str(e) or type(e).__name__)]
            if isinstance(returned, list):
                found += [error for error in returned if isinstance(error, ConfigError)]
        return found

    def _check_ready(self) -> None:
        if self._configuration is not None and not self._configured:
            raise FailedPrecondition(
                f"plugin {self.name} has no configuration yet: the host must call Configure before the first task"
            )

    def _loop_of(self, agent: Agent) -> AgentLoop:
        return self._loops.setdefault(agent.shared_loop or id(agent), AgentLoop())

    def _owner(self, function: Any) -> Agent:
        """The agent whose method a configuring function is."""
        while isinstance(function, functools.partial):
            function = function.func
        owner = getattr(function, "__self__", None)
        return next((agent for agent in self.agents if agent is owner), self.agents[0])

    async def _close(self) -> None:
        # All at once: one whose loop is blocked would keep the others from it.
        await asyncio.gather(*(self._close_one(agent) for agent in self.agents))

    async def _close_one(self, agent: Agent) -> None:
        try:
            await self._loop_of(agent).call(agent.close)
        except Exception:
            _log.exception("an agent did not close cleanly", extra={"agent": agent.agent_name()})

    def _hint(self) -> str:
        program = os.path.abspath(sys.argv[0])
        served = "".join(
            f"  task type {c.task_type}, version {c.version} ({'sync' if isinstance(agent, SyncAgent) else 'async'})\n"
            for agent in self.agents
            for c in agent.categories()
        )
        return f"""{self.name} {self.version} is a Flyte agent plugin: it is started by agenthost, not by hand.
It serves

{served}
Give it to the host in its configuration file:

  plugins:
    {self.name}:
      command: [{sys.executable}, {program}]

Then "agenthost check --start" starts it once and shows what it serves, "agenthost task run" runs a single task with it,
and "agenthost serve" serves it to Flyte."""


def _check_metadata(agent: AsyncAgent[Any]) -> None:
    """Whether an agent's metadata can be kept, which is not to be found out with the first job."""
    wanted = agent.metadata_type()
    if wanted in (None, type(None)):
        raise LoadError(f"the agent {type(agent).__name__} keeps nothing of its jobs, so that no poll finds them")
    try:
        adapter(wanted)
    except Exception as e:
        name = getattr(wanted, "__name__", wanted)
        reason = str(e).split("\n", 1)[0]
        raise LoadError(f"the agent {type(agent).__name__} cannot keep {name} as JSON: {reason}") from e
