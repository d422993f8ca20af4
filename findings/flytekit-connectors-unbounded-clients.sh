#!/usr/bin/env bash
# Two of flytekit's connector packages cannot be imported as they are installed today.
#
# Expected: a plugin of flytekit 1.16.31, installed by itself, can be imported.
# Seen: flytekitplugins-perian-job and flytekitplugins-dgxc-lepton require their services' clients without an upper bound, and import
# names that these have dropped since: perian 0.5.3 has no JobStatus, leptonai 0.47.1 no leptonai.api.v1. The ImportError comes when the connector is loaded, so in a
# process with all connectors it is the process that does not start.
#
# What follows for us: agenthost-flytekit loads connectors one by one and says which cannot be imported; docs/flytekit-connectors.md
# lists the two.
set -euo pipefail
work=$(mktemp -d); trap 'rm -rf "$work"' EXIT
failures=0
try() { # plugin package, module, client package
  python3 -m venv "$work/$2"
  "$work/$2/bin/pip" install -q flytekit==1.16.31 "$1==1.16.31" "$3"
  if said=$("$work/$2/bin/python" -c "import flytekitplugins.$2" 2>&1); then
    echo "CHANGED: $1 can be imported"
    failures=1
  else
    echo "seen: $1 with $3: $(tail -1 <<< "$said" | sed 's/ (.*//')"
  fi
}
try flytekitplugins-perian-job perian_job perian==0.5.3
try flytekitplugins-dgxc-lepton dgxc_lepton leptonai==0.47.1
exit $failures
