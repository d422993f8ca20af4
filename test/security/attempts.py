"""What the hostile plugin in Python attempts: the same as its twin in Go (package hostile), by the same names.

Run as `python attempts.py NAME`, with the world as JSON on stdin, it makes one attempt and prints what came of it.
"""

import ctypes
import errno
import json
import mmap
import os
import resource
import signal
import socket
import struct
import subprocess
import sys
import time
from collections.abc import Callable
from http.client import HTTPConnection
from pathlib import Path
from types import SimpleNamespace

World = SimpleNamespace
ATTEMPTS: dict[str, Callable[[World], str]] = {}
PATIENCE = 5.0
HOLD = "import time; time.sleep(120)"
TEXT = 0x400000
"""An address in every program of Go's that is not position-independent; those who may not look are told so before."""

libc = ctypes.CDLL(None, use_errno=True)
libc.syscall.restype = ctypes.c_long


class Refused(Exception):
    """The attempt was refused, by something other than an error of the operating system."""


class Lacks(Exception):
    """The machine lacks what the attempt takes."""


def attempt(name: str) -> Callable[[Callable[[World], str]], Callable[[World], str]]:
    def register(do: Callable[[World], str]) -> Callable[[World], str]:
        ATTEMPTS[name] = do
        return do

    return register


def both(what: str) -> Callable[[Callable[[int, World], str]], Callable[[int, World], str]]:
    """Registers an attempt on a process twice: on the host, and on the victim."""

    def register(do: Callable[[int, World], str]) -> Callable[[int, World], str]:
        ATTEMPTS[f"host-{what}"] = lambda w: do(w.host, w)
        ATTEMPTS[f"victim-{what}"] = lambda w: do(w.victim, w)
        return do

    return register


def checked(name: str, result: int) -> int:
    """The result of a call to libc, whose failure is an OSError."""
    if result < 0:
        code = ctypes.get_errno()
        raise OSError(code, f"{name}: {os.strerror(code)}")
    return result


def call(name: str, number: int, *arguments: object) -> int:
    return checked(name, libc.syscall(ctypes.c_long(number), *arguments))


# The numbers of system calls, on x86-64 and on arm64.
NUMBERS = {
    "ptrace": (101, 117),
    "setresuid": (117, 147),
    "add_key": (248, 217),
    "unshare": (272, 97),
    "perf_event_open": (298, 241),
    "name_to_handle_at": (303, 264),
    "open_by_handle_at": (304, 265),
    "process_vm_readv": (310, 270),
    "process_vm_writev": (311, 271),
    "finit_module": (313, 273),
    "bpf": (321, 280),
    "userfaultfd": (323, 282),
    "io_uring_setup": (425, 425),
    "pidfd_getfd": (438, 438),
}
ARM = os.uname().machine == "aarch64"


def by_name(name: str, *arguments: object) -> int:
    return call(name, NUMBERS[name][ARM], *arguments)


# On processes.


def read(path: str | Path) -> str:
    with open(path, "rb") as file:
        begin = file.read(64)
    if not begin:
        raise Refused(f"{path} is empty")
    return f"{path} begins with {begin[:12]!r}"


@both("environ")
def environ(pid: int, _: World) -> str:
    return read(f"/proc/{pid}/environ")


@attempt("host-secret")
def host_secret(w: World) -> str:
    for entry in Path(f"/proc/{w.host}/environ").read_bytes().split(b"\0"):
        name, _, value = entry.partition(b"=")
        if name.decode() == w.secret_name and value.strip(b"*x "):
            return f"{w.secret_name} is in the environment, with {len(value)} bytes"
    raise Refused(f"{w.secret_name} is not in the environment")


@attempt("host-maps")
def host_maps(w: World) -> str:
    return read(f"/proc/{w.host}/maps")


@both("memory")
def memory(pid: int, _: World) -> str:
    with open(f"/proc/{pid}/mem", "rb", buffering=0) as file:
        file.seek(TEXT)
        return f"read {file.read(4)!r}"


class Vector(ctypes.Structure):
    _fields_ = [("base", ctypes.c_void_p), ("length", ctypes.c_size_t)]


