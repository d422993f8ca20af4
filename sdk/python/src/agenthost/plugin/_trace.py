"""Which trace a call belongs to, by W3C Trace Context: enough for lines of the log. Spans are OpenTelemetry's."""

from __future__ import annotations

import re
from contextvars import ContextVar
from dataclasses import dataclass
from typing import Any

_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")


@dataclass(frozen=True)
class Trace:
    """A trace, and the span in it that the call was made in, in hex."""

    trace_id: str
    span_id: str


current: ContextVar[Trace | None] = ContextVar("agenthost_trace", default=None)
"""That of the call under way."""


def enter(metadata: Any) -> None:
    """Makes what is logged in a call from now on name the trace that its metadata says."""
    values = [value for key, value in metadata or () if key == "traceparent"]
    found = _FORM.fullmatch(values[0]) if len(values) == 1 and isinstance(values[0], str) else None
    current.set(Trace(*found.groups()) if found else None)  # in the call's own context, which ends with it
