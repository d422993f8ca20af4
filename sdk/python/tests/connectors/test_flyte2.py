"""Flyte 2's connectors as their authors ship them, through a real host, called by both generations of Flyte."""

from __future__ import annotations

import concurrent.futures
import json
import pathlib
import time
from collections.abc import Callable, Iterator, Mapping
from typing import Any

import grpc
import pytest
import servers
from conftest import Host
from flyteidl.admin import agent_pb2
from flyteidl.core import types_pb2

from agenthost.agent import Phase, StructuredDataset
from agenthost.testing import Client, Result
from agenthost.testing._client import result

Venv = Callable[[str], pathlib.Path]


def plugin(venv: Venv, task_types: str, **more: Any) -> dict[str, Any]:
    return {"command": [str(venv("flyte2") / "agenthost-flyte2"), "--task-types", task_types], **more}


class Flyte2:
    """Calls a host by Flyte 2's names. Its messages are the bytes of Flyte 1's, and one field for the connection."""

    def __init__(self, client: Client, secrets: Mapping[str, str], configs: Mapping[str, str]) -> None:
        self.client = client
        pairs = [(2, secrets), (3, configs)]
        entries = b"".join(
            field(number, field(1, key.encode()) + field(2, value.encode()))
            for number, entries in pairs
            for key, value in entries.items()
        )
        self.connection = field(5, field(1, b"connection") + entries)

    def create(self, task_type: str, **task: Any) -> bytes:
        request, _ = self.client._request(task_type, **task)
        meta: bytes = self._call("CreateTask", request, agent_pb2.CreateTaskResponse).resource_meta
        return meta

    def wait(self, task_type: str, meta: bytes) -> Result:
        deadline = time.monotonic() + 60
        while True:
            request = agent_pb2.GetTaskRequest(task_category={"name": task_type}, resource_meta=meta)
            found = result(self._call("GetTask", request, agent_pb2.GetTaskResponse).resource)
            if found.phase.terminal:
                return found
            assert time.monotonic() < deadline, found
            time.sleep(0.05)

    def delete(self, task_type: str, meta: bytes) -> None:
        request = agent_pb2.DeleteTaskRequest(task_category={"name": task_type}, resource_meta=meta)
        self._call("DeleteTask", request, agent_pb2.DeleteTaskResponse)

    def _call(self, method: str, request: Any, answer: Any) -> Any:
        call = self.client.channel.unary_unary(
            f"/flyteidl2.connector.AsyncConnectorService/{method}", response_deserializer=answer.FromString
        )
        return call(request.SerializeToString() + self.connection, timeout=30)


def field(number: int, data: bytes) -> bytes:
    """A length-delimited field of a message."""
    length, head = len(data), bytearray([number << 3 | 2])
    while length > 0x7F:
        head.append(length & 0x7F | 0x80)
        length >>= 7
    return bytes([*head, length]) + data


BIGQUERY = {"ProjectID": "analytics", "Location": "US", "Domain": "development"}


def test_bigquery_gets_its_credentials_from_the_connection(
    venv: Venv, host: Host, tmp_path: pathlib.Path, bqemulator: str
) -> None:
    client = host({"bigquery": plugin(venv, "bigquery_query_job_task", env={"BIGQUERY_EMULATOR_HOST": bqemulator})})
    with servers.google_credentials(tmp_path) as credentials:
        flyte = Flyte2(client, {"google_application_credentials": credentials.read_text()}, {})
        meta = flyte.create(
            "bigquery_query_job_task", sql="select @n * 2 as doubled", custom=BIGQUERY, inputs={"n": 21}
        )
        assert set(json.loads(meta)) == {"job_id", "project", "location", "user_agent"}
        found = flyte.wait("bigquery_query_job_task", meta)
        assert found.phase == Phase.SUCCEEDED, found.message
        assert found.outputs is not None
        assert isinstance(found.outputs["results"], StructuredDataset)
        assert found.outputs["results"].uri.startswith("bq://analytics:")
        flyte.delete("bigquery_query_job_task", meta)


def test_bigquery_serves_flyte_1_from_the_same_plugin(
    venv: Venv, host: Host, tmp_path: pathlib.Path, bqemulator: str
) -> None:
    with servers.google_credentials(tmp_path) as credentials:
        env = {"BIGQUERY_EMULATOR_HOST": bqemulator, "GOOGLE_APPLICATION_CREDENTIALS": str(credentials)}
        client = host({"bigquery": plugin(venv, "bigquery_query_job_task", env=env)})
        found = client.run_task("bigquery_query_job_task", sql="select @n as n", custom=BIGQUERY, inputs={"n": 1})
        assert found.phase == Phase.SUCCEEDED, found.message


def test_snowflake_runs_a_query_with_a_key_from_the_connection(venv: Venv, host: Host, tmp_path: pathlib.Path) -> None:
    with servers.fakesnow(venv("fakesnow"), tmp_path) as env:
        client = host({"snowflake": plugin(venv, "snowflake", env=env)})
        flyte = Flyte2(client, {"snowflake_private_key": servers.private_key()}, {})
        settings = {"user": "ada", "account": "org-analytics", "database": "DB", "schema": "PUBLIC", "warehouse": "WH"}
        meta = flyte.create(
            "snowflake",
            sql="select %(n)s * 2 as doubled",
            custom=settings,
            inputs={"n": 21},
            outputs={"results": types_pb2.LiteralType(structured_dataset_type=types_pb2.StructuredDatasetType())},
        )
        found = flyte.wait("snowflake", meta)
        assert found.phase == Phase.SUCCEEDED, found.message
        assert found.outputs is not None
        assert found.outputs["results"].uri.startswith("snowflake://ada/org-analytics/WH/DB/PUBLIC/")