def vm(name: str, pid: int, address: int) -> str:
    own = ctypes.create_string_buffer(4)
    local, remote = Vector(ctypes.addressof(own), 4), Vector(address, 4)
    try:
        by_name(
            name,
            pid,
            ctypes.byref(local),
            ctypes.c_ulong(1),
            ctypes.byref(remote),
            ctypes.c_ulong(1),
            ctypes.c_ulong(0),
        )
    except OSError as refusal:
        if refusal.errno != errno.EFAULT:  # which only those get who may look
            raise
    return f"was let in, and read {own.raw!r}"


@both("vm-read")
def vm_read(pid: int, _: World) -> str:
    return vm("process_vm_readv", pid, TEXT)


@attempt("host-vm-write")
def vm_write(w: World) -> str:
    return vm("process_vm_writev", w.host, 0)  # where nothing can be written


@both("descriptors")
def descriptors(pid: int, _: World) -> str:
    entries = os.listdir(f"/proc/{pid}/fd")
    for entry in entries:
        try:
            return f"sees {len(entries)} descriptors, such as {os.readlink(f'/proc/{pid}/fd/{entry}')}"
        except FileNotFoundError:
            continue
    raise Refused(f"none of {len(entries)} descriptors can be followed")


@attempt("host-descriptor")
def host_descriptor(w: World) -> str:
    by_name("pidfd_getfd", os.pidfd_open(w.host), 2, 0)
    return "has the process's standard error"


@attempt("host-files")
def host_files(w: World) -> str:
    return read(f"/proc/{w.host}/root{w.config}")


@both("ptrace")
def ptrace(pid: int, _: World) -> str:
    seize = 0x4206
    by_name("ptrace", ctypes.c_long(seize), ctypes.c_long(pid), ctypes.c_void_p(), ctypes.c_void_p())
    return "traces it"


@attempt("host-perf")
def host_perf(w: World) -> str:
    software, task_clock, version_0, disabled = 1, 1, 64, 1
    attributes = struct.pack("IIQQQQQ", software, version_0, task_clock, 0, 0, 0, disabled).ljust(version_0, b"\0")
    by_name("perf_event_open", attributes, w.host, -1, -1, ctypes.c_ulong(8))
    return "counts its time"


@both("stop")
def stop(pid: int, _: World) -> str:
    os.kill(pid, signal.SIGSTOP)
    time.sleep(0.02)
    os.kill(pid, signal.SIGCONT)
    return "stopped it"


@attempt("host-signal")
def host_signal(w: World) -> str:
    signal.pidfd_send_signal(os.pidfd_open(w.host), 0)  # type: ignore[arg-type] # 0 asks whether one may
    return "may signal it"


@both("kill")
def kill(pid: int, _: World) -> str:
    os.kill(pid, signal.SIGKILL)
    return "killed it"


@both("limits")
def limits(pid: int, _: World) -> str:
    now = resource.prlimit(pid, resource.RLIMIT_NOFILE)
    resource.prlimit(pid, resource.RLIMIT_NOFILE, now)  # the same call could set it to nothing
    return f"set the limit of its descriptors, which is {now[0]}"


@both("priority")
def priority(pid: int, _: World) -> str:
    os.setpriority(os.PRIO_PROCESS, pid, max(os.getpriority(os.PRIO_PROCESS, pid), 1))
    return "set its priority"


@attempt("host-affinity")
def host_affinity(w: World) -> str:
    os.sched_setaffinity(w.host, os.sched_getaffinity(w.host))
    return "may choose its processors"


@both("oom-score")
def oom_score(pid: int, _: World) -> str:
    path = Path(f"/proc/{pid}/oom_score_adj")
    now = path.read_text()
    path.write_text(now)
    return f"set it to {now.strip()}"


# On files.


def through_link(w: World, link: Callable[[str, Path], None]) -> str:
    path = Path(w.own, "link")
    try:
        link(w.secret_source, path)
        return read(path)
    finally:
        path.unlink(missing_ok=True)


def open_to_write(path: str) -> str:
    with open(path, "ab", buffering=0):
        return f"can write to {path}"


