"""agenthost for Python: agents as plugins (`agenthost.agent`, `agenthost.testing`), and tasks (`agenthost.tasks`)."""
