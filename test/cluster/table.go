package main

// table is the cases.
var table = []row{
	{name: "install", run: install, shows: "the chart in a restricted namespace; helm test and a task through the Service"},
	{name: "swap-configmap", run: swapByConfigMap, shows: "a changed ConfigMap swaps a plugin in its pod; no job is lost"},
	{name: "swap-secret", run: swapBySecret, shows: "a changed Secret reaches the plugin in its pod"},
	{name: "refused-rollout", run: refusedRollout, shows: "a configuration that a plugin refuses is not rolled out, and told; the old pod serves"},
	{name: "refused-swap", run: refusedSwap, shows: "a refused hot swap fails the release; what served goes on"},
	{name: "broken-file", run: brokenFile, shows: "a restart with a broken ConfigMap serves the last sound configuration"},
	{name: "rolling-update", run: rollingUpdate, shows: "two rollouts under Flyte's k8s:// resolver and the ClusterIP, no call fails"},
	{name: "deletion-duckdb", run: deletionOfDuckDB, shows: "a query goes on after its pod was deleted, from the shared volume"},
	{name: "deletion-flytekit", run: deletionOfFlytekit, shows: "jobs of flytekit's connectors go on after their pod was deleted"},
	{name: "deletion-chaos", run: deletionOfChaos, shows: "jobs of an outside system go on after their pod was deleted, each made once"},
	{name: "oom", run: outOfMemory, shows: "the kernel kills a plugin for memory; the host and the others serve on (cgroup v1)"},
	{name: "memory-limit", run: memoryLimit, shows: "a plugin over its own limit is restarted before the container's is reached"},
	{name: "group-kill", run: groupKill, shows: "all processes of the container killed at once, as cgroup v2 does; jobs go on"},
	{name: "host-kill", run: hostKill, shows: "kill -9 of the host; the pod serves again and jobs go on"},
	{name: "service-away", run: serviceAway, shows: "one of two plugins cannot start: after ready.give_up the sound one serves in new pods, loudly"},
	{name: "frozen", run: frozen, shows: "a host that answers no probe gets no calls, and gets them again when it answers"},
	{name: "takeover", run: takeover, shows: "helm upgrade of a release of Flyte's chart with flytekit's server, jobs in flight"},
	{name: "replicas", run: replicas, shows: "two replicas with duckdb on a shared volume: any of them answers for any job"},
	{name: "autoscaler", run: autoscaler, shows: "the HPA scales up by calls in flight and down again, no call fails"},
	{name: "stop", run: stop, shows: "uninstalled: every container ends by itself with 0, jobs' volume stays"},
	{name: "drain", run: drain, shows: "a drain takes one of two pods; the budget holds the other until there is a new one", alone: true},
}
