"""Lines of the log that are written in a call name its trace."""

from __future__ import annotations

import json
import logging
from contextvars import copy_context

import pytest

from agenthost.plugin import _hostlog, _trace

TRACE, SPAN = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"


def line(**extra: object) -> dict[str, object]:
    record = logging.makeLogRecord({"msg": "logged", "levelno": logging.INFO, "created": 0.0, **extra})
    written: dict[str, object] = json.loads(_hostlog.HostFormatter().format(record))
    return written


def test_a_line_of_a_call_names_its_trace() -> None:
    def call() -> None:
        _trace.enter((("traceparent", f"00-{TRACE}-{SPAN}-01"),))
        assert (line()["trace_id"], line()["span_id"]) == (TRACE, SPAN)
        assert line(trace_id="its own")["trace_id"] == "its own"

    copy_context().run(call)
    assert "trace_id" not in line()


@pytest.mark.parametrize(
    "values",
    [
        (),
        ("",),
        ("00-x-y-01",),
        (f"00-{'0' * 32}-{SPAN}-01",),
        (f"00-{TRACE}-{'0' * 16}-01",),
        (f"00-{TRACE.upper()}-{SPAN}-01",),
        (f"00-{TRACE}-{SPAN}-01-more",),
        (f"00-{TRACE}-{SPAN}-01", f"00-{TRACE}-{SPAN}-01"),
    ],
)
def test_what_names_no_trace_is_left_out(values: tuple[str, ...]) -> None:
    def call() -> None:
        _trace.enter(tuple(("traceparent", value) for value in values))
        assert "trace_id" not in line()

    copy_context().run(call)


def test_a_call_without_metadata_names_none() -> None:
    copy_context().run(lambda: _trace.enter(None))
