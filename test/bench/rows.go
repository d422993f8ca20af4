package main

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"math"

	"github.com/agenthost/agenthost/test/bench/report"
)

// row is one of the table: what is measured, in which unit, what it should be, and how it is measured.
type row struct {
	name, what, unit string
	target           *report.Target
	measure          measure
}

func atLeast(value float64) *report.Target { return &report.Target{Value: value} }
func atMost(value float64) *report.Target  { return &report.Target{Value: value, AtMost: true} }

func get(callers int) loadName    { return loadName{method: "get", callers: callers} }
func create(callers int) loadName { return loadName{method: "create", callers: callers} }

// steady is what the host's own time is measured at: a rate that it and the plugin sustain easily.
var steady = loadName{method: "get", perSecond: 1000}

// rows are all that `make bench` measures.
var rows = []row{
	{"flytekit-get-1", "agenthost-flytekit behind the host / pyflyte serve connector, GetTask, 1 caller", "", atLeast(0.9), ratio{get(1), adapter, flytekit}},
	{"flytekit-get-16", "agenthost-flytekit behind the host / pyflyte serve connector, GetTask, 16 callers", "", atLeast(1.0), ratio{get(16), adapter, flytekit}},
	{"flytekit-get-64", "agenthost-flytekit behind the host / pyflyte serve connector, GetTask, 64 callers", "", atLeast(1.1), ratio{get(64), adapter, flytekit}},
	{"flytekit-get-256", "agenthost-flytekit behind the host / pyflyte serve connector, GetTask, 256 callers", "", atLeast(1.1), ratio{get(256), adapter, flytekit}},
	{"flytekit-2-get-64", "2 instances of agenthost-flytekit / pyflyte serve connector, GetTask, 64 callers", "", atLeast(1.6), ratio{get(64), adapters, flytekit}},
	{"flytekit-2-get-256", "2 instances of agenthost-flytekit / pyflyte serve connector, GetTask, 256 callers", "", atLeast(1.6), ratio{get(256), adapters, flytekit}},
	{"flytekit-create-64", "agenthost-flytekit behind the host / pyflyte serve connector, CreateTask, 64 callers", "", atLeast(1.0), ratio{create(64), adapter, flytekit}},

	{"get-1", "GetTask, forwarded / straight to the Go plugin, 1 caller", "", atLeast(0.50), ratio{get(1), forwarded, direct}},
	{"get-16", "GetTask, forwarded / straight to the Go plugin, 16 callers", "", atLeast(0.66), ratio{get(16), forwarded, direct}},
	{"get-64", "GetTask, forwarded / straight to the Go plugin, 64 callers", "", atLeast(0.72), ratio{get(64), forwarded, direct}},
	{"get-256", "GetTask, forwarded / straight to the Go plugin, 256 callers", "", atLeast(0.75), ratio{get(256), forwarded, direct}},
	{"proxy-get-64", "GetTask through a plain typed gRPC proxy / straight, 64 callers, for reference", "", nil, ratio{get(64), proxied, direct}},
	{"create-1", "CreateTask, forwarded / straight, 1 caller", "", nil, ratio{create(1), forwarded, direct}},
	{"create-64", "CreateTask, forwarded / straight, 64 callers", "", atLeast(0.65), ratio{create(64), forwarded, direct}},
	{"proxy-create-64", "CreateTask through the plain proxy / straight, 64 callers, for reference", "", nil, ratio{create(64), proxied, direct}},
	{"create-large-16", "CreateTask with 256 KiB of inputs, and of resource_meta back, forwarded / straight, 16 callers", "", atLeast(0.75), ratio{loadName{method: "create-large", callers: 16}, forwarded, direct}},
	{"create-large-flytekit-16", "CreateTask with 256 KiB each way, straight to the Go plugin / pyflyte serve connector, 16 callers", "", atLeast(1.5), ratio{loadName{method: "create-large", callers: 16}, direct, flytekit}},
	{"sync-64", "ExecuteTaskSync, forwarded / straight, 64 callers", "", atLeast(0.65), ratio{loadName{method: "sync", callers: 64}, forwardedBench, directBench}},
	{"remembered-get-64", "GetTask answered from memory (status.min_interval) / straight, 64 callers", "", atLeast(1.6), ratio{loadName{method: "get-running", callers: 64}, remembering, directBench}},
	{"go-flytekit-get-64", "GetTask of the Go plugin through the host / pyflyte serve connector, 64 callers", "", atLeast(10), ratio{get(64), forwarded, flytekit}},

	{"added-p50", "what the host adds to a GetTask at 1,000 calls/s, p50", "ms", atMost(0.15), added{steady, forwarded, direct, func(r *rounds) []float64 { return r.p50 }}},
	{"added-p99", "what the host adds to a GetTask at 1,000 calls/s, p99", "ms", atMost(0.5), added{steady, forwarded, direct, func(r *rounds) []float64 { return r.p99 }}},
	{"added-p99.9", "what the host adds to a GetTask at 1,000 calls/s, p99.9", "ms", atMost(1.2), added{steady, forwarded, direct, func(r *rounds) []float64 { return r.p999 }}},

	{"memory-idle", "the host's memory, idle with one plugin", "MiB", atMost(30), by(memoryIdle)},
	{"memory-plugin", "the host's memory for each further idle plugin", "MiB", atMost(0.7), by(memoryOfAPlugin)},
	{"memory-jobs", "the host's memory for 100,000 remembered jobs", "MiB", atMost(40), by(memoryOfJobs)},

	{"fleet-start", "300 plugins: until the host is ready / the plugins' own processor time", "", atMost(1.3), fleetStart},
	{"fleet-reload-one", "reload of one of 300 plugins / of the only one", "", atMost(1.3), fleetReloadOne},
	{"fleet-reload-all", "reload of all 300 / the new plugins' own processor time", "", atMost(1.3), fleetReloadAll},
	{"fleet-status", "/status of 300 plugins / of one", "", atMost(300), fleetStatus},
	{"swap-pause", "longest call while a plugin is swapped, beyond the p99.9 without, 64 callers", "ms", atMost(10), by(swapPause)},
	{"jobs-cpu", "10⁶ jobs polled by one host with 200 plugins: the host's processor time a poll / with 10³ jobs", "", atMost(1.1), by(jobsCPU)},
	{"jobs-memory", "10⁶ jobs of one host with 200 plugins: live data a job / with 10⁴ jobs", "", atMost(1.1), by(jobsMemory)},

	{"start-go", "start of a plugin to ready, in Go", "s", nil, by(startGo)},
	{"start-rust", "start of a plugin to ready, in Rust", "s", nil, startHello("sdk/rust/examples/hello")},
	{"start-java", "start of a plugin to ready, in Java, with the archive of its classes that the SDK's page makes", "s", atMost(0.9), by(startArchived)},
	{"start-java-bare", "start of a plugin to ready, in Java, without an archive", "s", nil, startHello(helloInJava)},
	{"start-python", "start of a plugin to ready, in Python", "s", nil, startHello("sdk/python/examples/hello")},
	{"start-flytekit", "processor time of the start of agenthost-flytekit", "s", atMost(1.0), by(startFlytekit)},
}

