"""The contract between the host and its plugins, from the descriptors that every SDK generates from.

The messages live in a descriptor pool of their own: other packages in a plugin's environment may bring go-plugin's
`plugin.*` too, and the default pool refuses a second definition.
"""

from __future__ import annotations

import importlib.resources
from dataclasses import dataclass
from typing import Any

from google.protobuf import descriptor_pb2, descriptor_pool, message_factory

MAGIC_COOKIE_KEY = "AGENTHOST_PLUGIN"
MAGIC_COOKIE_VALUE = "flyte-agent-plugin"
PROTOCOL_VERSION = "1"
HEALTH_SERVICE = "plugin"
IDEMPOTENCY_KEY_HEADER = "agenthost-idempotency-key"
NOT_TAKEN_TRAILER = "agenthost-not-taken"
FIND_ONLY_HEADER = "agenthost-find-only"
ABANDON_HEADER = "agenthost-abandon"
CAPABILITY_FIND_BY_KEY = "find_by_key"
CAPABILITY_IDEMPOTENT_CREATE = "idempotent_create"


@dataclass(frozen=True)
class CategoryCapabilities:
    """What a plugin promises for one of its task categories."""

    name: str
    version: int
    capabilities: tuple[str, ...]


@dataclass(frozen=True)
class Description:
    """What a plugin says of itself."""

    name: str
    version: str
    sdk: str
    sdk_version: str
    language: str
    capabilities: tuple[str, ...] = ()
    """What it promises for all its task categories."""
    category_capabilities: tuple[CategoryCapabilities, ...] = ()
    """What it promises for single ones in addition."""
    config_schema: str = ""


@dataclass(frozen=True)
class ConfigError:
    """What is wrong with a key of the plugin's configuration, dotted; an empty key is the configuration as a whole."""

    key: str
    message: str


def files() -> list[descriptor_pb2.FileDescriptorProto]:
    """The contract's files, imports before importers."""
    contract = descriptor_pb2.FileDescriptorSet()
    contract.ParseFromString((importlib.resources.files("agenthost") / "contract.binpb").read_bytes())
    return list(contract.file)


_OURS = ("agenthost/plugin/v1/plugin.proto", "goplugin/goplugin.proto")


def _load() -> descriptor_pool.DescriptorPool:
    pool = descriptor_pool.DescriptorPool()
    known = {file.name: file for file in files()}

    def add(name: str) -> None:
        for dependency in known[name].dependency:
            add(dependency)
        pool.Add(known[name])

    for name in _OURS:
        add(name)
    return pool


_pool = _load()


# Any, because the classes are made at run time: `Description` and `ConfigError` are the typed form of what matters.
def _message(name: str) -> Any:
    return message_factory.GetMessageClass(_pool.FindMessageTypeByName(name))


DescribeRequest = _message("agenthost.plugin.v1.DescribeRequest")
DescribeResponse = _message("agenthost.plugin.v1.DescribeResponse")
ConfigureRequest = _message("agenthost.plugin.v1.ConfigureRequest")
ConfigureResponse = _message("agenthost.plugin.v1.ConfigureResponse")
DrainRequest = _message("agenthost.plugin.v1.DrainRequest")
DrainResponse = _message("agenthost.plugin.v1.DrainResponse")
MetricsRequest = _message("agenthost.plugin.v1.MetricsRequest")
MetricsResponse = _message("agenthost.plugin.v1.MetricsResponse")
Calls = _message("agenthost.plugin.v1.Calls")
Answers = _message("agenthost.plugin.v1.Answers")
StdioData = _message("plugin.StdioData")
Empty = _message("google.protobuf.Empty")
