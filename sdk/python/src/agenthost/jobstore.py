"""Jobs in files, which outlive the process that made them: for agents with no service behind them that remembers.

>>> import dataclasses, tempfile
>>> from agenthost.jobstore import JobStore
>>> @dataclasses.dataclass
... class Job:
...     rows: int = 0
>>> store = JobStore(tempfile.mkdtemp(), Job)        # sandbox: {write: [the folder]}
>>> store.add("key", Job())                          # in create: the first of an attempt counts
(Job(rows=0), True)
>>> def count(job: Job) -> None:
...     job.rows += 1
>>> store.update("key", count)                       # behind the calls
Job(rows=1)
>>> store.get("key")                                 # in get
Job(rows=1)

A folder holds one JSON file a job, which is replaced as a whole: whoever reads sees one state or the next, also after a
crash. Any number of processes use it at a time, such as a newer generation of the plugin while the older one drains.
The files are those of the other SDKs. A job type may get further fields with defaults: what an older file lacks has its
default, and a newer one's are dropped where an older process writes it again.

The methods wait for the disk, and for others' changes: `await asyncio.to_thread(store.add, …)` where that is long.
"""

from __future__ import annotations

import contextlib
import fcntl
import json
import logging
import os
import pathlib
import tempfile
import time
import urllib.parse
from collections.abc import Callable, Iterator
from typing import Any, Generic, TypeVar

import pydantic

from agenthost.agent import FailedPrecondition, InvalidArgument, NotFound
from agenthost.agent._kept import check_same

_log = logging.getLogger("agenthost")

J = TypeVar("J")

_FORMAT = 1
"""The version of the files: those of a higher one are left alone."""
_SUFFIX = ".json"
_NEW = ".new-"
_MAX_NAME = 255
_ABANDONED = 3600.0
"""How old in seconds a file is that was begun and is no job yet, until it is removed."""


