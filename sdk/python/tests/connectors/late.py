"""The connectors that keep a client between their calls, as their authors ship them, on an event loop that is late.

Their loop is held up as an import or a busy machine would do it, for as many seconds as the task says.
"""

import sys
import time

if "flyte" in sys.modules:
    from flyte.connectors import ConnectorRegistry
    from flyteplugins.slurm.connector import SlurmScriptConnector

    class LateSlurm(SlurmScriptConnector):
        """Keeps an SSH connection, and a lock over it."""

        async def create(self, task_template, **more):
            time.sleep(task_template.custom["late"])
            return await super().create(task_template, **more)

    ConnectorRegistry.register(LateSlurm(), override=True)
else:
    from flytekit.extend.backend.base_connector import ConnectorRegistry
    from flytekit.extras.webhook.connector import WebhookConnector

    class LateWebhook(WebhookConnector):
        """Keeps httpx's client."""

        async def do(self, task_template, **more):
            time.sleep(task_template.custom["late"])
            return await super().do(task_template, **more)

    ConnectorRegistry.register(LateWebhook(), override=True)
