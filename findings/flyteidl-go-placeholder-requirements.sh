#!/usr/bin/env bash
# The modules of a program that imports flyteidl v1.14.0 (Go) cannot be listed.
#
# Expected: in a tidy module that imports one package of flyteidl v1.14.0, `go list -m all` prints what it is made of, as licence and
# vulnerability scanners ask for.
# Seen (Go 1.26): flyteidl's go.mod requires flytestdlib and controller-runtime at v0.0.0-00010101000000-000000000000, the version that
# stands for a `replace`, and replaces of dependencies do not count. `go mod tidy`, `go build` and `go mod graph` never look at the two, but
# `go list -m all` does, and fails. With the two excluded, or with -e, it prints the list.
#
# What follows for us: no go.mod of ours has the exclude lines, because `go install` at a version refuses them; CONTRIBUTING says to use -e.
set -euo pipefail
work=$(mktemp -d); trap 'chmod -R u+w "$work"; rm -rf "$work"' EXIT; cd "$work"
cat > main.go <<'GO'
package main

import (
	"fmt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
)

func main() { fmt.Println((&admin.GetTaskRequest{}).ProtoReflect().Descriptor().FullName()) }
GO
go version
go mod init example.com/finding 2> /dev/null
go mod edit -require=github.com/flyteorg/flyte/flyteidl@v1.14.0
placeholder=v0.0.0-00010101000000-000000000000
go mod tidy 2> /dev/null
[ "$(go run .)" = flyteidl.admin.GetTaskRequest ] || { echo "CHANGED: the program does not run"; exit 1; }
echo "seen: the module is tidy and its program runs"
if said=$(go list -m all 2>&1 > /dev/null); then
  echo "CHANGED: go list -m all works"; exit 1
fi
for module in github.com/flyteorg/flyte/flytestdlib sigs.k8s.io/controller-runtime; do
  grep -q "$module@$placeholder" <<< "$said" || { echo "CHANGED: it does not fail on $module: $said"; exit 1; }
  go mod edit -exclude="$module@$placeholder"
done
echo "seen: go list -m all fails on flytestdlib and controller-runtime at $placeholder"
listed=$(go list -m all | wc -l)
echo "seen: with the two excluded it lists $listed modules"
