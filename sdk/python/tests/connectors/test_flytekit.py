"""flytekit's connectors as their authors ship them, through a real host.

Each finds the outside system it was written for, or an emulator of it, by the means that its own client library has for
that: no line of a connector is changed, and nothing is put into its process.
"""

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
from flyteidl.core import types_pb2

from agenthost.agent import Phase, StructuredDataset
from agenthost.testing import Client

Venv = Callable[[str], pathlib.Path]


def plugin(venv: Venv, task_types: str, **more: Any) -> dict[str, Any]:
    return {"command": [str(venv("connectors") / "agenthost-flytekit"), "--task-types", task_types], **more}


def listed(client: Client) -> set[str]:
    return {category.name for agent in client.agents() for category in agent.supported_task_categories}


@pytest.fixture(scope="module")
def bigquery(
    venv: Venv, shared_host: Host, tmp_path_factory: pytest.TempPathFactory, bqemulator: str
) -> Iterator[Client]:
    with servers.google_credentials(tmp_path_factory.mktemp("bigquery")) as credentials:
        env = {"BIGQUERY_EMULATOR_HOST": bqemulator, "GOOGLE_APPLICATION_CREDENTIALS": str(credentials)}
        yield shared_host({"bigquery": plugin(venv, "bigquery_query_job_task", env=env)})


BIGQUERY = {"ProjectID": "analytics", "Location": "US", "Domain": "development"}


def test_bigquery_runs_a_query_with_parameters(bigquery: Client) -> None:
    assert listed(bigquery) == {"bigquery_query_job_task"}
    job = bigquery.create(
        "bigquery_query_job_task",
        sql="select name, @n * 2 as doubled from unnest(['Ada', @name]) as name order by name",
        custom=BIGQUERY,
        inputs={"n": 21, "name": "Grace"},
    )
    assert set(json.loads(job.meta)) == {"job_id", "project", "location"}
    result = job.wait()
    assert result.phase == Phase.SUCCEEDED, result.message
    assert result.outputs is not None
    table = result.outputs["results"]
    assert isinstance(table, StructuredDataset)
    assert table.uri.startswith("bq://analytics:")
    (link,) = result.resource.log_links
    assert link.name == "BigQuery Console"
    job.delete()


def test_bigquery_fails_a_query_that_is_wrong(bigquery: Client) -> None:
    try:
        result = bigquery.run_task(
            "bigquery_query_job_task", sql="select no_such_column from no_such_table", custom=BIGQUERY
        )
    except grpc.RpcError as e:  # the emulator tells it at once, where BigQuery makes a job that fails
        assert "agent Bigquery Connector: Create:" in e.details()
    else:
        assert result.phase == Phase.FAILED


# The connector's call for its log has a value too many, which would end each poll of such a job where flytekit logs by
# way of rich, as it does by itself (findings/flytekit-bigquery-failed-job-is-an-error.sh).
def test_bigquery_tells_why_a_job_has_failed(venv: Venv, shared_host: Host, tmp_path: pathlib.Path) -> None:
    reason = {"reason": "invalidQuery", "location": "query", "message": "division by zero: 1 / 0"}
    job: dict[str, Any] = {
        "jobReference": {"projectId": "analytics", "jobId": "job", "location": "US"},
        "configuration": {"jobType": "QUERY", "query": {"query": "select 1 / 0"}},
        "status": {"state": "DONE", "errorResult": reason, "errors": [reason]},
    }

    def answer(method: str, path: str, _: Any, __: Mapping[str, str]) -> servers.Answer:
        if "/cancel" in path:
            return 200, {"job": job}
        return 200, {**job, "status": {"state": "RUNNING"}} if method == "POST" else job

    with servers.http(answer) as url, servers.google_credentials(tmp_path) as credentials:
        env = {"BIGQUERY_EMULATOR_HOST": url, "GOOGLE_APPLICATION_CREDENTIALS": str(credentials)}
        client = shared_host({"bigquery": plugin(venv, "bigquery_query_job_task", env=env)})
        result = client.run_task("bigquery_query_job_task", sql="select 1 / 0", custom=BIGQUERY)
    assert result.phase == Phase.FAILED
    assert "division by zero" in result.message


