"""The first thing between a plugin and its host: who started us, and one line on standard output."""

from __future__ import annotations

import os
import shutil
import sys
import tempfile
from collections.abc import Mapping
from dataclasses import dataclass

from . import _contract
from ._errors import LoadError

_LONGEST_SOCKET_PATH = 107
"""What a unix socket's address has room for."""


def check(environment: Mapping[str, str], hint: str) -> None:
    """Raises LoadError unless a host started this process that speaks our protocol."""
    if environment.get(_contract.MAGIC_COOKIE_KEY) != _contract.MAGIC_COOKIE_VALUE:
        raise LoadError(hint)
    offered = environment.get("PLUGIN_PROTOCOL_VERSIONS", _contract.PROTOCOL_VERSION)
    if _contract.PROTOCOL_VERSION not in [version.strip() for version in offered.split(",")]:
        raise LoadError(
            f"the host speaks the plugin protocol in version {offered}, this plugin in version "
            f"{_contract.PROTOCOL_VERSION}: use a host and a plugin of the same age"
        )


def divert_stdout() -> int:
    """Sends what is printed from now on, also by native code, to standard error. Returns the real standard output."""
    sys.stdout.flush()
    real = os.dup(1)
    os.dup2(2, 1)
    # Lines, not blocks: what a plugin printed must not wait for its end.
    for stream in (sys.stdout, sys.stderr):
        reconfigure = getattr(stream, "reconfigure", None)
        if reconfigure is not None:
            reconfigure(line_buffering=True)
    return real


@dataclass
class Socket:
    """Where the plugin listens: a unix socket in a folder that nobody else can enter."""

    path: str
    _folder: str | None

    def remove(self) -> None:
        if self._folder is not None:
            shutil.rmtree(self._folder, ignore_errors=True)
        elif os.path.exists(self.path):
            os.remove(self.path)


def make_socket(environment: Mapping[str, str]) -> Socket:
    """Chooses a socket in the host's folder, or in a private one if there is none or its name is too long."""
    folder, name = environment.get("PLUGIN_UNIX_SOCKET_DIR"), f"plugin-{os.getpid()}"
    if folder and len(os.fsencode(os.path.join(folder, name))) <= _LONGEST_SOCKET_PATH:
        return Socket(os.path.join(folder, name), None)
    for parent in (None, "/tmp"):
        private = tempfile.mkdtemp(prefix="plugin-", dir=parent)
        path = os.path.join(private, "s")
        if len(os.fsencode(path)) <= _LONGEST_SOCKET_PATH:
            return Socket(path, private)
        os.rmdir(private)
    raise LoadError(f"no folder for a unix socket has a name short enough (at most {_LONGEST_SOCKET_PATH} bytes)")


def announce(real_stdout: int, socket: Socket, certificate: str) -> None:
    """Writes the handshake line, and closes standard output behind it: nothing else may follow."""
    line = f"1|{_contract.PROTOCOL_VERSION}|unix|{socket.path}|grpc|{certificate}\n"
    with os.fdopen(real_stdout, "w", encoding="ascii", errors="surrogateescape") as out:
        out.write(line)