// linear is the exponent that is taken for linear growth.
var linear = atMost(1.1)

// growthRows are measured with -growth.
var growthRows = []row{
	{"growth-plugins-start", "exponent of the host's processor time to start plugins", "", linear, grows{"plugins-start", "plugins", startCPU, growthOfPlugins}},
	{"growth-plugins-idle", "exponent of the host's processor time with idle plugins", "", linear, grows{"plugins-idle", "plugins", idleCPU, growthOfPlugins}},
	{"growth-plugins-memory", "exponent of the host's memory with plugins", "", linear, grows{"plugins-memory", "plugins", residentMemory, growthOfPlugins}},
	{"growth-jobs-cpu", "exponent of the host's processor time to poll jobs", "", linear, grows{"jobs-cpu", "jobs", pollCPU, growthOfJobs}},
	{"growth-jobs-memory", "exponent of the host's live data of jobs", "", linear, grows{"jobs-memory", "jobs", liveMemory, growthOfJobs}},
	{"growth-messages-cpu", "exponent of the host's processor time for messages of more KiB", "", linear, grows{"messages-cpu", "KiB", callCPU, growthOfMessages}},
	{"growth-messages-memory", "exponent of the host's memory for messages of more KiB", "", linear, grows{"messages-memory", "KiB", peakMemory, growthOfMessages}},
	{"growth-callers-cpu", "exponent of the host's processor time for calls at once", "", linear, grows{"callers-cpu", "calls at once", callersCPU, growthOfCallers}},
	{"growth-callers-memory", "exponent of the host's memory for calls at once", "", linear, grows{"callers-memory", "calls at once", peakMemory, growthOfCallers}},
}

// besides are rows of hosts that do more than they have to, or of another commit's, at the callers that the others are compared by.
func besides(name, what, of, to string) []row {
	var more []row
	for _, load := range []loadName{create(64), get(64)} {
		more = append(more, row{fmt.Sprintf("%s-%s", name, load), fmt.Sprintf("%s: %s, 64 callers", what, methods[load.method].call), "", nil, ratio{load, of, to}})
	}
	return more
}

// measureAll measures rows, one after the other. It returns an error only when ctx ends: a row that fails says so itself.
func (l *lab) measureAll(ctx context.Context, rows []row) error {
	for _, row := range rows {
		row.measure.plan(l)
	}
	for i, row := range rows {
		l.say("row %d of %d: %s", i+1, len(rows), row.name)
		found, err := row.measure.measure(ctx, l)
		if ctx.Err() != nil {
			return context.Cause(ctx)
		}
		told := report.Row{Name: row.name, What: row.what, Unit: row.unit, Target: row.target}
		if err == nil && !finite(found.Median) {
			err = errors.New("there was too little to be measured: it takes more rounds, or longer ones")
		}
		maps.DeleteFunc(found.detail, func(_ string, value float64) bool { return !finite(value) })
		if err != nil {
			told.Error = err.Error()
			l.say("%s failed: %v", row.name, err)
		} else {
			told.Measured, told.Detail, told.Series = &found.Spread, found.detail, found.series
			told.Comparison, told.Of, told.To = found.comparison, found.of, found.to
			if row.target != nil {
				met := row.target.Met(found.Median)
				told.Met = &met
			}
			l.tell(fmt.Sprintf("%s: %s %s", row.name, told.Said(), told.Wanted()))
		}
		l.result.Rows = append(l.result.Rows, told)
	}
	return nil
}

// finite tells a figure from what divisions by nothing give.
func finite(value float64) bool { return !math.IsNaN(value) && !math.IsInf(value, 0) }
