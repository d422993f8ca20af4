#!/usr/bin/env bash
# A sensor of flytekit's whose inputs work locally cannot be begun on a server, or gets other values there.
#
# Expected: poke(self, when: datetime) gets a datetime on a connector's server, as it does where the sensor is called locally; likewise a
# dataclass, a file and a dict[int, str].
# Seen (flytekit 1.16.31): between CreateTask and GetTask Flyte has the inputs as plain JSON, and locally as they are. A datetime and
# a timedelta are a TypeError of CreateTask ("not JSON serializable"). A dataclass and a FlyteFile arrive as a dict, and the key 1 as "1": a
# poke that looks for 1 finds nothing, and is polled until the task's timeout.
#
# What follows for us: agenthost-flytekit serves the sensor as it is, and keeps its JSON, which must stay readable to flytekit's own server. What
# a sensor waits for is best an int, a float, a bool or a text.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q flytekit==1.16.31 prometheus-client==0.26.0
cat > sensors.py <<'PY'
import dataclasses
import datetime

from flytekit import FlyteFile
from flytekit.sensor.base_sensor import BaseSensor


@dataclasses.dataclass
class Place:
    folder: str


came = []  # what poke has been given


class Sensor(BaseSensor):
    def __init__(self, name="sensor", **settings):
        super().__init__(name=name, **settings)


class Whole(Sensor):
    async def poke(self, value: int) -> bool:
        came.append(value)
        return True


class When(Sensor):
    async def poke(self, value: datetime.datetime) -> bool:
        came.append(value)
        return True


class HowLong(Sensor):
    async def poke(self, value: datetime.timedelta) -> bool:
        came.append(value)
        return True


class Where(Sensor):
    async def poke(self, value: Place) -> bool:
        came.append(value)
        return True


class Which(Sensor):
    async def poke(self, value: FlyteFile) -> bool:
        came.append(value)
        return True


class ByNumber(Sensor):
    async def poke(self, value: dict[int, str]) -> bool:
        came.append(value)
        return True
PY
cat > finding.py <<'PY'
import asyncio
import collections
import datetime
import logging

import flytekit
import grpc
import sensors
from flyteidl.admin import agent_pb2
from flyteidl.service.agent_pb2_grpc import AsyncAgentServiceStub, add_AsyncAgentServiceServicer_to_server
from flytekit.configuration import ImageConfig, SerializationSettings
from flytekit.core.type_engine import TypeEngine
from flytekit.extend.backend.connector_service import AsyncConnectorService
from flytekit.tools.translator import get_serializable

logging.disable()  # of tracebacks
settings = SerializationSettings(image_config=ImageConfig.auto(img_name="image:tag"), project="p", domain="d", version="v")
inputs = {
    sensors.Whole: 3,
    sensors.When: datetime.datetime(2026, 1, 1, tzinfo=datetime.timezone.utc),
    sensors.HowLong: datetime.timedelta(hours=1),
    sensors.Where: sensors.Place("/data"),
    sensors.Which: flytekit.FlyteFile("sensors.py"),
    sensors.ByNumber: {1: "one"},
}


def arrived():
    """What poke was given last: its type, and of numbered texts the number's."""
    value = sensors.came.pop()
    return type(value).__name__ if not isinstance(value, dict) else "dict of " + type(next(iter(value))).__name__


def request(sensor, value):
    context = flytekit.FlyteContextManager.current_context()
    literals = TypeEngine.dict_to_literal_map(context, {"value": value}, sensor.get_input_types())
    template = get_serializable(collections.OrderedDict(), settings, sensor).template
    return agent_pb2.CreateTaskRequest(template=template.to_flyte_idl(), inputs=literals.to_flyte_idl(), output_prefix="s3://bucket/outputs")


async def serve(requests):
    """What arrives in poke where flytekit's server is asked as Flyte asks it."""
    server = grpc.aio.server()
    add_AsyncAgentServiceServicer_to_server(AsyncConnectorService(), server)
    port = server.add_insecure_port("127.0.0.1:0")
    await server.start()
    seen = {}
    async with grpc.aio.insecure_channel(f"127.0.0.1:{port}") as channel:
        stub = AsyncAgentServiceStub(channel)
        for name, create in requests.items():
            try:
                job = await stub.CreateTask(create)
                await stub.GetTask(agent_pb2.GetTaskRequest(resource_meta=job.resource_meta, task_category={"name": "sensor"}))
                seen[name] = arrived()
            except grpc.RpcError as error:
                seen[name] = error.code().name + (", not JSON" if "is not JSON serializable" in error.details() else "")
    await server.stop(None)
    return seen


locally, requests = {}, {}
for kind, value in inputs.items():
    name, sensor = kind.__name__, kind()
    sensor(value=value)
    locally[name] = arrived()
    requests[name] = request(sensor, value)
served = asyncio.run(serve(requests))
for name in locally:
    print(f"{name}: {locally[name]} locally, {served[name]} on a server")
assert locally == {
    "Whole": "int", "When": "datetime", "HowLong": "timedelta", "Where": "Place", "Which": "FlyteFile", "ByNumber": "dict of int",
}, "CHANGED: locally"
assert served == {
    "Whole": "int", "When": "INTERNAL, not JSON", "HowLong": "INTERNAL, not JSON", "Where": "dict of str", "Which": "dict of str",
    "ByNumber": "dict of str",
}, "CHANGED: on a server"
PY
venv/bin/python finding.py
