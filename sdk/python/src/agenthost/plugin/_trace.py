"""Which trace a call belongs to, by W3C Trace Context: for the log, and for the services that are called in it.

Spans are OpenTelemetry's: where the plugin uses it, a call runs in its context, and spans that an agent makes stand
below the host's.
"""

from __future__ import annotations

import re
import sys
from contextvars import ContextVar
from dataclasses import dataclass, field
from typing import Any

_FORM = re.compile(r"00-(?!0{32})([0-9a-f]{32})-(?!0{16})([0-9a-f]{16})-[0-9a-f]{2}")


@dataclass(frozen=True)
class Trace:
    """A trace, and the span in it that the call was made in, in hex."""

    trace_id: str
    span_id: str
    headers: dict[str, str] = field(default_factory=dict, compare=False)
    """As they came: traceparent, and tracestate where there is one."""


current: ContextVar[Trace | None] = ContextVar("agenthost_trace", default=None)
"""That of the call under way."""


def enter(metadata: Any) -> None:
    """Makes what happens in a call from now on belong to the trace that its metadata says."""
    headers = _headers(metadata)
    found = _FORM.fullmatch(headers.get("traceparent", ""))
    # In the call's own context, which ends with it.
    current.set(Trace(found[1], found[2], headers) if found else None)
    # Instrumentation of gRPC would have made a span already, which is below the host's.
    if found and _uses_opentelemetry():
        from opentelemetry import context, trace
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        if not trace.get_current_span().get_span_context().is_valid:
            context.attach(TraceContextTextMapPropagator().extract(headers))


def trace_headers() -> dict[str, str]:
    """What a service is to be told of the trace that the call under way belongs to: the headers traceparent and
    tracestate of W3C Trace Context. Empty where the call has none. `agenthost.httpclient` sends them by itself."""
    headers: dict[str, str] = {}
    if _uses_opentelemetry():
        from opentelemetry.trace.propagation.tracecontext import TraceContextTextMapPropagator

        TraceContextTextMapPropagator().inject(headers)  # the span that the agent is in, if it has made one
    trace = current.get()
    return headers or (dict(trace.headers) if trace else {})


def _uses_opentelemetry() -> bool:
    """Whether the plugin does: one that has not imported it makes no spans."""
    return "opentelemetry.trace" in sys.modules


def _headers(metadata: Any) -> dict[str, str]:
    """The trace's headers; none where there are several of a name."""
    headers = {}
    for name in ("traceparent", "tracestate"):
        values = [value for key, value in metadata or () if key == name]
        if len(values) == 1 and isinstance(values[0], str):
            headers[name] = values[0]
    return headers
