import json
import pathlib
import sys
import threading
from collections.abc import Callable, Iterator
from contextlib import AbstractContextManager
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer

import pytest
from reports import plugin

from agenthost.agent import Phase, StructuredDataset
from agenthost.testing import Client, command


class Service(ThreadingHTTPServer):
    """What the reports are made by: a job is done when it is asked for a third time."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.jobs: dict[str, int] = {}
        self.url = f"http://127.0.0.1:{self.server_port}"


class Handler(BaseHTTPRequestHandler):
    server: Service

    def do_PUT(self) -> None:
        self.rfile.read(int(self.headers["content-length"]))
        self.server.jobs.setdefault(self.path, 0)
        self.answer(200)

    def do_GET(self) -> None:
        if self.path not in self.server.jobs:
            return self.answer(404)
        self.server.jobs[self.path] += 1
        done = self.server.jobs[self.path] > 2
        said = {"state": "done", "rows": 10} if done else {"state": "running", "rows": 4, "of": 10}
        self.answer(200, json.dumps(said))

    def do_DELETE(self) -> None:
        self.answer(200 if self.server.jobs.pop(self.path, None) is not None else 404)

    def answer(self, status: int, body: str = "") -> None:
        self.send_response(status if self.headers["authorization"] == "Bearer hush" else 403)
        self.send_header("content-length", str(len(body)))
        self.end_headers()
        self.wfile.write(body.encode())

    def log_message(self, format: str, *args: object) -> None:
        """Not on the test's terminal."""


@pytest.fixture
def service() -> Iterator[Service]:
    with Service() as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        yield server
        server.shutdown()


def start(service: Service) -> AbstractContextManager[Client]:
    program = pathlib.Path(__file__).with_name("reports.py")
    return command([sys.executable, str(program)], env={"_FSEC_REPORT_TOKEN": "hush"})  # as the host gives it a secret


def test_a_report_is_made_across_a_restart(service: Service) -> None:
    config = {"service": service.url, "token": "report_token", "patience": "5m"}
    task = {"inputs": {"statement": "select 1"}, "output_prefix": "s3://outputs/0", "idempotency_key": "5" * 64}
    with start(service) as first:
        assert first.configure(config) == []
        job = first.create("report", **task)
        assert job.get().message == "40%: 4 of 10 rows"
    with start(service) as second:  # the next process has the job's metadata alone
        assert second.configure(config) == []
        done = second.job("report", job.meta).wait()
        table = StructuredDataset("s3://outputs/0/report.parquet", "parquet", {"city": "STRING"})
        assert (done.phase, done.outputs) == (Phase.SUCCEEDED, {"rows": 10, "table": table})
        second.create("report", **task)  # the same attempt again makes no other job
        assert list(service.jobs) == [f"/jobs/{'5' * 64}"]
        second.job("report", job.meta).delete()
        second.job("report", job.meta).delete()
        assert "reports_begun_total 1.0" in second.metrics()


def test_a_wrong_configuration_is_named(agenthost_run: Callable[..., Client], service: Service) -> None:
    client = agenthost_run(plugin())
    errors = client.configure({"service": service.url, "token": "absent", "patience": "soon"})
    assert [error.key for error in errors] == ["patience"]
    errors = client.configure({"service": service.url, "token": "absent", "patience": "5m"})
    assert [(error.key, error.message.split(":")[0]) for error in errors] == [("token", 'there is no secret "absent"')]
