#!/usr/bin/env bash
# A BigQuery job that has failed is an error of the poll on flytekit's server, and the task goes on running.
#
# Expected: of a job that BigQuery says has failed, with a reason, flytekit's server says FAILED, and the reason.
# Seen (flytekit 1.16.31 with its plugin for BigQuery, google-cloud-bigquery 3.47.0, rich 15.0.0): the connector first logs the reason, by a call
# that has a value too many for its text. Python's own log handlers print such a mistake and go on; rich's, which flytekit's server has unless it is told
# otherwise, raises it: INTERNAL, "not all arguments converted during string formatting". No poll ever says FAILED, so that Flyte, which gives up
# polling after six errors, shows the task as running for ever where an earlier poll succeeded. With FLYTE_SDK_RICH_TRACEBACKS=0 it is FAILED.
#
# What follows for us: agenthost-flytekit takes flytekit's log over for the host's, and the job is FAILED. Who stays with flytekit's
# own server should set the variable.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q flytekit==1.16.31 flytekitplugins-bigquery==1.16.31 google-cloud-bigquery==3.47.0 prometheus-client==0.26.0 rich==15.0.0
cat > finding.py <<'PY'
import asyncio
import http.server
import json
import os
import threading

import google.auth
import google.auth.credentials
import grpc

REASON = {"reason": "invalidQuery", "location": "query", "message": "division by zero: 1 / 0"}
JOB = {
    "kind": "bigquery#job", "id": "project:US.job", "jobReference": {"projectId": "project", "jobId": "job", "location": "US"},
    "configuration": {"jobType": "QUERY", "query": {"query": "select 1 / 0"}},
    "status": {"state": "DONE", "errorResult": REASON, "errors": [REASON]},
}


class BigQuery(http.server.BaseHTTPRequestHandler):
    """Has one job, which has failed."""

    def do_GET(self):
        body = json.dumps(JOB).encode()
        self.send_response(200)
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    def log_message(self, *_):
        pass


bigquery = http.server.ThreadingHTTPServer(("127.0.0.1", 0), BigQuery)
threading.Thread(target=bigquery.serve_forever, daemon=True).start()
os.environ["BIGQUERY_EMULATOR_HOST"] = f"http://127.0.0.1:{bigquery.server_port}"
google.auth.default = lambda *_, **__: (google.auth.credentials.AnonymousCredentials(), "project")

import flytekitplugins.bigquery  # noqa: E402, F401 # registers the connector
from flyteidl.admin.agent_pb2 import GetTaskRequest  # noqa: E402
from flyteidl.core.execution_pb2 import TaskExecution  # noqa: E402
from flyteidl.service.agent_pb2_grpc import AsyncAgentServiceStub, add_AsyncAgentServiceServicer_to_server  # noqa: E402
from flytekit.extend.backend.connector_service import AsyncConnectorService  # noqa: E402


async def poll():
    server = grpc.aio.server()
    add_AsyncAgentServiceServicer_to_server(AsyncConnectorService(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    try:
        async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
            answer = await AsyncAgentServiceStub(channel).GetTask(GetTaskRequest(
                task_category={"name": "bigquery_query_job_task"},
                resource_meta=b'{"job_id": "job", "project": "project", "location": "US"}'))
            return f"{TaskExecution.Phase.Name(answer.resource.phase)}: {answer.resource.message}"
    except grpc.RpcError as error:
        return f"{error.code().name}: {error.details().split('TypeError: ')[-1].strip()}"
    finally:
        await server.stop(None)


print(asyncio.run(poll()))
PY
seen() { env -u FLYTE_SDK_RICH_TRACEBACKS "$@" venv/bin/python -W ignore finding.py 2>log | tail -1; }
default=$(seen) plain=$(seen FLYTE_SDK_RICH_TRACEBACKS=0)
printf 'by itself: %s\nwith FLYTE_SDK_RICH_TRACEBACKS=0: %s\n' "$default" "$plain"
[[ $default == "INTERNAL: not all arguments converted during string formatting"* ]] || { echo "CHANGED: by itself" >&2; exit 1; }
[[ $plain == "FAILED: "*"division by zero"* ]] || { echo "CHANGED: without rich" >&2; exit 1; }
