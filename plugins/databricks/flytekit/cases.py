"""The tasks that real flytekit makes for the tests of the databricks plugin."""

from __future__ import annotations

import logging
from collections.abc import Iterator
from dataclasses import dataclass
from typing import Any

from flytekit import task
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.core.base_task import PythonTask

logging.disable(logging.WARNING)  # Databricks says that it is deprecated, which is what is to be tested.

from flytekitplugins.spark import Databricks, DatabricksV2, Spark  # noqa: E402

SETTINGS = SerializationSettings(
    project="analytics",
    domain="production",
    version="v1",
    env={"TZ": "UTC", "STAGE": "test"},
    image_config=ImageConfig(Image("default", "example.com/flytekit", "v1")),
)

CLUSTER: dict[str, Any] = {"spark_version": "15.4.x-scala2.12", "node_type_id": "m5.xlarge", "num_workers": 2}
GIT = {"git_url": "https://example.com/jobs.git", "git_provider": "gitLab", "git_branch": "main"}


@dataclass
class Case:
    name: str
    task: PythonTask


def all_cases() -> list[Case]:
    cases = [*classic(), *serverless(), *notebooks(), *refused()]
    names = [case.name for case in cases]
    assert len(set(names)) == len(names), f"two cases share a name: {names}"
    return cases


def program(n: int) -> int:
    return n + 1


def python_task(name: str, config: Any, **arguments: Any) -> Case:
    return Case(name, task(task_config=config, **arguments)(program))


def v2(name: str, conf: dict[str, Any], **config: Any) -> Case:
    return python_task(name, DatabricksV2(databricks_conf={"run_name": name, **conf}, **config))


def classic() -> Iterator[Case]:
    yield v2("new_cluster", {"new_cluster": CLUSTER}, spark_conf={"spark.executor.memory": "4g"})
    yield v2("new_cluster_without_spark_conf", {"new_cluster": CLUSTER})
    yield v2(
        "new_cluster_with_everything",
        {
            "new_cluster": {
                **CLUSTER,
                "docker_image": {"url": "example.com/spark:1"},
                "spark_conf": {"spark.speculation": "true"},
                "spark_env_vars": {"STAGE": "overwritten", "KEPT": "1"},
                "aws_attributes": {"availability": "SPOT_WITH_FALLBACK", "first_on_demand": 1},
            },
            "timeout_seconds": 3600,
            "libraries": [{"pypi": {"package": "shapely==2.0.6"}}],
        },
        spark_conf={"spark.ignored": "true"},
        databricks_instance="dbc-1.cloud.databricks.com",
    )
    yield v2("empty_parts", {"new_cluster": {**CLUSTER, "docker_image": {}, "spark_conf": {}, "spark_env_vars": {}}})
    yield v2("existing_cluster", {"existing_cluster_id": "0923-164208-meows279"})
    yield v2("existing_cluster_beside_an_environment", {"existing_cluster_id": "1", "environments": []})
    yield v2("own_program", {"new_cluster": CLUSTER, "git_source": GIT, "python_file": "jobs/run.py"})
    yield python_task(
        "deprecated",
        Databricks(
            spark_conf={"spark.a": "b"},
            hadoop_conf={},
            databricks_conf={"run_name": "deprecated", "new_cluster": CLUSTER},
            databricks_instance="adb-1.2.azuredatabricks.net",
        ),
        environment={"OF_THE_TASK": "yes"},
    )


def serverless() -> Iterator[Case]:
    spec = {"client": "2", "dependencies": ["pandas==2.2.3"]}
    yield v2("serverless", {"environment_key": "default"})
    yield v2("serverless_key", {"environment_key": "ml"}, databricks_service_credential_provider="storage")
    yield v2(
        "serverless_environments",
        {
            "environment_key": "ml",
            "environments": [
                {"environment_key": "default", "spec": {"client": "1"}},
                {"environment_key": "ml", "spec": {**spec, "environment_vars": {"STAGE": "overwritten", "KEPT": "1"}}},
            ],
        },
    )
    yield v2("serverless_without_key", {"environments": [{"environment_key": "ml", "spec": spec}]})
    yield v2(
        "serverless_program",
        {"environment_key": "default", "git_source": GIT, "python_file": "jobs/run.py", "queue": {"enabled": True}},
    )


def notebooks() -> Iterator[Case]:
    where = "/Users/ada@example.com/report"
    yield v2("notebook", {"new_cluster": CLUSTER}, notebook_path=where, notebook_base_parameters={"day": "monday"})
    yield v2("notebook_on_a_cluster", {"existing_cluster_id": "1"}, notebook_path=where)
    yield v2("notebook_from_git", {"existing_cluster_id": "1", "git_source": GIT}, notebook_path="reports/daily")
    yield v2("notebook_serverless", {"environment_key": "default"}, notebook_path=where)


def refused() -> Iterator[Case]:
    yield v2("no_compute", {})
    yield v2("no_environments", {"environments": [], "environment_key": ""})
    yield python_task("plain_spark", Spark(spark_conf={"spark.a": "b"}))
