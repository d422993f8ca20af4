"""Tasks of flytekitplugins-openai, and of our class for embeddings.

Files of batches are uploaded here, as the first task of a `create_batch` does it: the environment has the server
(OPENAI_BASE_URL) and its key (_FSEC_OPENAI_KEY).
"""

import json
import pathlib
import sys
import tempfile

sys.path.insert(0, str(pathlib.Path(__file__).parents[3] / "plugins/openai/flytekit"))

from flytekit import Secret
from flytekit.types.file import JSONLFile
from flytekitplugins.openai import ChatGPTTask, create_batch
from openai_embeddings import EmbeddingsTask

SECRET = Secret(group="openai", key="key")


def chat(name, **config):
    return ChatGPTTask(name, {"model": "gpt-4o", **config}, "org-7")


def request(name, url, **body):
    return {"custom_id": name, "method": "POST", "url": url, "body": body}


def question(name, text):
    message = {"role": "user", "content": text}
    return request(name, "/v1/chat/completions", model="gpt-4o", messages=[message])


def batch(name, requests, **config):
    """The three tasks of a create_batch: runs the first, and gives the second with what that has brought."""
    workflow = create_batch(name, SECRET, openai_organization="org-7", config=config, is_json_iterator=False)
    upload, endpoint, _ = [node.flyte_entity for node in workflow.nodes]
    file = pathlib.Path(tempfile.mkdtemp()) / "requests.jsonl"
    file.write_text("\n".join(json.dumps(request) for request in requests))
    return endpoint, {"input_file_id": upload(jsonl_in=JSONLFile(str(file)))}


def cases(case):
    paris = question("q-1", "What is the capital of France?")
    url, model = "/v1/embeddings", "e5-passage"
    colours = [request("e-1", url, model=model, input="red"), request("e-2", url, model=model, input="blue")]
    texts = ["The cat sleeps on the sofa.", "Interest rates have risen.", "A kitten naps on the couch."]
    endpoint, uploaded = batch("batch", [paris])
    france = {"message": "What is the capital of France?"}
    brief = [{"role": "system", "content": "Be brief."}]
    return [
        case("chat", chat("chat"), france),
        case("settings", chat("settings", temperature=0.25, stop=["\n"], user="ada"), {"message": "hello"}),
        case("system-message", chat("system", messages=brief), france),
        case("whole-number", chat("whole", max_tokens=64), france),
        case("wrong-type", chat("wrong", max_tokens="many"), france, fails="expected an integer"),
        case("batch", endpoint, uploaded),
        case("batch-of-embeddings", *batch("colours", colours, endpoint=url, metadata={"team": "a"})),
        case("batch-of-bad-requests", *batch("bad", [paris, question("q-2", "break")])),
        case("batch-of-no-requests", *batch("none", [colours[0]]), fails="does not match the batch's endpoint"),
        case("no-file", endpoint, {"input_file_id": "file-none"}, fails="No such File object: file-none"),
        case("text", EmbeddingsTask("text", {"model": "e5-query"}, many=False), {"text": "a red apple"}),
        case("texts", EmbeddingsTask("texts", {"model": "e5-passage"}), {"texts": texts}),
    ]
