"""agenthost for Python: what a Flyte user imports (`agenthost.tasks`)."""
