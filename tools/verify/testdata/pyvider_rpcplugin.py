"""A plugin of pyvider-rpcplugin's, made by its factories, with this host's cookie and nothing of its own to serve."""

import asyncio
import os

os.environ.update(PLUGIN_MAGIC_COOKIE_KEY="AGENTHOST_PLUGIN", PLUGIN_MAGIC_COOKIE_VALUE="flyte-agent-plugin")

from pyvider.rpcplugin import plugin_protocol, plugin_server


class Nothing:
    pass


async def main():
    await plugin_server(
        protocol=plugin_protocol(), handler=Nothing(), config={"SUPPORTED_PROTOCOL_VERSIONS": [1]}
    ).serve()


asyncio.run(main())
