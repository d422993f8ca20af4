"""agenthost for Python: agents as plugins (`agenthost.agent`), their tests (`agenthost.testing`), tasks (`agenthost.tasks`)."""
