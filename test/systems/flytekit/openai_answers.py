"""Fetches batches' answers, as the last task of a `create_batch` does it: `openai_answers.py OUTPUTS...`.

OUTPUTS are the literal maps that batches' tasks ended with. Prints a line of JSON for each: the text of a chat, or the
size of a vector, by the request's id. The environment is that of openai_tasks.py.
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

download = create_batch("answers", SECRET, openai_organization="org-7").nodes[2].flyte_entity


def text_or_size(body):
    return body["choices"][0]["message"]["content"] if "choices" in body else len(body["data"][0]["embedding"])


for file in sys.argv[1:]:
    outputs = LiteralMap.from_flyte_idl(literals_pb2.LiteralMap.FromString(pathlib.Path(file).read_bytes()))
    batch = TypeEngine.to_python_value(FlyteContextManager.current_context(), outputs.literals["result"], dict)
    lines = pathlib.Path(download(batch_endpoint_result=batch).output_file).read_text().splitlines()
    answers = [json.loads(line) for line in lines]
    print(json.dumps({answer["custom_id"]: text_or_size(answer["response"]["body"]) for answer in answers}))
