#!/usr/bin/env bash
# One call of openai's client can make three batches, each of which is run and paid for.
#
# Expected: a creation whose answer is lost is an error, or is repeated under a key by which the service finds what it has made.
# Seen (openai 3.57.0, with its defaults): batches.create is sent again, twice at most, when the connection breaks before the answer, and
# nothing in the requests says that they are one: no idempotency key, which the client's code has a place for, is set. The caller gets the
# last batch's id, and of the others nobody knows.
#
# What follows for us: plugins/openai marks each batch with its attempt's key, and looks for it before it makes another.
# docs/flytekit-connectors.md says what flytekitplugins-openai does, whose connector calls this client.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q openai==3.57.0
"$work/venv/bin/python" - <<'PY'
import http.server
import json
import socket
import threading

import openai

made = []


class Service(http.server.BaseHTTPRequestHandler):
    def do_POST(self):
        self.rfile.read(int(self.headers["Content-Length"]))
        made.append({name.lower() for name in self.headers})
        if len(made) < 3:  # it has made the batch; the connection breaks before it can say so
            self.connection.shutdown(socket.SHUT_RDWR)
            return
        batch = {"id": f"batch_{len(made)}", "object": "batch", "endpoint": "/v1/chat/completions", "input_file_id": "file-1",
                 "completion_window": "24h", "status": "validating", "created_at": 1}
        self.send_response(200)
        self.send_header("Content-Type", "application/json")
        self.end_headers()
        self.wfile.write(json.dumps(batch).encode())

    def log_message(self, *args):
        pass


service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=service.serve_forever, daemon=True).start()
client = openai.OpenAI(api_key="none", base_url=f"http://127.0.0.1:{service.server_port}/v1")
batch = client.batches.create(input_file_id="file-1", endpoint="/v1/chat/completions", completion_window="24h")
keys = [name for headers in made for name in headers if "idempotency" in name]
print(f"openai {openai.__version__}: one call made {len(made)} batches, of which the caller knows {batch.id}; idempotency keys: {keys}")
assert len(made) == 3 and not keys, "CHANGED"
PY
