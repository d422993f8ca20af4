"""A plugin in this process."""

from __future__ import annotations

import asyncio
import contextlib
import tempfile
import threading
from collections.abc import Iterator

import grpc

from agenthost.agent import Plugin
from agenthost.plugin import start

from ._client import Client


@contextlib.contextmanager
def run(plugin: Plugin) -> Iterator[Client]:
    """Serves a plugin in a thread until the block ends."""
    service = plugin.service()
    loop = asyncio.new_event_loop()
    thread = threading.Thread(target=loop.run_forever, name=plugin.name, daemon=True)
    thread.start()
    try:
        with tempfile.TemporaryDirectory(prefix="agenthost-") as folder:
            address = f"unix:{folder}/s"
            process = asyncio.run_coroutine_threadsafe(start(service, address), loop).result()
            try:
                with grpc.insecure_channel(address) as channel:
                    yield Client(channel)
            finally:
                loop.call_soon_threadsafe(process.end)
                asyncio.run_coroutine_threadsafe(process.ended(), loop).result()
    finally:
        loop.call_soon_threadsafe(loop.stop)
        thread.join()
        loop.close()
