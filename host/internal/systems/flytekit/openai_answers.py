"""Fetches a batch's answers, as the last task of a `create_batch` does it: `openai_answers.py OUTPUTS`.

OUTPUTS is the literal map that the batch's task ended with. Prints JSON: the text of a chat, or the size of a vector,
by the request's id. The environment is that of openai_tasks.py.
"""

import json
import pathlib
import sys

from flyteidl.core import literals_pb2
from flytekit import FlyteContextManager
from flytekit.core.type_engine import TypeEngine
from flytekit.models.literals import LiteralMap
from flytekitplugins.openai import create_batch
from openai_tasks import SECRET

outputs = LiteralMap.from_flyte_idl(literals_pb2.LiteralMap.FromString(pathlib.Path(sys.argv[1]).read_bytes()))
batch = TypeEngine.to_python_value(FlyteContextManager.current_context(), outputs.literals["result"], dict)
download = create_batch("answers", SECRET, openai_organization="org-7").nodes[2].flyte_entity
answers = {}
for line in pathlib.Path(download(batch_endpoint_result=batch).output_file).read_text().splitlines():
    answer = json.loads(line)
    body = answer["response"]["body"]
    found = body["choices"][0]["message"]["content"] if "choices" in body else len(body["data"][0]["embedding"])
    answers[answer["custom_id"]] = found
print(json.dumps(answers))