@pytest.fixture(scope="module")
def openai(venv: Venv, shared_host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    key = tmp_path_factory.mktemp("openai") / "key"
    key.write_text("sk-local\n")
    with servers.http(servers.OpenAI("sk-local").answer) as url:
        yield shared_host(
            {
                "openai": plugin(
                    venv,
                    "chatgpt,openai-batch",
                    env={"OPENAI_BASE_URL": f"{url}/v1"},
                    secrets={"flyte_openai_api_key": f"file://{key}"},
                )
            }
        )


def test_chatgpt_answers_in_one_call(openai: Client) -> None:
    assert listed(openai) == {"chatgpt", "openai-batch"}
    custom = {"openai_organization": "org", "chatgpt_config": {"model": "gpt-test", "temperature": 0.5}}
    result = openai.execute("chatgpt", inputs={"message": "hello"}, custom=custom)
    assert (result.phase, result.outputs) == (Phase.SUCCEEDED, {"o0": "gpt-test heard: hello"})


def test_chatgpt_tells_what_openai_refuses(openai: Client) -> None:
    custom = {"openai_organization": "org", "chatgpt_config": {"modle": "gpt-test"}}
    with pytest.raises(grpc.RpcError) as error:
        openai.execute("chatgpt", inputs={"message": "hello"}, custom=custom)
    assert error.value.code() is grpc.StatusCode.INTERNAL
    assert "agent ChatGPT Connector: Execute: TypeError" in error.value.details()


def test_an_openai_batch_is_polled_to_its_end(openai: Client) -> None:
    custom = {"openai_organization": "org", "config": {}}
    job = openai.create("openai-batch", inputs={"input_file_id": "file-1"}, custom=custom)
    assert job.get().phase == Phase.RUNNING
    result = job.wait()
    assert result.phase == Phase.SUCCEEDED
    assert result.outputs is not None
    assert result.outputs["result"]["output_file_id"] == "file-1-answers"


def test_an_openai_batch_is_cancelled(openai: Client) -> None:
    job = openai.create(
        "openai-batch", inputs={"input_file_id": "file-2"}, custom={"openai_organization": "org", "config": {}}
    )
    job.delete()
    assert job.get().phase == Phase.FAILED


def test_the_file_sensor_waits_for_its_file(venv: Venv, host: Host, tmp_path: pathlib.Path) -> None:
    client = host({"sensor": plugin(venv, "sensor")})
    awaited = tmp_path / "awaited"
    custom = {"sensor_module": "flytekit.sensor.file_sensor", "sensor_name": "FileSensor"}
    job = client.create("sensor", inputs={"path": str(awaited)}, custom=custom)
    assert [job.get().phase for _ in range(3)] == [Phase.RUNNING] * 3
    awaited.touch()
    assert job.wait().phase == Phase.SUCCEEDED
    job.delete()


def test_the_webhook_posts_what_its_task_says(venv: Venv, host: Host) -> None:
    received = []

    def hook(method: str, path: str, body: Any, headers: Mapping[str, str]) -> servers.Answer:
        received.append((method, path, body, headers.get("x-token")))
        return (200 if path == "/hook" else 500), {"taken": True}

    with servers.http(hook) as url:
        client = host({"webhook": plugin(venv, "webhook")})
        custom = {
            "url": f"{url}/hook",
            "method": "POST",
            "headers": {"x-token": "t"},
            "data": {"greet": "{inputs.name}"},
            "timeout_sec": 10,
            "show_data": True,
            "show_url": False,
        }
        for _ in range(2):  # its client belongs to the event loop of the first call
            result = client.execute("webhook", inputs={"name": "Ada"}, custom=custom)
            assert result.phase == Phase.SUCCEEDED, result.message
        assert received == [("POST", "/hook", {"greet": "Ada"}, "t")] * 2
        result = client.execute("webhook", custom=custom | {"url": f"{url}/elsewhere", "data": {}})
        assert result.phase == Phase.FAILED


@pytest.mark.parametrize("seconds", [0.6, 2])
def test_the_webhook_s_client_outlives_a_loop_that_was_late(
    venv: Venv, agenthost_command: Callable[..., Client], seconds: float
) -> None:
    program = [venv("connectors") / "agenthost-flytekit", "--task-types", "webhook", "--modules", "late"]
    client = agenthost_command(program, env={"PYTHONPATH": str(pathlib.Path(__file__).parent)})

    def hook(*request: Any) -> servers.Answer:
        time.sleep(0.05)  # as long as a network takes: who asks has to wait in its loop
        return 200, {}

    with servers.http(hook) as url, concurrent.futures.ThreadPoolExecutor(8) as threads:

        def post(late: float) -> str:
            custom = {"url": url, "method": "POST", "headers": {}, "data": {}, "timeout_sec": 10, "late": late}
            return client.execute("webhook", custom=custom).resource.message

        answers = [*threads.map(post, [0] * 4), *threads.map(post, [seconds, *[0] * 27])]
        assert answers == ["Webhook was successfully invoked!"] * 32


@pytest.fixture(scope="module")
def snowflake(venv: Venv, shared_host: Host, tmp_path_factory: pytest.TempPathFactory) -> Iterator[Client]:
    folder = tmp_path_factory.mktemp("snowflake")
    key = folder / "key"
    key.write_text(servers.private_key())
    with servers.fakesnow(venv("fakesnow"), folder) as env:
        secrets = {"snowflake_private_key": f"file://{key}"}
        yield shared_host({"snowflake": plugin(venv, "snowflake", env=env, secrets=secrets)})


SNOWFLAKE = {"user": "ada", "account": "org-analytics", "database": "DB", "schema": "PUBLIC", "warehouse": "WH"}


def test_snowflake_runs_a_query_with_parameters(snowflake: Client) -> None:
    job = snowflake.create(
        "snowflake",
        sql="select %(n)s * 2 as doubled, %(name)s as name",
        config=SNOWFLAKE,
        inputs={"n": 21, "name": "Ada"},
        outputs={"results": types_pb2.LiteralType(structured_dataset_type=types_pb2.StructuredDatasetType())},
    )
    meta = json.loads(job.meta)
    assert meta["has_output"] is True
    result = job.wait()
    assert result.phase == Phase.SUCCEEDED, result.message
    assert result.outputs is not None
    assert result.outputs["results"].uri == f"snowflake://ada:org-analytics/WH/DB/PUBLIC/{meta['query_id']}"
    assert [link.name for link in result.resource.log_links] == ["Snowflake Query Details"]


def test_snowflake_tells_what_is_wrong_with_a_statement(snowflake: Client) -> None:
    with pytest.raises(grpc.RpcError) as error:
        snowflake.create("snowflake", sql="select no_such_column from no_such_table", config=SNOWFLAKE)
    assert "agent Snowflake Connector: Create: ProgrammingError" in error.value.details()


@pytest.fixture
def sagemaker(venv: Venv, host: Host) -> Iterator[Client]:
    program = str(venv("sagemaker") / "agenthost-flytekit")
    with servers.moto(venv("moto")) as env:
        command = [program, "--task-types", "boto,sagemaker-endpoint"]
        yield host({"sagemaker": {"command": command, "env": env}})


def test_sagemaker_makes_an_endpoint_from_its_model_on(sagemaker: Client, tmp_path: pathlib.Path) -> None:
    def boto(method: str, config: dict[str, Any]) -> Any:
        custom = {"service": "sagemaker", "region": "us-east-1", "method": method, "config": config, "images": None}
        result = sagemaker.execute("boto", custom=custom, output_prefix=str(tmp_path))
        assert result.phase == Phase.SUCCEEDED, result.message
        assert result.outputs is not None
        return result.outputs["result"]

    role = "arn:aws:iam::123456789012:role/r"
    model = {"ModelName": "m", "ExecutionRoleArn": role, "PrimaryContainer": {"Image": "i"}}
    assert boto("create_model", model)["ModelArn"].endswith(":model/m")
    variant = {"VariantName": "v", "ModelName": "m", "InitialInstanceCount": 1, "InstanceType": "ml.t2.medium"}
    boto("create_endpoint_config", {"EndpointConfigName": "c", "ProductionVariants": [variant]})
    endpoint = {"region": "us-east-1", "config": {"EndpointName": "e", "EndpointConfigName": "c"}, "images": None}
    job = sagemaker.create("sagemaker-endpoint", custom=endpoint)
    result = job.wait()
    assert result.outputs is not None
    assert result.outputs["result"]["EndpointArn"].endswith(":endpoint/e")
    job.delete()


@pytest.fixture
def slurm(venv: Venv, host: Host, tmp_path: pathlib.Path) -> Iterator[Client]:
    with servers.slurm(venv("connectors"), tmp_path) as env:
        yield host({"slurm": plugin(venv, "slurm", env=env, sandbox={"read": [env["HOME"] + "/.ssh"]})})


def slurm_job(script: pathlib.Path, **ssh_config: Any) -> dict[str, Any]:
    return {
        "ssh_config": {"host": "cluster", "username": "ada", **ssh_config},
        "sbatch_config": {"partition": "debug"},
        "batch_script_path": str(script),
        "batch_script_args": ["Ada"],
    }


def test_slurm_runs_a_batch_job(slurm: Client, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "greet.slurm"
    script.write_text('while [ ! -e "$0.go" ]; do sleep 0.05; done; echo "Hello, $1"')
    job = slurm.create("slurm", custom=slurm_job(script))
    assert job.get().phase == Phase.RUNNING
    pathlib.Path(f"{script}.go").touch()
    result = job.wait()
    assert (result.phase, result.message) == (Phase.SUCCEEDED, "Hello, Ada\n")
    assert "--partition debug" in (tmp_path / "jobs" / "options").read_text()


def test_slurm_cancels_a_batch_job(slurm: Client, tmp_path: pathlib.Path) -> None:
    script = tmp_path / "endless.slurm"
    script.write_text("sleep 3600")
    job = slurm.create("slurm", custom=slurm_job(script))
    assert job.get().phase == Phase.RUNNING
    job.delete()
    assert job.get().phase == Phase.FAILED


def test_slurm_that_exits_fails_one_call_and_not_the_plugin(slurm: Client, tmp_path: pathlib.Path) -> None:
    """Its connector calls sys.exit where a login node does not answer."""
    script = tmp_path / "quick.slurm"
    script.write_text("echo quick")
    running = slurm.create("slurm", custom=slurm_job(script))
    unreachable = slurm_job(script, host="nowhere", client_keys=[str(tmp_path / ".ssh" / "key")])
    with pytest.raises(grpc.RpcError) as error:
        slurm.create("slurm", custom=unreachable)
    assert "agent Slurm Script Connector: Create: the call tried to end the process" in error.value.details()
    assert running.wait().phase == Phase.SUCCEEDED
    assert not [line for line in slurm.output if '"exit' in line and "slurm" in line]
