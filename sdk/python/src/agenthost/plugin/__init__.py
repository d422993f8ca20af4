"""A plugin process: go-plugin's handshake, TLS, health, logs and an orderly end, for services of any kind.

This package knows nothing of agents. `agenthost.agent` and the adapters for flytekit and Flyte 2 put theirs on it:

    serve(load, hint="what a person sees who starts the program by hand")

`load` makes the `Service` after standard output has been moved out of the way, so that what imports print cannot
disturb the handshake.
"""

import os

# grpc's own lines about handshakes that failed have no form that a host could read. Read when grpc is imported.
os.environ.setdefault("GRPC_VERBOSITY", "NONE")

from ._calls import AgentCall, Answering, Call, Method, deadline
from ._contract import (
    ABANDON_HEADER,
    CAPABILITY_FIND_BY_KEY,
    CAPABILITY_IDEMPOTENT_CREATE,
    FIND_ONLY_HEADER,
    IDEMPOTENCY_KEY_HEADER,
    CategoryCapabilities,
    ConfigError,
    Description,
)
from ._errors import CallError, LoadError, cut, status_of
from ._guard import guarded_stream
from ._hostlog import take_over
from ._loop import AgentLoop
from ._replaced import Replaced
from ._serve import Service, serve, start
from ._trace import trace_headers

__all__ = [
    "ABANDON_HEADER",
    "CAPABILITY_FIND_BY_KEY",
    "CAPABILITY_IDEMPOTENT_CREATE",
    "FIND_ONLY_HEADER",
    "IDEMPOTENCY_KEY_HEADER",
    "AgentCall",
    "AgentLoop",
    "Answering",
    "Call",
    "CallError",
    "CategoryCapabilities",
    "ConfigError",
    "Description",
    "LoadError",
    "Method",
    "Replaced",
    "Service",
    "cut",
    "deadline",
    "guarded_stream",
    "serve",
    "start",
    "status_of",
    "take_over",
    "trace_headers",
]
