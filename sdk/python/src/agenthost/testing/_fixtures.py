"""The fixtures that pytest finds by itself where this package is installed."""

from __future__ import annotations

import contextlib
from collections.abc import Callable, Iterator
from typing import TYPE_CHECKING, Any

import pytest

if TYPE_CHECKING:  # a test run that uses no fixture of ours need not wait for grpc's import
    from ._client import Client


@pytest.fixture
def agenthost_run() -> Iterator[Callable[..., Client]]:
    """Serves a Plugin in this process: `client = agenthost_run(plugin)`."""
    from ._run import run

    with contextlib.ExitStack() as stack:
        yield lambda plugin: stack.enter_context(run(plugin))


@pytest.fixture
def agenthost_command() -> Iterator[Callable[..., Client]]:
    """Starts a plugin's program as the host does: `client = agenthost_command([sys.executable, "my_plugin.py"])`."""
    from ._command import command

    with contextlib.ExitStack() as stack:

        def start(arguments: list[str], **options: Any) -> Client:
            return stack.enter_context(command(arguments, **options))

        yield start