def set_mode(path: str) -> str:
    os.chmod(path, 0o600)  # as it is
    return f"set the mode of {path}"


def create(folder: Path | str) -> str:
    path = Path(folder, ".hostile")
    path.touch()
    path.unlink()
    return f"made {path}"


def rename(path: str | Path) -> str:
    aside = f"{path}.aside"
    os.rename(path, aside)
    os.rename(aside, path)
    return f"renamed {path}"


def listed(folder: str) -> str:
    entries = os.listdir(folder)
    if not entries:
        raise Refused(f"{folder} shows nothing")
    return f"{folder} has {entries[0]}, and {len(entries) - 1} more"


FILES: dict[str, Callable[[World], str]] = {
    "secret-source": lambda w: read(w.secret_source),
    "secret-source-link": lambda w: through_link(w, os.link),
    "secret-source-alias": lambda w: through_link(w, os.symlink),
    "secret-source-root": lambda w: read(f"/proc/self/root{w.secret_source}"),
    "victim-secret": lambda w: read(w.secret_file),
    "config-read": lambda w: read(w.config),
    "config-write": lambda w: open_to_write(w.config),
    "config-mode": lambda w: set_mode(w.config),
    "config-replace": lambda w: create(Path(w.config).parent),
    "config-rename": lambda w: rename(w.config),
    "run-dir-list": lambda w: listed(w.run_dir),
    "run-dir-write": lambda w: create(w.run_dir),
    "run-dir-victim-write": lambda w: create(Path(w.victim_socket).parent),
    "state-dir-list": lambda w: listed(w.state_dir),
    "state-dir-write": lambda w: create(w.state_dir),
    "programs-write": lambda w: create(w.programs),
    "host-program-rename": lambda w: rename(Path(w.programs, "agenthost")),
    "kernel-settings": lambda _: open_to_write("/proc/sys/kernel/core_pattern"),
    "kernel-log": lambda _: open_to_write("/dev/kmsg"),
}
ATTEMPTS |= FILES


@attempt("inherited")
def inherited(w: World) -> str:
    entries = os.listdir("/proc/self/fd")
    for entry in entries:
        try:
            target = os.readlink(f"/proc/self/fd/{entry}")
        except FileNotFoundError:
            continue
        for foreign in w.config, w.run_dir, w.state_dir, str(Path(w.secret_source).parent), w.programs:
            if target == foreign or target.startswith(f"{foreign}/"):
                return f"descriptor {entry} is {target}"
    raise Refused(f"none of {len(entries)} descriptors is the host's")


@attempt("machine-disk")
def machine_disk(_: World) -> str:
    for name in os.listdir("/sys/class/block"):
        path = Path("/dev", name)
        if path.is_block_device():
            os.close(os.open(path, os.O_RDONLY))
            return f"can read {path}"
    raise Lacks("no block device is in /dev")


# By way of sockets.


def ask(w: World, endpoint: str, method: str, message: bytes) -> str:
    import grpc

    channel = grpc.insecure_channel(endpoint)
    if w.authority:
        channel = grpc.secure_channel(endpoint, grpc.ssl_channel_credentials(w.authority.encode()))
    with channel:
        try:
            channel.unary_unary(f"/flyteidl.service.{method}")(message, timeout=PATIENCE)
        except grpc.RpcError as refusal:
            raise Refused(f"{refusal.code().name}: {refusal.details()}") from None
    return "the call was answered"


def field(number: int, content: bytes) -> bytes:
    """A field of a protobuf message, of at most 127 bytes or with a length in two bytes."""
    length = bytes([len(content)]) if len(content) < 128 else bytes([len(content) & 127 | 128, len(content) >> 7])
    return bytes([number << 3 | 2]) + length + content


def of_job(w: World) -> bytes:
    import base64

    category = field(1, w.job_type.encode())
    return field(2, base64.b64decode(w.job)) + field(3, category)


@attempt("job-poll")
def job_poll(w: World) -> str:
    return ask(w, w.grpc, "AsyncAgentService/GetTask", of_job(w))


