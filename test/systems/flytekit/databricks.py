"""Tasks of flytekitplugins-spark for Databricks. A run is named after its case, by which its life is scripted."""

import logging

from flytekit import task

logging.disable(logging.WARNING)  # Databricks says that it is deprecated, which is what is to be tested.

from flytekitplugins.spark import Databricks, DatabricksV2  # noqa: E402

CLUSTER = {"spark_version": "15.4.x-scala2.12", "node_type_id": "m5.xlarge", "num_workers": 2}
EXISTING = {"existing_cluster_id": "0923-164208-meows279"}


def program(n: int) -> int:
    return n + 1


def report() -> None:
    """A notebook, which writes no outputs."""


def cases(case):
    def run(name, conf, fails="", function=program, **config):
        config = DatabricksV2(databricks_conf={"run_name": name, **conf}, **config)
        return case(name, task(task_config=config)(function), inputs(function), fails)

    def notebook(name, conf):
        return run(name, conf, function=report, notebook_path="/Users/ada@example.com/report")

    def deprecated(name):
        config = Databricks(databricks_conf={"run_name": name, "new_cluster": CLUSTER})
        return case(name, task(task_config=config)(program), inputs(program))

    return [
        run("new-cluster", {"new_cluster": CLUSTER}, spark_conf={"spark.executor.memory": "4g"}),
        run("existing-cluster", EXISTING),
        run("serverless", {"environment_key": "default"}),
        notebook("notebook", {"new_cluster": CLUSTER}),
        notebook("serverless-notebook", {"environment_key": "default"}),
        deprecated("deprecated"),
        run("bad-code", EXISTING, fails="Workload failed"),
        run("too-long", EXISTING, fails="Run timed out"),
        run("cancelled", EXISTING, fails="failed to run the job"),
        run("databricks-fails", EXISTING, fails="Unexpected error"),
        run("spot-lost", EXISTING, fails="SPOT_INSTANCE_TERMINATION"),
        run("no-compute", {}, fails="databricks_conf"),
        run("refused", {**EXISTING, "git_source": {"git_url": "https://example.com/jobs.git"}}, fails="git_provider"),
        # States that flytekit's connector does not know.
        run("queued", EXISTING),
        run("retried-by-databricks", EXISTING),
        run("partly-successful", EXISTING, fails="Unrecognized state: success_with_failures"),
    ]


def inputs(function):
    return {"n": 7} if function is program else {}
