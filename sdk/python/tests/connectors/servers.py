"""Small local servers: the outside systems of connectors that no emulator exists for."""

from __future__ import annotations

import contextlib
import datetime
import json
import pathlib
import socket
import socketserver
import ssl
import subprocess
import threading
import time
from collections.abc import Callable, Iterator, Mapping, Sequence
from http.server import BaseHTTPRequestHandler, ThreadingHTTPServer
from typing import Any

from cryptography import x509
from cryptography.hazmat.primitives import hashes, serialization
from cryptography.hazmat.primitives.asymmetric import ed25519, rsa
from cryptography.x509.oid import NameOID

Answer = tuple[int, Any]
Route = Callable[[Any, Mapping[str, str]], Answer]


@contextlib.contextmanager
def http(answer: Callable[[str, str, Any, Mapping[str, str]], Answer]) -> Iterator[str]:
    """Serves answer(method, path, body, headers) -> (status, JSON). Gives the server's address as a URL."""

    class Handler(BaseHTTPRequestHandler):
        protocol_version = "HTTP/1.1"  # clients use their connections again

        def handle_any(self) -> None:
            length = int(self.headers.get("content-length") or 0)
            data = self.rfile.read(length).decode()
            body = json.loads(data) if "json" in self.headers.get("content-type", "") and data else data
            status, found = answer(self.command, self.path, body, {k.lower(): v for k, v in self.headers.items()})
            sent = json.dumps(found).encode()
            self.send_response(status)
            self.send_header("content-type", "application/json")
            self.send_header("content-length", str(len(sent)))
            self.end_headers()
            self.wfile.write(sent)

        do_GET = do_POST = handle_any

        def log_message(self, format: str, *args: Any) -> None:
            """Not on the test's terminal."""

    server = ThreadingHTTPServer(("127.0.0.1", 0), Handler)
    threading.Thread(target=server.serve_forever, daemon=True).start()
    try:
        yield f"http://127.0.0.1:{server.server_port}"
    finally:
        server.shutdown()
        server.server_close()


def free_port() -> int:
    with socket.socket() as probe:
        probe.bind(("127.0.0.1", 0))
        return int(probe.getsockname()[1])


@contextlib.contextmanager
def program(command: Sequence[Any], port: int, env: Mapping[str, str]) -> Iterator[None]:
    """Runs a server until the block ends, from when it listens."""
    process = subprocess.Popen(
        [str(part) for part in command], env=dict(env), stdin=subprocess.PIPE, stdout=subprocess.DEVNULL
    )
    try:
        deadline = time.monotonic() + 120
        while True:
            with contextlib.suppress(OSError), socket.create_connection(("127.0.0.1", port), timeout=1):
                break
            assert process.poll() is None, f"{command[0]} ended with code {process.returncode}"
            assert time.monotonic() < deadline, f"{command[0]} does not listen on port {port}"
            time.sleep(0.05)
        yield
    finally:
        process.terminate()
        process.communicate(timeout=30)


def private_key() -> str:
    """A new RSA key as an unencrypted PEM, as Google's and Snowflake's clients want it."""
    key = rsa.generate_private_key(public_exponent=65537, key_size=2048)
    return key.private_bytes(
        serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption()
    ).decode()


