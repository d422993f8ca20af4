"""flytekit tasks for the plugins that ship with agenthost.

A task written here is compiled and registered by flytekit like any other; FlytePropeller then sends it to the agent
service, where agenthost hands it to the plugin of its task type. Needs flytekit: `pip install agenthost[tasks]`.
"""

from ._access_control import AccessControl
from ._data_retrieval import DataRetrieval
from ._duckdb import DuckDBQuery

__all__ = ["AccessControl", "DataRetrieval", "DuckDBQuery"]
