"""A plugin as the host starts it: handshake, mutual TLS, log."""

from __future__ import annotations

import base64
import contextlib
import os
import queue
import ssl
import subprocess
import tempfile
import threading
from collections.abc import Iterable, Iterator, Mapping, Sequence
from typing import IO, Any

import grpc

from agenthost.plugin import _certificate, _contract

from ._client import TIMEOUT, Client

_START_TIMEOUT = 60.0


@contextlib.contextmanager
def command(
    arguments: Sequence[str], *, env: Mapping[str, str] | None = None, cwd: str | None = None, tls: bool = True
) -> Iterator[Client]:
    """Starts a plugin's program, stops it when the block ends, and raises if that does not go in good order.

    :param env: variables besides those that every program needs; nothing else of this process's environment is passed.
    """
    with contextlib.ExitStack() as stack:
        folder = stack.enter_context(tempfile.TemporaryDirectory(prefix="agenthost-"))
        own = _certificate.make()
        process = subprocess.Popen(
            list(arguments),
            env=_environment(folder, own.certificate.decode() if tls else "", env or {}),
            cwd=cwd,
            stdin=subprocess.DEVNULL,
            stdout=subprocess.PIPE,
            stderr=subprocess.PIPE,
            text=True,
        )
        stack.callback(_kill, process)
        output = _Output(process.stderr)
        channel = stack.enter_context(_connect(_handshake(process, output), own, tls))
        yield Client(channel, output.lines, process.pid)
        _shutdown(channel)
        code = process.wait(TIMEOUT)
        if code != 0:
            raise AssertionError(f"the plugin ended with code {code}:\n{output.whole()}")


class _Output:
    """What a plugin writes to stderr, read while it runs so that it never waits for us."""

    def __init__(self, stream: IO[str] | None) -> None:
        self.lines: list[str] = []
        self._reader = threading.Thread(target=self._read, args=(stream or (),), daemon=True)
        self._reader.start()

    def _read(self, stream: Iterable[str]) -> None:
        for line in stream:
            self.lines.append(line)

    def whole(self) -> str:
        """All of it, once the plugin has ended: its last words may still be on their way.

        Somebody else may hold the pipe, a process that it left behind; they are not waited for.
        """
        self._reader.join(5)
        return "".join(self.lines)


def _environment(folder: str, certificate: str, more: Mapping[str, str]) -> dict[str, str]:
    kept = {name: os.environ[name] for name in ("PATH", "HOME", "TMPDIR", "LANG") if name in os.environ}
    contract = {
        _contract.MAGIC_COOKIE_KEY: _contract.MAGIC_COOKIE_VALUE,
        "PLUGIN_PROTOCOL_VERSIONS": _contract.PROTOCOL_VERSION,
        "PLUGIN_UNIX_SOCKET_DIR": folder,
    }
    return kept | contract | ({"PLUGIN_CLIENT_CERT": certificate} if certificate else {}) | dict(more)


def _handshake(process: subprocess.Popen[str], output: _Output) -> list[str]:
    lines: queue.Queue[str] = queue.Queue()
    stdout: Any = process.stdout
    threading.Thread(target=lambda: lines.put(stdout.readline()), daemon=True).start()
    try:
        line = lines.get(timeout=_START_TIMEOUT)
    except queue.Empty:
        raise AssertionError(f"no handshake after {_START_TIMEOUT} s:\n{''.join(output.lines)}") from None
    parts = line.rstrip("\n").split("|")
    if len(parts) != 6:
        process.wait(TIMEOUT)
        raise AssertionError(f"{line!r} is no handshake; the plugin wrote:\n{output.whole()}")
    return parts


def _connect(handshake: list[str], own: _certificate.Certificate, tls: bool) -> grpc.Channel:
    address, certificate = f"unix:{handshake[3]}", handshake[5]
    options = (("grpc.max_receive_message_length", -1), ("grpc.max_send_message_length", -1))
    if not tls:
        return grpc.insecure_channel(address, options)
    pem = ssl.DER_cert_to_PEM_cert(base64.b64decode(certificate + "=" * (-len(certificate) % 4)))
    credentials = grpc.ssl_channel_credentials(pem.encode(), own.key, own.certificate)
    return grpc.secure_channel(address, credentials, (*options, ("grpc.ssl_target_name_override", "localhost")))


def _shutdown(channel: grpc.Channel) -> None:
    call = channel.unary_unary(
        "/plugin.GRPCController/Shutdown",
        request_serializer=lambda message: message.SerializeToString(),
        response_deserializer=_contract.Empty.FromString,
    )
    call(_contract.Empty(), timeout=TIMEOUT)


def _kill(process: subprocess.Popen[str]) -> None:
    process.kill()
    process.wait()
    for stream in (process.stdout, process.stderr):
        if stream is not None:
            stream.close()
