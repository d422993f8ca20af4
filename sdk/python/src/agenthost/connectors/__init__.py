"""Connectors as their authors shipped them, served as plugins.

`agenthost-flytekit` serves those that flytekit's registry holds (before 1.16: agents), `agenthost-flyte2` those of
Flyte 2's SDK. Neither changes the connector, and neither needs anything from it but its methods.
"""
