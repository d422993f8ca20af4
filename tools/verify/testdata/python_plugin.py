"""A plugin of python-plugin's (pyplugin), as its README has it, with this host's cookie and nothing to serve."""

from pyplugin import HandshakeConfig, Plugin, ServeConfig, serve


class Nothing(Plugin):
    def servicers(self, broker):
        return []

    def stub(self, broker, channel):
        return None


serve(
    ServeConfig(
        handshake_config=HandshakeConfig(
            protocol_version=1, magic_cookie_key="AGENTHOST_PLUGIN", magic_cookie_value="flyte-agent-plugin"
        ),
        plugins={"nothing": Nothing()},
    )
)