@contextlib.contextmanager
def google_credentials(folder: pathlib.Path) -> Iterator[pathlib.Path]:
    """A service account whose tokens a local server hands out. Gives its file."""

    def token(method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        assert (method, path) == ("POST", "/token")
        assert "assertion=" in body
        return 200, {"access_token": "local", "expires_in": 3600, "token_type": "Bearer"}

    with http(token) as url:
        file = folder / "credentials.json"
        account = {
            "type": "service_account",
            "project_id": "analytics",
            "private_key_id": "local",
            "private_key": private_key(),
            "client_email": "connector@analytics.iam.gserviceaccount.com",
            "client_id": "1",
            "token_uri": f"{url}/token",
        }
        file.write_text(json.dumps(account))
        yield file


@contextlib.contextmanager
def bqemulator(programs: pathlib.Path) -> Iterator[str]:
    """An emulator of BigQuery. Gives its address as a URL."""
    port, home = free_port(), programs.parent / "home"
    command = [programs / "bqemulator", "start", "--rest-port", port, "--grpc-port", 0, "--project", "analytics"]
    with program(command, port, {"HOME": str(home), "PATH": "/usr/bin:/bin"}):
        yield f"http://127.0.0.1:{port}"


class OpenAI:
    """The part of OpenAI's API that the connectors use. It refuses what the real one would."""

    def __init__(self, key: str) -> None:
        self.key = key
        self.batches: dict[str, dict[str, Any]] = {}

    def answer(self, method: str, path: str, body: Any, headers: Mapping[str, str]) -> Answer:
        if headers.get("authorization") != f"Bearer {self.key}":
            return 401, {"error": {"message": "Incorrect API key provided", "type": "invalid_request_error"}}
        if (method, path) == ("POST", "/v1/chat/completions"):
            return self._complete(body)
        if (method, path) == ("POST", "/v1/batches"):
            return self._create(body)
        _, _, _, identity, *rest = [*path.split("/"), ""]
        if identity not in self.batches:
            return 404, {"error": {"message": f"No batch found with id '{identity}'", "type": "invalid_request_error"}}
        if (method, rest[0]) == ("POST", "cancel"):
            self.batches[identity]["status"] = "cancelled"
        return 200, self._polled(identity)

    def _complete(self, body: Any) -> Answer:
        if set(body) - {"model", "messages", "temperature"} or not body.get("model"):
            return 400, {"error": {"message": f"unexpected arguments: {sorted(body)}", "type": "invalid_request_error"}}
        said = body["messages"][-1]["content"]
        choice = {
            "index": 0,
            "finish_reason": "stop",
            "message": {"role": "assistant", "content": f"{body['model']} heard: {said}"},
        }
        return 200, {
            "id": "chatcmpl-1",
            "object": "chat.completion",
            "created": 1,
            "model": body["model"],
            "choices": [choice],
        }

    def _create(self, body: Any) -> Answer:
        if set(body) - {"metadata"} != {"completion_window", "endpoint", "input_file_id"}:
            return 400, {"error": {"message": f"unexpected arguments: {sorted(body)}", "type": "invalid_request_error"}}
        identity = f"batch_{len(self.batches)}"
        self.batches[identity] = {
            "id": identity,
            "object": "batch",
            "status": "validating",
            "created_at": 1,
            "completion_window": body["completion_window"],
            "endpoint": body["endpoint"],
            "input_file_id": body["input_file_id"],
        }
        return 200, self.batches[identity]

    def _polled(self, identity: str) -> dict[str, Any]:
        batch = self.batches[identity]
        shown = dict(batch)
        nexts = {"validating": "in_progress", "in_progress": "completed"}
        batch["status"] = nexts.get(batch["status"], batch["status"])
        if shown["status"] == "completed":
            shown["output_file_id"] = f"{batch['input_file_id']}-answers"
        return shown


@contextlib.contextmanager
def tls_proxy(folder: pathlib.Path, domain: str, port: int) -> Iterator[dict[str, str]]:
    """A proxy that leads https://*.domain to a plain server on a local port, whatever the host of the domain.

    Gives the environment variables by which a client finds it, and takes its certificate for the domain's.
    """
    authority = _write_certificates(folder, f"*.{domain}")
    context = ssl.SSLContext(ssl.PROTOCOL_TLS_SERVER)
    context.load_cert_chain(folder / "server.pem")

    class Handler(socketserver.BaseRequestHandler):
        def handle(self) -> None:
            request = self.request.recv(65536).split(b"\r\n", 1)[0]
            verb, _, target = request.decode().partition(" ")
            if verb != "CONNECT" or not target.split(":")[0].endswith(domain):
                self.request.sendall(b"HTTP/1.1 403 Forbidden\r\n\r\n")
                return
            self.request.sendall(b"HTTP/1.1 200 Connected\r\n\r\n")
            with (
                contextlib.suppress(OSError),
                context.wrap_socket(self.request, server_side=True) as inside,
                socket.create_connection(("127.0.0.1", port)) as outside,
            ):
                back = threading.Thread(target=_copy, args=(outside, inside), daemon=True)
                back.start()
                _copy(inside, outside)
                back.join()

    class Server(socketserver.ThreadingTCPServer):
        daemon_threads = True

    with Server(("127.0.0.1", 0), Handler) as server:
        threading.Thread(target=server.serve_forever, daemon=True).start()
        try:
            yield {
                "HTTPS_PROXY": f"http://127.0.0.1:{server.server_address[1]}",
                "HTTP_PROXY": f"http://127.0.0.1:{server.server_address[1]}",
                "REQUESTS_CA_BUNDLE": str(authority),
            }
        finally:
            server.shutdown()


def _copy(source: socket.socket, target: socket.socket) -> None:
    with contextlib.suppress(OSError):
        while data := source.recv(65536):
            target.sendall(data)
        target.shutdown(socket.SHUT_WR)


def _write_certificates(folder: pathlib.Path, host: str) -> pathlib.Path:
    """Writes server.pem, key and certificate for a host, and the authority's certificate, whose file it returns."""
    authority_key, key = (rsa.generate_private_key(public_exponent=65537, key_size=2048) for _ in range(2))
    authority = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, "Local authority")])
    subject = x509.Name([x509.NameAttribute(NameOID.COMMON_NAME, host)])
    now = datetime.datetime.now(datetime.timezone.utc)

    def signed(name: x509.Name, public: Any, is_authority: bool) -> bytes:
        builder = (
            x509.CertificateBuilder()
            .subject_name(name)
            .issuer_name(authority)
            .public_key(public)
            .serial_number(x509.random_serial_number())
            .not_valid_before(now - datetime.timedelta(hours=1))
            .not_valid_after(now + datetime.timedelta(days=1))
            .add_extension(x509.BasicConstraints(ca=is_authority, path_length=None), critical=True)
            .add_extension(x509.SubjectKeyIdentifier.from_public_key(public), critical=False)
            .add_extension(
                x509.AuthorityKeyIdentifier.from_issuer_public_key(authority_key.public_key()), critical=False
            )
            .add_extension(x509.SubjectAlternativeName([x509.DNSName(host)]), critical=False)
        )
        return builder.sign(authority_key, hashes.SHA256()).public_bytes(serialization.Encoding.PEM)

    file = folder / "authority.pem"
    file.write_bytes(signed(authority, authority_key.public_key(), is_authority=True))
    pem = key.private_bytes(serialization.Encoding.PEM, serialization.PrivateFormat.PKCS8, serialization.NoEncryption())
    (folder / "server.pem").write_bytes(pem + signed(subject, key.public_key(), is_authority=False))
    return file


