#!/usr/bin/env bash
# Neither of Flyte's packages for JavaScript can be loaded as it is installed.
#
# Expected: after npm install @flyteorg/flyteidl, or @flyteorg/flyteidl2, a program can load the messages of agents.
# Seen: @flyteorg/flyteidl 1.16.5 requires protobufjs, and does not depend on it. @flyteorg/flyteidl2 2.0.16 has sources in TypeScript only,
# without an entry: Node.js strips no types below node_modules (20 knows no .ts at all, 26 refuses by that rule), and tsc 5.9 refuses their
# imports of each other with TS5097, unless it is told to take them, and then writes a program that loads the .ts again. A bundler can
# use it.
#
# What follows for us: the SDK for TypeScript brings its messages along; docs/contract.md shows the generators' commands for others.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT; cd "$work"
npm install --silent --no-fund --no-audit @flyteorg/flyteidl@1.16.5 @flyteorg/flyteidl2@2.0.16 typescript@5.9.3 node@26.10.0 >/dev/null
failed=0
seen() { # what is tried, what its output has to hold, command
  if grep -q -- "$2" <<< "$("${@:3}" 2>&1)"; then echo "seen: $1: $2"; else echo "CHANGED: $1"; failed=1; fi
}
echo 'import { GetTaskRequestSchema } from "@flyteorg/flyteidl2/flyteidl2/connector/connector_pb.ts"; console.log(GetTaskRequestSchema);' > finding.mts
seen "@flyteorg/flyteidl in Node.js" "Cannot find module 'protobufjs/minimal'" \
  node -e 'require("@flyteorg/flyteidl/gen/pb-js/flyteidl.js")'
seen "@flyteorg/flyteidl2 in Node.js 26" ERR_UNSUPPORTED_NODE_MODULES_TYPE_STRIPPING \
  node_modules/.bin/node finding.mts
seen "@flyteorg/flyteidl2 with tsc" "connector_pb.ts.*TS5097" \
  node_modules/.bin/tsc --module esnext --moduleResolution bundler --target es2022 --skipLibCheck --outDir out finding.mts
exit $failed