@attempt("job-delete")
def job_delete(w: World) -> str:
    return ask(w, w.grpc, "AsyncAgentService/DeleteTask", of_job(w))


@attempt("task-run")
def task_run(w: World) -> str:
    name = field(1, field(1, field(3, b"nobody")))
    inputs = field(1, field(1, b"name") + field(2, name))
    return ask(w, w.grpc, "AsyncAgentService/CreateTask", field(1, inputs) + field(2, field(2, w.job_type.encode())))


@attempt("victim-socket")
def victim_socket(w: World) -> str:
    return ask(World(authority=""), f"unix:{w.victim_socket}", "AgentMetadataService/ListAgents", b"")


def request(address: str, method: str, path: str) -> str:
    if not address:
        raise Refused("the host has no admin address that it could reach")
    client = HTTPConnection("localhost" if address.startswith("/") else address, timeout=PATIENCE)
    if address.startswith("/"):
        client.sock = socket.socket(socket.AF_UNIX)
        client.sock.connect(address)
    client.request(method, path)
    answer = client.getresponse()
    said = f"{answer.status} {answer.reason}: {answer.read(80)!r}"
    client.close()
    if answer.status >= 400:
        raise Refused(said)
    return said


ATTEMPTS["admin-read"] = lambda w: request(w.admin, "GET", "/status")
ATTEMPTS["admin-reload"] = lambda w: request(w.admin, "POST", "/reload?dry_run=1")


@attempt("admin-token")
def admin_token(w: World) -> str:
    for path in Path(w.run_dir).rglob("admin-*.token"):
        return read(path)
    raise Refused("it sees no token")


ATTEMPTS["admin-profile"] = lambda w: request(w.admin, "GET", "/debug/pprof/heap")


@attempt("neighbour")
def neighbour(w: World) -> str:
    host, _, port = w.neighbour.rpartition(":")
    socket.create_connection((host, int(port)), timeout=PATIENCE).close()
    return f"is connected to {w.neighbour}"


def unix_socket(address: str) -> str:
    with socket.socket(socket.AF_UNIX) as connection:
        connection.settimeout(PATIENCE)
        connection.connect(address)
    return f"is connected to {address!r}"


ATTEMPTS["abstract-socket"] = lambda w: unix_socket("\0" + w.abstract.removeprefix("@"))
ATTEMPTS["unix-socket"] = lambda w: unix_socket(w.socket)


def listen(address: str) -> str:
    host, _, port = address.rpartition(":")
    with socket.create_server((host, int(port)), reuse_port=True) as listener:  # shared, where the kernel lets it
        return f"listens on {listener.getsockname()}"


ATTEMPTS["listen"] = lambda _: listen("127.0.0.1:8472")
ATTEMPTS["listen-beside"] = lambda w: listen(w.grpc)


# To become more than it was made.


@attempt("own-root")
def own_root(_: World) -> str:
    by_name("setresuid", 0, 0, 0)
    return "is root"


@attempt("own-capabilities")
def own_capabilities(_: World) -> str:
    status = dict(line.split(":\t", 1) for line in Path("/proc/self/status").read_text().splitlines() if ":\t" in line)
    if not status["CapEff"].strip("0"):
        raise Refused("it has none")
    return f"has the capabilities {status['CapEff']}"


@attempt("own-set-user-id")
def own_set_user_id(w: World) -> str:
    if not w.set_user:
        raise Lacks("only root can make a set-user-ID program")
    code = subprocess.run([w.set_user, "agenthost-hostile-who"]).returncode
    if code != 0:
        raise Refused(f"the program did not run as root: {code}")
    return "the program ran as root"


@attempt("own-limits")
def own_limits(_: World) -> str:
    most = resource.getrlimit(resource.RLIMIT_NOFILE)[1] + 1
    try:
        resource.setrlimit(resource.RLIMIT_NOFILE, (most, most))
    except ValueError as refusal:
        raise Refused(str(refusal)) from None
    return f"raised its limit of descriptors to {most}"


@attempt("own-priority")
def own_priority(_: World) -> str:
    os.setpriority(os.PRIO_PROCESS, 0, -10)
    return "raised its priority"


