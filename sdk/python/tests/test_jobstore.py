"""Jobs in files: they outlive whoever made them, and processes that use them at a time lose nothing of each other's."""

from __future__ import annotations

import concurrent.futures
import dataclasses
import json
import os
import pathlib
import signal
import subprocess
import sys
import threading
from typing import Any

import pytest

from agenthost.agent import FailedPrecondition, InvalidArgument, NotFound
from agenthost.jobstore import JobStore


@dataclasses.dataclass
class Job:
    count: int = 0
    by: str = ""


def count(job: Job) -> None:
    job.count += 1


@pytest.mark.parametrize("id", ["a", "..", ".hidden", "a/b", "ä b%", "f" * 64])
def test_a_job_outlives_who_made_it(id: str, tmp_path: pathlib.Path) -> None:
    folder = tmp_path / "made" / "here"
    assert JobStore(folder, Job).add(id, Job(1)) == (Job(1), True)
    assert JobStore(folder, Job).add(id, Job(2)) == (Job(1), False)
    assert JobStore(folder, Job).update(id, count) == Job(2)
    store = JobStore(folder, Job)
    assert (store.get(id), store.jobs()) == (Job(2), {id: Job(2)})
    assert store.update(id, lambda job: Job(7, "other")) == Job(7, "other")
    store.put(id, Job(9))
    assert store.get(id) == Job(9)
    for _ in range(2):
        store.delete(id)
    with pytest.raises(NotFound, match="there is no job"):
        store.get(id)
    with pytest.raises(NotFound):
        store.update(id, count)
    assert [path.name for path in folder.iterdir()] == [".lock"]
    assert folder.stat().st_mode & 0o777 == 0o700


@pytest.mark.parametrize("id", ["", "f" * 251, "ü" * 42, "\udc80"])
def test_what_is_no_files_name_is_refused(id: str, tmp_path: pathlib.Path) -> None:
    store = JobStore(tmp_path, Job)
    for call in (store.get, store.delete, lambda id: store.put(id, Job())):
        with pytest.raises(InvalidArgument, match="the id of a job must have 1 to 250 bytes"):
            call(id)


def test_a_change_that_raises_changes_nothing(tmp_path: pathlib.Path) -> None:
    store = JobStore(tmp_path, Job)
    store.put("a", Job(1))

    def half(job: Job) -> None:
        job.count = 5
        raise OSError("out of order")

    with pytest.raises(OSError, match="out of order"):
        store.update("a", half)
    assert store.get("a") == Job(1)


@dataclasses.dataclass
class Loose:
    value: Any = None


@pytest.mark.parametrize("value", [threading.Thread(), float("nan"), "\udc80", Job()])
def test_what_could_not_be_read_back_is_not_written(value: Any, tmp_path: pathlib.Path) -> None:
    store = JobStore(tmp_path, Loose)
    store.put("a", Loose(1))
    with pytest.raises(TypeError, match=r'job "a" (cannot be written as JSON and|is not) read back'):
        store.put("a", Loose(value))
    assert store.jobs() == {"a": Loose(1)}


@pytest.mark.parametrize(
    ("content", "said"),
    [
        (b"", "is not the file of a job: it is damaged"),
        (b"[1]", "is not the file of a job"),
        (b'{"format": 0, "job": {}}', "is not the file of a job"),
        (b'{"format": 2, "job": {}}', "has format 2, and this version of the plugin reads up to 1: a newer one"),
        (b'{"format": 1, "job": {"count": "many"}}', "has a job of another type"),
        (b'{"format": 1}', "has a job of another type"),
    ],
)
def test_a_file_that_is_no_job_is_named_and_hides_no_other(
    content: bytes, said: str, tmp_path: pathlib.Path, caplog: pytest.LogCaptureFixture
) -> None:
    store = JobStore(tmp_path, Job)
    store.put("good", Job(1))
    bad = tmp_path / "bad.json"
    bad.write_bytes(content)
    with pytest.raises(FailedPrecondition, match=f"{bad} {said}"):
        store.get("bad")
    assert store.jobs() == {"good": Job(1)}
    assert str(bad) in vars(caplog.records[0])["error"]
    assert bad.read_bytes() == content


def test_the_files_are_those_of_the_other_sdks_and_of_older_and_newer_versions(tmp_path: pathlib.Path) -> None:
    store = JobStore(tmp_path, Job)
    (tmp_path / "a+b%2Fc.json").write_text('{"format":1,"job":{"by":"go","newer":[1]}}\n')
    assert store.jobs() == {"a b/c": Job(0, "go")}
    store.update("a b/c", count)
    assert json.loads((tmp_path / "a+b%2Fc.json").read_text()) == {"format": 1, "job": {"count": 1, "by": "go"}}


def test_what_is_left_of_a_write_is_removed_when_it_is_old(tmp_path: pathlib.Path) -> None:
    old, fresh = tmp_path / ".new-old", tmp_path / ".new-fresh"
    for path in (old, fresh):
        path.touch()
    os.utime(old, (0, 0))
    assert JobStore(tmp_path, Job).jobs() == {}
    assert (old.exists(), fresh.exists()) == (False, True)


def test_a_folder_that_cannot_be_made_is_told_with_the_cure(tmp_path: pathlib.Path) -> None:
    (tmp_path / "file").touch()
    with pytest.raises(FailedPrecondition, match="does the plugin's sandbox have it in `write:`"):
        JobStore(tmp_path / "file" / "folder", Job)


COUNTING = """
import sys
sys.path.insert(0, sys.argv[2])
from test_jobstore import Job, JobStore, count
store = JobStore(sys.argv[1], Job)
print("open", flush=True)
for _ in range(int(sys.argv[3])):
    store.update("a", count)
"""


def counting(folder: pathlib.Path, times: int) -> subprocess.Popen[str]:
    tests = str(pathlib.Path(__file__).parent)
    command = [sys.executable, "-c", COUNTING, str(folder), tests, str(times)]
    return subprocess.Popen(command, stdout=subprocess.PIPE, text=True)


def test_processes_and_threads_lose_no_change_of_each_others(tmp_path: pathlib.Path) -> None:
    store = JobStore(tmp_path, Job)
    store.add("a", Job())
    processes = [counting(tmp_path, 15) for _ in range(2)]
    with concurrent.futures.ThreadPoolExecutor(4) as threads:
        list(threads.map(lambda _: store.update("a", count), range(20)))
    for process in processes:
        process.communicate(timeout=60)
        assert process.returncode == 0
    assert store.get("a") == Job(50)


def test_a_process_that_is_killed_while_it_writes_leaves_a_whole_job(tmp_path: pathlib.Path) -> None:
    store = JobStore(tmp_path, Job)
    store.add("a", Job())
    for _ in range(2):
        before = store.get("a").count
        process = counting(tmp_path, 10**9)
        assert process.stdout is not None
        process.stdout.readline()
        while store.get("a").count < before + 5:
            assert process.poll() is None
        process.send_signal(signal.SIGKILL)
        process.communicate()
        at = store.get("a").count
        assert store.update("a", count) == Job(at + 1)
