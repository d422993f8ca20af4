#!/usr/bin/env bash
# A query that waits in Snowflake, or a run in Databricks' queue, is an error to the connectors of both Flytes.
#
# Expected: a state in which Snowflake's client says that a query is still running, and any of a run's states that Databricks' client has, is a phase.
# Seen (flytekit 1.16.31, flyte 2.12.1, their plugins for Snowflake; snowflake-connector-python 4.8.1, databricks-sdk 0.162.0): all connectors turn
# a service's states into phases by one list of fourteen words. Of Snowflake's six such states RUNNING is in it; QUEUED, RESUMING_WAREHOUSE,
# BLOCKED, NO_DATA and QUEUED_REPARING_WAREHOUSE end the poll with "Unrecognized state". Of Databricks' nine BLOCKED, QUEUED and WAITING_FOR_RETRY
# do so, and of its ten results six. ABORTING, a query that goes on being cancelled, is FAILED. Flyte gives up after six such polls in all: a query
# that waits three minutes for its warehouse, at Flyte's own pace, fails the task, and runs afterwards.
#
# What follows for us: plugins/snowflake and plugins/databricks have a phase for each (their READMEs). agenthost-flytekit and agenthost-flyte2 serve these
# connectors as they are.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q flytekit==1.16.31 flytekitplugins-snowflake==1.16.31 flyte==2.12.1 flyteplugins-snowflake==2.12.1 \
  snowflake-connector-python==4.8.1 databricks-sdk==0.162.0 boto3==1.43.117 aiobotocore==3.10.0
cat > finding.py <<'PY'
import asyncio
import http.server
import json
import logging
import threading

import flyteplugins.snowflake.connector as flyte
import flytekitplugins.snowflake.connector as flytekit
import snowflake.connector
from databricks.sdk.service.jobs import RunLifeCycleState, RunResultState
from flyte.connectors.utils import convert_to_flyte_phase as flytes
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.extend.backend.utils import convert_to_flyte_phase as flytekits
from snowflake.connector.constants import QueryStatus

state = None  # of the one query


class Service(http.server.BaseHTTPRequestHandler):
    """Snowflake, as far as a poll asks it: logging in, and the query's state."""

    def answer(self):
        self.rfile.read(int(self.headers.get("content-length") or 0))
        data = {"token": "token", "masterToken": "master", "sessionId": 1, "parameters": [], "sessionInfo": {}}
        if self.path.startswith("/monitoring/queries/"):
            failed = {"errorCode": "604", "errorMessage": "SQL execution canceled"} if state.startswith(("ABORT", "FAILED")) else {}
            data = {"queries": [] if state == "NO_DATA" else [{"status": state, **failed}]}
        body = json.dumps({"data": data, "success": True, "code": None, "message": None}).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_POST = answer

    def log_message(self, *_):
        pass


service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=service.serve_forever, daemon=True).start()
logging.disable()
there = {"host": "127.0.0.1", "port": service.server_port, "protocol": "http", "password": "password"}
flytekit.get_connection = lambda query: snowflake.connector.connect(user=query.user, account=query.account, **there)
query = {"user": "user", "account": "account", "database": "db", "schema": "s", "warehouse": "w", "has_output": False,
         "query_id": "01b2c3d4-0000-0000-0000-000000000001"}


def phase(of):
    try:
        return TaskExecution.Phase.Name(of())
    except ValueError as error:
        return str(error).split(":")[0]


def both(v1, v2):
    assert v1 == v2, f"CHANGED: {v1} for flytekit, {v2} for flyte"
    return v1


unknown = "Unrecognized state"
seen = {"waiting": {}, "runs": {}, "results": {}}
for status in QueryStatus:
    state = status.name
    if snowflake.connector.SnowflakeConnection.is_still_running(status) or state == "ABORTING":
        seen["waiting"][state] = both(
            phase(lambda: asyncio.run(flytekit.SnowflakeConnector().get(flytekit.SnowflakeJobMetadata(**query))).phase),
            phase(lambda: asyncio.run(flyte.SnowflakeConnector().get(flyte.SnowflakeJobMetadata(**query, connection_kwargs=there))).phase))
for kind, states in (("runs", RunLifeCycleState), ("results", RunResultState)):
    for of in states:
        if of is not RunLifeCycleState.TERMINATED:  # whose result counts
            seen[kind][of.value] = both(phase(lambda: flytekits(of.value)), phase(lambda: flytes(of.value)))
for kind, phases in seen.items():
    print(f"{kind}: {phases}")
assert seen["waiting"] == {
    "RUNNING": "RUNNING", "ABORTING": "FAILED", "QUEUED": unknown, "RESUMING_WAREHOUSE": unknown, "QUEUED_REPARING_WAREHOUSE": unknown,
    "BLOCKED": unknown, "NO_DATA": unknown,
}, "CHANGED: Snowflake"
assert {of for of in seen["runs"] if seen["runs"][of] == unknown} == {"BLOCKED", "QUEUED", "WAITING_FOR_RETRY"}, "CHANGED: Databricks' runs"
assert {of for of in seen["results"] if seen["results"][of] == unknown} == {
    "DISABLED", "EXCLUDED", "MAXIMUM_CONCURRENT_RUNS_REACHED", "SUCCESS_WITH_FAILURES", "UPSTREAM_CANCELED", "UPSTREAM_FAILED",
}, "CHANGED: Databricks' results"
PY
venv/bin/python -W ignore finding.py