def slurm_script(folder: pathlib.Path, script: str, late: float = 0) -> dict[str, Any]:
    return {
        "script": f"#!/bin/sh\n{script}",
        "working_dir": str(folder),
        "sbatch": {"partition": "debug"},
        "late": late,
    }


def test_slurm_runs_a_script(venv: Venv, host: Host, tmp_path: pathlib.Path) -> None:
    with servers.slurm(venv("flyte2"), tmp_path) as env:
        client = host({"slurm": plugin(venv, "slurm_script", env=env, sandbox={"read": [env["HOME"] + "/.ssh"]})})
        flyte = Flyte2(client, {}, {})
        script = slurm_script(tmp_path / "work", 'echo "Hello, $FLYTE_INPUT_NAME"')
        meta = flyte.create("slurm_script", custom=script, inputs={"name": "Ada"})
        found = flyte.wait("slurm_script", meta)
        assert found.phase == Phase.SUCCEEDED, found.message
        assert pathlib.Path(json.loads(meta)["stdout_path"]).read_text() == "Hello, Ada\n"
        assert [line.message for line in client.job("slurm_script", meta).logs()][1:] == ["Hello, Ada"]
        endless = flyte.create("slurm_script", custom=slurm_script(tmp_path / "work", "sleep 3600"))
        flyte.delete("slurm_script", endless)
        deleted = flyte.wait("slurm_script", endless)
        # Flyte would drop the message of ABORTED.
        assert deleted.phase == Phase.FAILED and "the job was aborted" in deleted.message


@pytest.mark.parametrize("seconds", [0.6, 2])
def test_slurm_s_connection_outlives_a_loop_that_was_late(
    venv: Venv, agenthost_command: Callable[..., Client], tmp_path: pathlib.Path, seconds: float
) -> None:
    program = [venv("flyte2") / "agenthost-flyte2", "--task-types", "slurm_script", "--modules", "late"]
    with servers.slurm(venv("flyte2"), tmp_path) as env, concurrent.futures.ThreadPoolExecutor(8) as threads:
        client = agenthost_command(program, env={**env, "PYTHONPATH": str(pathlib.Path(__file__).parent)})

        def submit(late: float) -> Phase:
            custom = slurm_script(tmp_path / "work", "echo done", late)
            return client.run_task("slurm_script", custom=custom).phase

        assert list(threads.map(submit, [0, seconds, *[0] * 6])) == [Phase.SUCCEEDED] * 8


@pytest.fixture
def databricks(venv: Venv, host: Host, tmp_path: pathlib.Path) -> Iterator[Flyte2]:
    with servers.fakejobs(tmp_path, "dapi-test") as env:
        client = host({"databricks": plugin(venv, "databricks", env=env)})
        yield Flyte2(client, {"databricks_token": "dapi-test"}, {})


DATABRICKS = {
    "databricksConf": {
        "run_name": "test",
        "new_cluster": {
            "spark_version": "15.4.x-scala2.12",
            "node_type_id": "i3.xlarge",
            "num_workers": 1,
            "docker_image": {"url": "example.com/image:1"},
        },
    },
    "sparkConf": {"spark.executor.cores": "1"},
}


def test_databricks_runs_a_job(databricks: Flyte2) -> None:
    meta = databricks.create("databricks", custom=DATABRICKS)
    found = databricks.wait("databricks", meta)
    assert found.phase == Phase.SUCCEEDED, found.message
    assert [link.name for link in found.resource.log_links] == ["Databricks Console"]
    databricks.delete("databricks", meta)


def test_a_caller_of_before_task_categories_finds_its_jobs(venv: Venv, host: Host, tmp_path: pathlib.Path) -> None:
    """It sends the deprecated task_type alone, which Flyte 2's messages do not have."""
    with servers.slurm(venv("flyte2"), tmp_path) as env:
        client = host({"slurm": plugin(venv, "slurm_script", env=env, sandbox={"read": [env["HOME"] + "/.ssh"]})})
        meta = client.create("slurm_script", custom=slurm_script(tmp_path / "work", "sleep 3600")).meta
        poll = agent_pb2.GetTaskRequest(task_type="slurm_script", resource_meta=meta)
        assert client.async_agents.GetTask(poll).resource.phase == Phase.RUNNING
        client.async_agents.DeleteTask(agent_pb2.DeleteTaskRequest(task_type="slurm_script", resource_meta=meta))
        deleted = client.async_agents.GetTask(poll).resource
        assert deleted.phase == Phase.FAILED and "the job was aborted" in deleted.message


def test_what_a_connector_lacks_is_unimplemented(venv: Venv, host: Host) -> None:
    client = host({"bigquery": plugin(venv, "bigquery_query_job_task")})
    meta = json.dumps({"job_id": "j", "project": "p", "location": "US", "user_agent": ""}).encode()
    with pytest.raises(grpc.RpcError) as error:
        list(client.job("bigquery_query_job_task", meta).logs())
    assert error.value.code() is grpc.StatusCode.UNIMPLEMENTED
    with pytest.raises(grpc.RpcError) as error:
        client.create("snowflake")
    assert error.value.code() is grpc.StatusCode.NOT_FOUND
