"""Files and a deck beside the outputs, in a folder and in a bucket, whole or not at all."""

from __future__ import annotations

import asyncio
import io
import os
import pathlib
import threading
from collections.abc import Iterator
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

import fsspec
import pytest

from agenthost import storage
from agenthost.agent import FailedPrecondition, File, InvalidArgument, Unavailable, running


def files(folder: pathlib.Path) -> dict[str, str]:
    return {str(path.relative_to(folder)): path.read_text() for path in folder.rglob("*") if path.is_file()}


@pytest.mark.parametrize("scheme", ["", "file://"])
def test_a_file_is_written_below_a_folder(scheme: str, tmp_path: pathlib.Path) -> None:
    prefix = f"{scheme}{tmp_path}/a/0"
    local = tmp_path / "local.bin"
    local.write_bytes(b"local")
    made = [
        storage.write(prefix, "tables/report.csv", "1,2\n"),
        storage.write(f"{prefix}/", "b", b"bytes"),
        asyncio.run(storage.awrite(prefix, "c.bin", local)),
        storage.write(prefix, "d.tar.gz", io.BytesIO(b"stream")),
    ]
    asyncio.run(storage.awrite_deck(prefix, "<p>"))
    storage.write(prefix, "b", b"anew")
    assert made == [
        File(f"{prefix}/tables/report.csv", "csv"),
        File(f"{prefix}/b", ""),
        File(f"{prefix}/c.bin", "bin"),
        File(f"{prefix}/d.tar.gz", "gz"),
    ]
    written = {"tables/report.csv": "1,2\n", "b": "anew", "c.bin": "local", "d.tar.gz": "stream", "deck.html": "<p>"}
    assert files(tmp_path / "a" / "0") == written


class Breaking(io.RawIOBase):
    """Something to read from that breaks."""

    def __init__(self) -> None:
        self.left = 3

    def read(self, size: int = -1) -> bytes:
        self.left -= 1
        if not self.left:
            raise OSError("the source broke")
        return b"x" * 1000


def test_a_file_is_written_whole_or_not_at_all(tmp_path: pathlib.Path, bucket: Bucket) -> None:
    for prefix in (str(tmp_path), "s3://outputs/a/0"):
        with pytest.raises(Unavailable, match=f"report.csv cannot be written below {prefix}: the source broke"):
            storage.write(prefix, "report.csv", Breaking())  # type: ignore[arg-type]
    assert (files(tmp_path), bucket.objects) == ({}, {})


@pytest.mark.parametrize("name", ["", "../a", "/a", "a/../b", "a//b", ".", "..", "a/"])
def test_what_is_no_name_is_refused(name: str, tmp_path: pathlib.Path) -> None:
    with pytest.raises(InvalidArgument, match="must have a plain name"):
        storage.write(str(tmp_path), name, "")


@pytest.mark.parametrize(
    ("prefix", "error", "said"),
    [
        ("", InvalidArgument, "a cannot be written: the task has no output prefix"),
        ("relative/a", FailedPrecondition, "cannot be opened: it is neither an absolute path nor an address"),
        ("nowhere://b/a", FailedPrecondition, "cannot be opened: Protocol not known: nowhere"),
        ("/dev/null/a", FailedPrecondition, "a cannot be written below /dev/null/a"),
    ],
)
def test_what_is_no_prefix_is_refused(prefix: str, error: type[Exception], said: str) -> None:
    with pytest.raises(error, match=said):
        storage.write(prefix, "a", "")


class Bucket(ThreadingHTTPServer):
    """Takes what is put into it as S3 does."""

    def __init__(self) -> None:
        super().__init__(("127.0.0.1", 0), Handler)
        self.objects: dict[str, tuple[str, bytes]] = {}
        self.status = 200


class Handler(BaseHTTPRequestHandler):
    protocol_version = "HTTP/1.1"
    server: Bucket

    def do_PUT(self) -> None:
        body = self.rfile.read(int(self.headers.get("content-length", 0)))
        if self.server.status == 200:
            self.server.objects[self.path] = (self.headers.get("content-type", ""), body)
        self.send_response(self.server.status)
        self.send_header("etag", '"0"')
        self.send_header("content-length", "0")
        self.end_headers()

    def log_message(self, format: str, *args: Any) -> None:
        """Not on the test's terminal."""


@pytest.fixture
def bucket(monkeypatch: pytest.MonkeyPatch) -> Iterator[Bucket]:
    server = Bucket()
    threading.Thread(target=server.serve_forever, daemon=True).start()
    for name, value in {
        "AWS_ENDPOINT_URL": f"http://127.0.0.1:{server.server_port}",
        "AWS_ACCESS_KEY_ID": "key",
        "AWS_SECRET_ACCESS_KEY": "secret",
        "AWS_REGION": "eu-west-1",
        "AWS_DEFAULT_REGION": "eu-west-1",
        "AWS_CONFIG_FILE": os.devnull,
        "AWS_SHARED_CREDENTIALS_FILE": os.devnull,
        "AWS_EC2_METADATA_DISABLED": "true",
    }.items():
        monkeypatch.setenv(name, value)
    fsspec.get_filesystem_class("s3").clear_instance_cache()
    yield server
    server.shutdown()
    server.server_close()
    fsspec.get_filesystem_class("s3").clear_instance_cache()


def test_a_file_is_written_to_a_bucket(bucket: Bucket, tmp_path: pathlib.Path) -> None:
    local = tmp_path / "local.csv"
    local.write_bytes(b"local")
    made = storage.write("s3://outputs/a/0", "report.csv", local)
    asyncio.run(storage.awrite_deck("s3://outputs/a/0", "<p>ä"))
    storage.write("s3://outputs/a/0", "c", io.BytesIO(b"stream"))
    assert made == File("s3://outputs/a/0/report.csv", "csv")
    kinds = {path: kind for path, (kind, _) in bucket.objects.items()}
    assert kinds["/outputs/a/0/report.csv"] == "text/csv"
    assert kinds["/outputs/a/0/deck.html"] == "text/html"
    assert [body for _, body in bucket.objects.values()] == [b"local", "<p>ä".encode(), b"stream"]


def test_a_bucket_that_refuses_is_told(bucket: Bucket) -> None:
    bucket.status = 403
    with pytest.raises(FailedPrecondition, match="a cannot be written below s3://outputs/a/0"):
        storage.write("s3://outputs/a/0", "a", "")


@pytest.mark.parametrize(
    ("fraction", "text", "message", "progress"),
    [
        (0.4, "4 of 10 files", "40%: 4 of 10 files", 0.4),
        (0.29, "", "29%", 0.29),
        (7, "done", "100%: done", 1.0),
        (-1, "", "0%", 0.0),
        (float("nan"), "", "0%", 0.0),
    ],
)
def test_progress_is_a_fraction_and_a_text(fraction: float, text: str, message: str, progress: float) -> None:
    resource = running().with_progress(fraction, text)
    assert (resource.message, resource.info) == (message, {"progress": progress})
