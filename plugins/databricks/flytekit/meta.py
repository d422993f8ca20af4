"""Swaps job metadata with flytekit's own connector: `meta.py < LINES`, one metadata of ours a line.

Prints JSON: what flytekit makes of each of ours ("read"), and what its connector writes itself ("written").
"""

import json
import sys
from dataclasses import asdict

from flytekitplugins.spark.connector import DatabricksJobMetadata

WRITTEN = [
    DatabricksJobMetadata("dbc-1.cloud.databricks.com", "7", auth_token="dapi-theirs", auth_type="pat",
                          oauth_secret_name="databricks-oauth", namespace="analytics-production"),
    DatabricksJobMetadata("dbc-1.cloud.databricks.com", "7", auth_token="dapi-theirs"),
    DatabricksJobMetadata("dbc-1.cloud.databricks.com", "7", auth_type="oauth_m2m", client_id="robot",
                          oauth_secret_name="databricks-oauth", namespace="analytics-production"),
]  # fmt: skip


def main() -> None:
    read = [asdict(DatabricksJobMetadata.decode(line.encode())) for line in sys.stdin.read().splitlines()]
    json.dump({"read": read, "written": [meta.encode().decode() for meta in WRITTEN]}, sys.stdout)


if __name__ == "__main__":
    main()
