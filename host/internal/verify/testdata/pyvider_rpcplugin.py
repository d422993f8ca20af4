"""A plugin of pyvider-rpcplugin's, made by its factories, with this host's cookie and nothing of its own to serve."""

import asyncio

from pyvider.rpcplugin import plugin_protocol, plugin_server


class Nothing:
    pass


asyncio.run(plugin_server(protocol=plugin_protocol(), handler=Nothing()).serve())