@attempt("own-oom-score")
def own_oom_score(_: World) -> str:
    Path("/proc/self/oom_score_adj").write_text("-500")
    return "lowered it to -500"


@attempt("own-mount")
def own_mount(w: World) -> str:
    checked("mount", libc.mount(b"none", w.own.encode(), b"tmpfs", ctypes.c_ulong(0), b"size=4k"))
    libc.umount2(w.own.encode(), 2)
    return "mounted a file system"


@attempt("own-chroot")
def own_chroot(w: World) -> str:
    os.chroot(w.own)
    return "has another root"


@attempt("own-namespaces")
def own_namespaces(_: World) -> str:
    by_name("unshare", 0x00020000 | 0x40000000)
    return "has a mount and a network namespace of its own"


@attempt("own-user-namespace")
def own_user_namespace(_: World) -> str:
    by_name("unshare", 0x10000000)
    return "has a user namespace of its own"


@attempt("own-device")
def own_device(w: World) -> str:
    path = Path(w.own, "device")
    os.mknod(path, 0o20600, os.makedev(1, 3))
    path.unlink()
    return "made a device"


@attempt("own-bpf")
def own_bpf(_: World) -> str:
    array = 2
    attributes = struct.pack("IIII", array, 4, 4, 1).ljust(72, b"\0")
    by_name("bpf", 0, attributes, 72)
    return "has a map"


@attempt("own-keyring")
def own_keyring(_: World) -> str:
    process_keyring = -2
    by_name("add_key", b"user", b"agenthost-hostile", b"none", ctypes.c_size_t(4), process_keyring)
    return "keeps a key"


@attempt("own-userfaultfd")
def own_userfaultfd(_: World) -> str:
    by_name("userfaultfd", 1)
    return "handles page faults"


@attempt("own-io-uring")
def own_io_uring(_: World) -> str:
    by_name("io_uring_setup", 1, ctypes.create_string_buffer(120))
    return "has a ring"


@attempt("own-kernel-module")
def own_kernel_module(_: World) -> str:
    try:
        by_name("finit_module", -1, b"", 0)
    except OSError as refusal:
        if refusal.errno != errno.EBADF:  # who may not is told so before anybody looks for the module
            raise
    return "may load modules"


def raw_socket(family: int) -> str:
    socket.socket(family, socket.SOCK_RAW, socket.IPPROTO_ICMP).close()
    return "has a raw socket"


ATTEMPTS["own-packet-socket"] = lambda _: raw_socket(socket.AF_PACKET)
ATTEMPTS["own-raw-socket"] = lambda _: raw_socket(socket.AF_INET)


def cgroup() -> tuple[Path, str]:
    """The folder of the process's own memory cgroup, and the name of the limit in it."""
    for line in Path("/proc/self/cgroup").read_text().splitlines():
        _, controllers, path = line.split(":", 2)
        for version, root, limit in (
            ("memory", "/sys/fs/cgroup/memory", "memory.limit_in_bytes"),
            ("", "/sys/fs/cgroup", "memory.max"),
        ):
            own = Path(root + path)
            if controllers == version and path != "/" and Path(own, limit).exists():
                return own, limit
    raise Lacks("the process is in no memory cgroup that it can see")


@attempt("own-cgroup-leave")
def own_cgroup_leave(_: World) -> str:
    parent = cgroup()[0].parent
    Path(parent, "cgroup.procs").write_text(str(os.getpid()))
    return f"is in {parent}"


@attempt("own-cgroup-raise")
def own_cgroup_raise(_: World) -> str:
    path = Path(*cgroup())
    path.write_text(path.read_text())  # as it is: being let is enough
    return f"can set {path}"


@attempt("own-file-by-handle")
def own_file_by_handle(w: World) -> str:
    handle = ctypes.create_string_buffer(struct.pack("Ii", 128, 0), 136)
    here, number = -100, ctypes.c_int()
    by_name("name_to_handle_at", here, w.secret_source.encode(), handle, ctypes.byref(number), 0)
    by_name("open_by_handle_at", os.open(w.own, os.O_RDONLY | os.O_DIRECTORY), handle, os.O_RDONLY)
    return "opened the secret"


