"""Writes what an agent leaves beside its outputs, by fsspec: files, which are outputs by their uri, and a deck.

>>> import tempfile
>>> from agenthost import storage
>>> prefix = tempfile.mkdtemp()                                      # task.output_prefix, in an agent
>>> report = storage.write(prefix, "report.csv", "city,rows")        # in an async method: await storage.awrite(…)
>>> report.format, open(report.uri).read()
('csv', 'city,rows')
>>> storage.write_deck(prefix, "<h1>Report</h1>")

A prefix is a folder (an absolute path, or file://) or whatever fsspec has a package for: s3:// with s3fs, gs:// with
gcsfs, abfs:// with adlfs. They are configured as their clouds' own tools are (AWS_REGION, AWS_ENDPOINT_URL,
credentials). The plugin's sandbox must have a folder in `write:`. fsspec comes with `agenthost[storage]`, and s3fs with
`agenthost[s3]`.
"""

from __future__ import annotations

import asyncio
import contextlib
import io
import mimetypes
import os
import pathlib
import posixpath
import shutil
import tempfile
import uuid
from collections.abc import Iterator
from typing import IO, Any, Union

import fsspec

from agenthost.agent import FailedPrecondition, File, InvalidArgument, Unavailable

Content = Union[str, bytes, "os.PathLike[str]", IO[bytes]]
"""What a file is written from: a text, bytes, a file on this machine, or something to read bytes from."""

_DECK = "deck.html"
"""The file below an output prefix that Flyte shows as the task's deck."""

_CONTENT_TYPE = {"s3": "ContentType", "s3a": "ContentType", "gs": "content_type", "gcs": "content_type"}
"""What file systems call the argument that has a file's type."""


async def awrite(prefix: str, name: str, content: Content) -> File:
    """Like `write`, in a thread, for async methods."""
    return await asyncio.to_thread(write, prefix, name, content)


async def awrite_deck(prefix: str, html: str) -> None:
    """Like `write_deck`, in a thread, for async methods."""
    await asyncio.to_thread(write_deck, prefix, html)


def write_deck(prefix: str, html: str) -> None:
    """Writes the HTML that Flyte's console shows as the task's deck.

    It is shown to users as it is: what is not HTML in it must be escaped, as html.escape does.
    """
    write(prefix, _DECK, html)


def write(prefix: str, name: str, content: Content) -> File:
    """Writes a file below a task's output prefix, whole or not at all, and returns it as the task's output.

    :param name: may have folders in it; its ending is the file's format.
    :raises Unavailable: it will work again by itself; FailedPrecondition where it will not.
    """
    if not name or name != posixpath.normpath(name) or name.startswith(("/", "../")) or name in (".", ".."):
        raise InvalidArgument(f"a file below the output prefix must have a plain name, got {name!r}")
    if not prefix:
        raise InvalidArgument(f"{name} cannot be written: the task has no output prefix")
    uri = f"{prefix.rstrip('/')}/{name}"
    system, path = _open(prefix, uri)
    protocol = system.protocol if isinstance(system.protocol, str) else system.protocol[0]
    try:
        if "file" in (protocol, *system.protocol):
            _write_local(path, content)
        else:
            _write_remote(system, protocol, path, content)
    except (FileNotFoundError, NotADirectoryError, IsADirectoryError, PermissionError) as e:
        raise FailedPrecondition(f"{name} cannot be written below {prefix}: {e}") from e
    except Exception as e:
        raise Unavailable(f"{name} cannot be written below {prefix}: {e or type(e).__name__}") from e
    return File(uri, posixpath.splitext(name)[1].removeprefix("."))


def _open(prefix: str, uri: str) -> tuple[Any, str]:
    options: dict[str, Any] = {}
    endpoint = os.environ.get("AWS_ENDPOINT_URL_S3") or os.environ.get("AWS_ENDPOINT_URL")
    if uri.startswith(("s3://", "s3a://")) and endpoint:  # what is not AWS' own has no name for each bucket
        options["config_kwargs"] = {"s3": {"addressing_style": "path"}}
    try:
        if "://" not in uri and not os.path.isabs(uri):
            raise ValueError("it is neither an absolute path nor an address")
        system, path = fsspec.core.url_to_fs(uri, **options)
    except (ImportError, ValueError) as e:
        raise FailedPrecondition(f"the output prefix {prefix} cannot be opened: {e}") from e
    return system, path


def _write_local(path: str, content: Content) -> None:
    """By a file beside it, which then takes its name: a rename from elsewhere may not be one."""
    folder = os.path.dirname(path)
    os.makedirs(folder, exist_ok=True)
    fresh = os.path.join(folder, f".new-{uuid.uuid4().hex}")
    try:
        with _reading(content) as source, open(fresh, "wb") as file:
            shutil.copyfileobj(source, file)
        os.replace(fresh, path)
    except BaseException:
        with contextlib.suppress(OSError):
            os.unlink(fresh)
        raise


def _write_remote(system: Any, protocol: str, path: str, content: Content) -> None:
    kind, _ = mimetypes.guess_type(path)
    options = {_CONTENT_TYPE[protocol]: kind} if kind and protocol in _CONTENT_TYPE else {}
    if isinstance(content, (str, bytes)):
        system.pipe_file(path, content.encode() if isinstance(content, str) else content, **options)
    elif isinstance(content, os.PathLike):
        system.put_file(os.fspath(content), path, **options)
    else:
        # Read to its end first: fsspec commits what it has when the source breaks.
        with tempfile.TemporaryDirectory() as folder:
            whole = pathlib.Path(folder, "content")
            with whole.open("wb") as file:
                shutil.copyfileobj(content, file)
            system.put_file(str(whole), path, **options)


@contextlib.contextmanager
def _reading(content: Content) -> Iterator[IO[bytes]]:
    if isinstance(content, (str, bytes)):
        yield io.BytesIO(content.encode() if isinstance(content, str) else content)
    elif isinstance(content, os.PathLike):
        with open(content, "rb") as file:
            yield file
    else:
        yield content
