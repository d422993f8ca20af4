"""Log records as the lines that the host reads: hclog's JSON, one a line, on standard error."""

from __future__ import annotations

import datetime
import json
import logging
import sys
from typing import TextIO

from . import _trace

_LEVELS = ((logging.ERROR, "error"), (logging.WARNING, "warn"), (logging.INFO, "info"), (logging.DEBUG, "debug"))
_STANDARD = frozenset(vars(logging.makeLogRecord({}))) | {"message", "asctime", "taskName"}


class HostFormatter(logging.Formatter):
    """Writes level, message and `extra` fields as the host expects them."""

    def format(self, record: logging.LogRecord) -> str:
        when = datetime.datetime.fromtimestamp(record.created, datetime.timezone.utc)
        line = {
            "@level": next((name for level, name in _LEVELS if record.levelno >= level), "trace"),
            "@message": record.getMessage(),
            "@module": record.name,
            "@timestamp": when.strftime("%Y-%m-%dT%H:%M:%S.%fZ"),  # %f: hclog wants six digits, always
        }
        fields = {key: value for key, value in vars(record).items() if key not in _STANDARD}
        if record.exc_info:
            fields["exception"] = self.formatException(record.exc_info)
        if record.stack_info:
            fields["stack"] = record.stack_info
        for key, value in fields.items():
            line.setdefault(key, value)
        if trace := _trace.current.get():
            line.setdefault("trace_id", trace.trace_id)
            line.setdefault("span_id", trace.span_id)
        return json.dumps(line, default=str)


def to_host(stream: TextIO | None = None) -> None:
    """Sends all that is logged to the host, which has the last word on what is shown."""
    handler = logging.StreamHandler(stream or sys.stderr)
    handler.setFormatter(HostFormatter())
    root = logging.getLogger()
    root.handlers[:] = [handler]
    root.setLevel(logging.INFO)
    logging.captureWarnings(True)


def take_over(name: str) -> None:
    """Makes a library's logger, which has handlers of its own for people's terminals, write to the host."""
    logger = logging.getLogger(name)
    logger.handlers.clear()
    logger.propagate = True
