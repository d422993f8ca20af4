#!/usr/bin/env bash
# A method that a server in grpclib does not have is UNIMPLEMENTED to a client in Python, and UNKNOWN to one in Go.
#
# Expected: UNIMPLEMENTED to both, by which a client knows that an optional service is not there.
# Seen (grpclib 0.4.9; grpc-go v1.84.0, grpcio 1.85.3): grpclib ends such a call with grpc-status 12, and without a content-type. Python's
# client goes by the status; grpc-go goes by the missing header, and gives UNKNOWN "… missing HTTP content-type" to its caller.
#
# What follows for us: go-plugin hosts are in Go. A plugin built on grpclib, such as one of python-plugin's, has to have PluginService,
# which others may leave out (docs/contract.md).
set -euo pipefail
work=$(mktemp -d); trap 'kill "${server:-}" 2>/dev/null || true; rm -rf "$work"' EXIT; cd "$work"
python3 -m venv venv
venv/bin/pip install -q grpclib==0.4.9 grpcio==1.85.3
cat > server.py <<'PY'
import asyncio

import grpclib.server


class Nothing:
    def __mapping__(self):
        return {}


async def main():
    server = grpclib.server.Server([Nothing()])
    await server.start(path="socket")
    await server.wait_closed()


asyncio.run(main())
PY
venv/bin/python server.py & server=$!
for _ in {1..100}; do [ -S socket ] && break; sleep 0.1; done
in_python=$(venv/bin/python - <<'PY'
import grpc

try:
    grpc.insecure_channel("unix:socket").unary_unary("/finding.Finding/Optional")(b"")
except grpc.RpcError as error:
    print(error.code().name, error.details())
PY
)
cat > main.go <<'GO'
package main

import (
	"context"
	"fmt"
	"log"

	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"
)

func main() {
	conn, err := grpc.NewClient("unix:socket", grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		log.Fatal(err)
	}
	err = conn.Invoke(context.Background(), "/finding.Finding/Optional", &emptypb.Empty{}, &emptypb.Empty{})
	fmt.Println(status.Code(err), status.Convert(err).Message())
}
GO
go mod init finding 2>/dev/null
go get google.golang.org/grpc@v1.84.0 2>/dev/null
go mod tidy 2>/dev/null
in_go=$(go run .)
printf 'grpcio:  %s\ngrpc-go: %s\n' "$in_python" "$in_go"
[[ $in_python == UNIMPLEMENTED* && $in_go == Unknown*"missing HTTP content-type"* ]] || { echo CHANGED; exit 1; }
