#!/usr/bin/env bash
# A webhook that answers "created" or "accepted" has failed, for flytekit, which sends other numbers than it was given, too.
#
# Expected: a webhook that is answered by any of HTTP's codes of success, 200 to 299, has succeeded. It is sent the task's data: 5 is 5.
# Seen (flytekit 1.16.31): any code but 200 fails the task for good: 201, 202 and 204, which services that begin jobs answer with, whatever the
# request has set off. On the way through Flyte the data's numbers become floats: 5 is sent as 5.0, and 9007199254740993 as …992.0.
# Where the task is called locally, 5 is sent. Numbers that are inputs keep their form.
#
# What follows for us: agenthost-flytekit serves the connector as it is. A number in the data that has to stay whole is best an input of the
# task, or a text.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q flytekit==1.16.31 httpx==0.28.1
cat > finding.py <<'PY'
import asyncio
import collections
import http.server
import json
import threading

import flytekit
from flyteidl.core import literals_pb2, tasks_pb2
from flyteidl.core.execution_pb2 import TaskExecution
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.core.type_engine import TypeEngine
from flytekit.extras.webhook import WebhookConnector, WebhookTask
from flytekit.models.literals import LiteralMap
from flytekit.models.task import TaskTemplate
from flytekit.tools.translator import get_serializable

sent = []


class Service(http.server.BaseHTTPRequestHandler):
    """Answers with the code that its path says."""

    def do_POST(self):
        sent.append(self.rfile.read(int(self.headers["content-length"])).decode())
        self.send_response(int(self.path[1:]))
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, *_):
        pass


service = http.server.ThreadingHTTPServer(("127.0.0.1", 0), Service)
threading.Thread(target=service.serve_forever, daemon=True).start()
settings = SerializationSettings(image_config=ImageConfig.auto(img_name="image:tag"), project="p", domain="d", version="v")


def webhook(code):
    return WebhookTask(name=f"answers {code}", url=f"http://127.0.0.1:{service.server_port}/{code}", dynamic_inputs={"order": int},
                       data={"count": 5, "customer": 9007199254740993, "order": "{inputs.order}"})


async def by_flyte(task, **inputs):
    """The connector's answer to what Flyte sends of the task: messages of flyteidl."""
    context = flytekit.FlyteContextManager.current_context()
    template = get_serializable(collections.OrderedDict(), settings, task).template.to_flyte_idl().SerializeToString()
    literals = TypeEngine.dict_to_literal_map(context, inputs, task.get_input_types()).to_flyte_idl().SerializeToString()
    return await WebhookConnector().do(
        task_template=TaskTemplate.from_flyte_idl(tasks_pb2.TaskTemplate.FromString(template)), output_prefix="",
        inputs=LiteralMap.from_flyte_idl(literals_pb2.LiteralMap.FromString(literals)))


webhook(200)(order=9007199254740993)
locally = json.loads(sent[-1])
phases = {}
for code in (200, 201, 202, 204):
    answer = asyncio.run(by_flyte(webhook(code), order=9007199254740993))
    phases[code] = TaskExecution.Phase.Name(answer.phase)
    print(f"answered with {code}: {phases[code]}, {answer.message}")
served = json.loads(sent[-1])
print("sent locally:", locally)
print("sent by Flyte:", served)
assert phases == {200: "SUCCEEDED", 201: "FAILED", 202: "FAILED", 204: "FAILED"}, "CHANGED: the phases"
assert str(locally) == "{'count': 5, 'customer': 9007199254740993, 'order': 9007199254740993}", "CHANGED: locally"
assert {key: str(value) for key, value in served.items()} == {
    "count": "5.0", "customer": "9007199254740992.0", "order": "9007199254740993",
}, "CHANGED: by Flyte"
PY
venv/bin/python finding.py
