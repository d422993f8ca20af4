#!/usr/bin/env bash
# One poll that AWS refuses fails a task of EMR Serverless, and its job runs on.
#
# Expected: a GetJobRun that is throttled, or refused since a token has expired, is an error of that poll, as it is with flytekit's other connectors:
# the next one finds the job. A job that could not be cancelled is an error of DeleteTask, which Flyte would repeat.
# Seen (flytekitplugins-awsemrserverless 1.16.31, boto3 1.40.61): any such error is FAILED, "Job not found", which is final: Flyte 1
# polls no more, and deletes nothing. Where it deletes, as for an abort, the job cannot be cancelled for the same reasons, and DeleteTask
# succeeds. Either way the job runs on and is paid for, up to its timeout.
#
# What follows for us: nothing; agenthost-flytekit hands on what the connector says. Who reads "Job not found" looks for the job all the same.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q flytekit==1.16.31 flytekitplugins-awsemrserverless==1.16.31 boto3==1.40.61
cat > finding.py <<'PY'
import asyncio
import http.server
import json
import logging
import os
import threading

from flyteidl.core.execution_pb2 import TaskExecution
from flytekitplugins.awsemrserverless.connector import EMRServerlessConnector, EMRServerlessJobMetadata

RUNNING = {
    "applicationId": "application", "jobRunId": "job", "arn": "arn:aws:emr-serverless:::job", "createdBy": "arn:aws:iam:::user", "createdAt": 0,
    "updatedAt": 0, "executionRole": "arn:aws:iam:::role", "state": "RUNNING", "stateDetails": "", "releaseLabel": "emr-7.0.0",
    "jobDriver": {"sparkSubmit": {"entryPoint": "s3://bucket/main.py"}},
}
refuses = None  # (code, error) of AWS, where it has one


class Service(http.server.BaseHTTPRequestHandler):
    """EMR Serverless with one job, which is running."""

    def answer(self):
        code, body = (refuses[0], {"message": refuses[1]}) if refuses else (200, {"jobRun": RUNNING})
        body = json.dumps(body).encode()
        self.send_response(code)
        if refuses:
            self.send_header("x-amzn-errortype", refuses[1])
        self.send_header("content-type", "application/json")
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body)

    do_GET = do_DELETE = answer

    def log_message(self, *_):
        pass


service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=service.serve_forever, daemon=True).start()
os.environ.update(AWS_ENDPOINT_URL=f"http://127.0.0.1:{service.server_port}", AWS_ACCESS_KEY_ID="id", AWS_SECRET_ACCESS_KEY="key")
logging.disable()

connector = EMRServerlessConnector()
job = EMRServerlessJobMetadata(application_id="application", job_run_id="job", region="us-east-1")
seen = {}
for refuses in (None, (429, "ThrottlingException"), (403, "ExpiredTokenException"), None):
    resource = asyncio.run(connector.get(job))
    if refuses:
        asyncio.run(connector.delete(job))  # says nothing: an error would end this program
    what = refuses[1] if refuses else "answered"
    seen[what] = (TaskExecution.Phase.Name(resource.phase), resource.message)
    print(f"{what}: {seen[what][0]}, {seen[what][1]!r}" + ("; the deletion succeeds" if refuses else ""))
running = ("RUNNING", "EMR Serverless job state: RUNNING")
lost = ("FAILED", "Job not found: job")
assert seen == {"answered": running, "ThrottlingException": lost, "ExpiredTokenException": lost}, "CHANGED"
PY
venv/bin/python finding.py