class JobStore(Generic[J]):
    """A folder of jobs. Its methods may be called at any time, in any thread, by any process."""

    def __init__(self, folder: str | os.PathLike[str], type: type[J]) -> None:
        """Opens a folder, which is made where it is missing, for its owner alone.

        :param type: of the jobs: a dataclass, or whatever pydantic reads from JSON.
        """
        self._folder = pathlib.Path(folder)
        self._adapter: pydantic.TypeAdapter[J] = pydantic.TypeAdapter(type)
        try:
            self._folder.mkdir(mode=0o700, parents=True, exist_ok=True)
            with self._locked():
                self._clear_up()
        except OSError as e:
            raise FailedPrecondition(
                f"the job store cannot be opened (does the plugin's sandbox have it in `write:`?): {e}"
            ) from e

    def add(self, id: str, job: J) -> tuple[J, bool]:
        """Keeps a job unless there is one of that id, made by whichever process. Returns the one that is kept, and
        whether it is this one."""
        with self._locked():
            try:
                return self.get(id), False
            except NotFound:
                self._write(id, job)
                return job, True

    def put(self, id: str, job: J) -> None:
        """Keeps a job in the place of one of the same id."""
        with self._locked():
            self._write(id, job)

    def update(self, id: str, change: Callable[[J], J | None]) -> J:
        """Changes a job, and returns it. No other change comes between; nothing changes where the function raises.

        :param change: changes the job that it gets, or returns another.
        :raises NotFound: there is no such job.
        """
        with self._locked():
            job = self.get(id)
            changed = change(job)
            if changed is not None:
                job = changed
            self._write(id, job)
            return job

    def get(self, id: str) -> J:
        """A job.

        :raises NotFound: there is none.
        :raises FailedPrecondition: its file cannot be read; the message names it.
        """
        return self._read(self._path(id), id)

    def delete(self, id: str) -> None:
        """Forgets a job. One that is not there is forgotten already."""
        path = self._path(id)
        with self._locked():
            path.unlink(missing_ok=True)

    def jobs(self) -> dict[str, J]:
        """All jobs by their ids. Those that cannot be read are missing, and the log names their files."""
        found = {}
        for path in sorted(self._folder.glob(f"*{_SUFFIX}")):
            if path.name.startswith("."):
                continue
            id = urllib.parse.unquote_plus(path.name.removesuffix(_SUFFIX))
            try:
                found[id] = self._read(path, id)
            except NotFound:  # it was deleted meanwhile
                continue
            except FailedPrecondition as e:
                _log.warning("a job's file is left out", extra={"error": str(e)})
        return found

    def _path(self, id: str) -> pathlib.Path:
        try:
            name = urllib.parse.quote_plus(id, safe="") + _SUFFIX
        except UnicodeEncodeError:  # a surrogate
            name = ""
        if name.startswith("."):
            name = f"%2E{name[1:]}"
        if not id or not name or len(name) > _MAX_NAME:
            raise InvalidArgument(
                f"the id of a job must have 1 to {_MAX_NAME - len(_SUFFIX)} bytes, as a file's name without {_SUFFIX}: "
                f"{id!r}"
            )
        return self._folder / name

    def _read(self, path: pathlib.Path, id: str) -> J:
        try:
            data = path.read_bytes()
        except FileNotFoundError:
            raise NotFound(f'there is no job "{id}"') from None
        except OSError as e:
            raise FailedPrecondition(f'job "{id}" cannot be read: {e}') from e
        try:
            whole = json.loads(data)
            version = whole["format"]
            if not isinstance(version, int) or version < 1:
                raise ValueError
        except (ValueError, TypeError, KeyError):
            raise FailedPrecondition(
                f"{path} is not the file of a job: it is damaged, or of something else; remove it to go on without the "
                "job"
            ) from None
        if version > _FORMAT:
            raise FailedPrecondition(
                f"{path} has format {version}, and this version of the plugin reads up to {_FORMAT}: a newer one has "
                "written it"
            )
        try:
            return self._adapter.validate_python(whole.get("job"))
        except pydantic.ValidationError as e:
            raise FailedPrecondition(f"{path} has a job of another type: {e}") from e

    def _write(self, id: str, job: J) -> None:
        """Replaces a job's file as a whole, and returns when it is on the disk."""
        path = self._path(id)
        try:
            value: Any = self._adapter.dump_python(job, mode="json", warnings=False)
            data = json.dumps({"format": _FORMAT, "job": value}, ensure_ascii=False, allow_nan=False).encode()
            again = self._adapter.validate_python(json.loads(data)["job"])
        except Exception as e:
            raise TypeError(f'job "{id}" cannot be written as JSON and read back: {e}') from e
        check_same(f'job "{id}"', job, again)
        descriptor, fresh = tempfile.mkstemp(prefix=_NEW, dir=self._folder)
        try:
            with os.fdopen(descriptor, "wb") as file:
                file.write(data + b"\n")
                file.flush()
                os.fsync(file.fileno())
            os.replace(fresh, path)
        except BaseException:
            with contextlib.suppress(OSError):
                os.unlink(fresh)
            raise
        self._sync()

    def _sync(self) -> None:
        """Sees to it that a new name is on the disk."""
        folder = os.open(self._folder, os.O_RDONLY)
        try:
            os.fsync(folder)
        finally:
            os.close(folder)

    def _clear_up(self) -> None:
        """Removes what processes left that ended while they wrote."""
        for path in self._folder.glob(f"{_NEW}*"):
            with contextlib.suppress(FileNotFoundError):
                if time.time() - path.stat().st_mtime >= _ABANDONED:
                    path.unlink()

    @contextlib.contextmanager
    def _locked(self) -> Iterator[None]:
        """While no other process, and nobody else in this one, changes the folder."""
        lock = os.open(self._folder / ".lock", os.O_RDWR | os.O_CREAT, 0o600)
        try:
            fcntl.flock(lock, fcntl.LOCK_EX)
            yield
        finally:
            os.close(lock)  # with which the lock goes