@contextlib.contextmanager
def fakesnow(programs: pathlib.Path, folder: pathlib.Path) -> Iterator[dict[str, str]]:
    """A server that speaks Snowflake's protocol. Gives the variables by which Snowflake's client finds it."""
    port = free_port()
    command = [programs / "fakesnow", "--server", "--port", port]
    with (
        program(command, port, {"PATH": "/usr/bin:/bin", "HOME": str(folder)}),
        tls_proxy(folder, "snowflakecomputing.com", port) as env,
    ):
        yield env


@contextlib.contextmanager
def slurm(programs: pathlib.Path, folder: pathlib.Path) -> Iterator[dict[str, str]]:
    """A Slurm cluster whose login node OpenSSH's configuration calls "cluster".

    Gives the variables for its users: those of OpenSSH, which flytekit's connector reads, and those of Flyte 2's.
    """
    port, ssh = free_port(), folder / ".ssh"
    ssh.mkdir(mode=0o700)
    key = ed25519.Ed25519PrivateKey.generate()
    form = serialization.PrivateFormat.OpenSSH
    (ssh / "key").write_bytes(key.private_bytes(serialization.Encoding.PEM, form, serialization.NoEncryption()))
    (ssh / "key").chmod(0o600)
    public = key.public_key().public_bytes(serialization.Encoding.OpenSSH, serialization.PublicFormat.OpenSSH)
    (ssh / "authorized_keys").write_bytes(public + b"\n")
    (ssh / "config").write_text(
        f"Host cluster\n  HostName 127.0.0.1\n  Port {port}\n  IdentityFile {ssh}/key\n"
        f"Host nowhere\n  HostName 127.0.0.1\n  Port {free_port()}\n"
    )
    script = pathlib.Path(__file__).with_name("slurm_cluster.py")
    env = {"HOME": str(folder), "PATH": "/usr/bin:/bin"}
    with program([programs / "python", script, port, folder, ssh / "authorized_keys"], port, env):
        yield {
            "HOME": str(folder),
            "FLYTE_SLURM_HOST": "127.0.0.1",
            "FLYTE_SLURM_PORT": str(port),
            "FLYTE_SLURM_USERNAME": "ada",
            "FLYTE_SLURM_SSH_PRIVATE_KEY": (ssh / "key").read_text(),
            "FLYTE_SLURM_SKIP_HOST_KEY_VERIFICATION": "true",
        }


@contextlib.contextmanager
def fakejobs(folder: pathlib.Path, token: str) -> Iterator[dict[str, str]]:
    """A Databricks workspace that takes a token. Gives the variables by which a connector finds it and trusts it."""
    root = pathlib.Path(__file__).parents[4]
    built, port = root / ".cache" / "fakejobs", free_port()
    subprocess.run(["go", "build", "-o", built, "./plugins/databricks/fakejobs/cmd"], cwd=root, check=True)
    authority = _write_certificates(folder, "localhost")
    pem = folder / "server.pem"
    command = [built, "-address", f"127.0.0.1:{port}", "-cert", pem, "-key", pem, "-token", f"{token}=ada"]
    with program(command, port, {}):
        yield {"FLYTE_DATABRICKS_INSTANCE": f"localhost:{port}", "SSL_CERT_FILE": str(authority)}


@contextlib.contextmanager
def moto(programs: pathlib.Path) -> Iterator[dict[str, str]]:
    """A stand-in for AWS. Gives the variables by which boto3 finds it."""
    port = free_port()
    with program([programs / "moto_server", "-H", "127.0.0.1", "-p", port], port, {"PATH": "/usr/bin:/bin"}):
        yield {
            "AWS_ENDPOINT_URL": f"http://127.0.0.1:{port}",
            "AWS_ACCESS_KEY_ID": "local",
            "AWS_SECRET_ACCESS_KEY": "local",
        }