# To take what others need.


@attempt("many-processes")
def many_processes(w: World) -> str:
    made: list[int] = []
    try:
        for _ in range(w.bound):
            child = os.fork()
            if child == 0:
                signal.pause()
                os._exit(0)
            made.append(child)
    finally:
        for child in made:
            os.kill(child, signal.SIGKILL)
            os.waitpid(child, 0)
    return f"had {len(made)} processes"


@attempt("much-memory")
def much_memory(w: World) -> str:
    taken = mmap.mmap(-1, w.bound << 20)
    for page in range(0, len(taken), mmap.PAGESIZE):
        taken[page] = 1
    return f"has {w.bound} MiB"


@attempt("many-descriptors")
def many_descriptors(w: World) -> str:
    for _ in range(w.bound):
        os.open("/dev/null", os.O_RDONLY)
    return f"has {w.bound} descriptors"


@attempt("many-connections")
def many_connections(w: World) -> str:
    host, _, port = w.grpc.rpartition(":")
    kept = [socket.create_connection((host, int(port)), timeout=PATIENCE) for _ in range(w.bound)]
    time.sleep(1)  # meanwhile others are served, or not
    return f"has {len(kept)} connections"


@attempt("busy-processors")
def busy_processors(_: World) -> str:
    until = time.time() + 1.5
    children = []
    for _ in range(2 * (os.cpu_count() or 1)):
        child = os.fork()
        if child == 0:
            while time.time() < until:
                pass
            os._exit(0)
        children.append(child)
    for child in children:
        os.waitpid(child, 0)
    return "kept all processors busy"


@attempt("full-disk")
def full_disk(w: World) -> str:
    path = Path(w.own, "large")
    try:
        with path.open("wb", buffering=0) as file:
            for _ in range(w.bound):
                file.write(bytes(1 << 20))
    except OSError:
        time.sleep(1)  # meanwhile others are served, or not
        raise
    finally:
        path.unlink(missing_ok=True)
    return f"wrote {w.bound} MiB"


FORGED = "the host was replaced"
ESCAPE = "\x1b]0;hostile\x07\x1b[31m"


@attempt("forged-log")
def forged_log(_: World) -> str:
    forged = json.dumps({"time": "2026-01-01T00:00:00Z", "level": "ERROR", "msg": FORGED})
    text = f'time=2026-01-01T00:00:00Z level=ERROR msg="{FORGED}"'
    lines = [
        forged,
        "\n" + forged,
        "x\r" + forged,
        f"x\r\n{forged}\r",
        "x\u2028" + forged,
        "x\0" + forged,
        text,
        ESCAPE,
        "long " * 100_000,
    ]
    for line in lines:
        for out in 1, 2:
            os.write(out, line.encode() + b"\n")
    os.write(2, b"\x9b31m\x85" + forged.encode() + b"\n")
    return "printed it"


@attempt("noisy-log")
def noisy_log(w: World) -> str:
    for _ in range(w.bound):
        os.write(2, b"noise " * 20 + b"\n")
    return f"printed {w.bound} lines"


@attempt("outlive")
def outlive(_: World) -> str:
    child = subprocess.Popen(
        [sys.executable, "-I", "-S", "-c", HOLD],
        env={},
        start_new_session=True,
        close_fds=True,
        stdout=subprocess.DEVNULL,
    )
    return str(child.pid)


def make(name: str, world: World) -> dict[str, str]:
    try:
        return {"outcome": "succeeded", "evidence": ATTEMPTS[name](world)}
    except Lacks as lack:
        return {"outcome": "not tried", "evidence": str(lack)}
    except (OSError, Refused, MemoryError, subprocess.CalledProcessError) as refusal:
        return {"outcome": "refused", "evidence": str(refusal) or type(refusal).__name__}


if __name__ == "__main__":
    answer = os.dup(1)  # not inheritable, as what comes of Python is
    os.dup2(2, 1)
    result = make(sys.argv[1], SimpleNamespace(**json.load(sys.stdin)))
    os.write(answer, json.dumps(result).encode())
