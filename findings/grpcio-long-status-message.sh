#!/usr/bin/env bash
# A long error message replaces the error, at a Python client: by chance between 8 and 16 KiB, always beyond.
#
# Expected: a server that aborts a call with FAILED_PRECONDITION and a text of 12,000 bytes is understood by its client as that code
# with that text, or never.
# Seen (grpcio 1.76.0, client and server): the text travels in a header. A header block beyond the soft limit of 8 KiB is refused at
# random, more often the longer it is, and beyond the hard limit of 16 KiB always: the client reads RESOURCE_EXHAUSTED "received metadata
# size exceeds …", and neither the code nor a byte of the text that the server sent.
#
# What follows for us: the host cuts what it says in a status to 4 KiB, whoever wrote it: a code that Flyte acts on must arrive.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
python3 -m venv "$work/venv"
"$work/venv/bin/pip" install -q grpcio==1.76.0
"$work/venv/bin/python" - <<'PY'
import concurrent.futures
import collections
import grpc


class Aborts(grpc.GenericRpcHandler):
    def service(self, details):
        def abort(request, context):
            context.abort(grpc.StatusCode.FAILED_PRECONDITION, "x" * int(request))

        return grpc.unary_unary_rpc_method_handler(abort)


server = grpc.server(concurrent.futures.ThreadPoolExecutor(4))
server.add_generic_rpc_handlers((Aborts(),))
port = server.add_insecure_port("127.0.0.1:0")
server.start()
call = grpc.insecure_channel(f"127.0.0.1:{port}").unary_unary("/finding/abort")


def codes(size, times=200):
    seen = collections.Counter()
    for _ in range(times):
        try:
            call(str(size).encode())
        except grpc.RpcError as error:
            kept = error.details() == "x" * size
            seen[error.code().name + ("" if kept else " with another text")] += 1
    return dict(seen)


short, middle, long = codes(4_000), codes(12_000), codes(20_000)
print("grpcio", grpc.__version__)
for size, seen in ((4_000, short), (12_000, middle), (20_000, long)):
    print(f"a message of {size} bytes, 200 times: {seen}")
lost = "RESOURCE_EXHAUSTED with another text"
assert set(short) == {"FAILED_PRECONDITION"}, "CHANGED: short messages do not arrive"
assert set(middle) == {"FAILED_PRECONDITION", lost}, "CHANGED: messages between the two limits are not refused at random"
assert set(long) == {lost}, "CHANGED: messages beyond the hard limit arrive"
server.stop(None)
PY
