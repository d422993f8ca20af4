package main

import (
	"context"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/test/bench/contender"
	"github.com/agenthost/agenthost/test/bench/report"
)

// programs are where what is measured was built.
type programs struct {
	// bin is where `make build` put the host and the plugins, against where that of another commit did, helpers where `make bench` put
	// the programs of this folder, flytekit the programs of its environment, and root is the repository.
	bin, against, helpers, flytekit, root string
}

func (p programs) hello() string { return filepath.Join(p.bin, "plugins/hello/hello") }

// greeter is the plugin of test/bench/plugin, for a task type.
func (p programs) greeter(taskType string) []string {
	return []string{filepath.Join(p.helpers, "plugin"), "-type", taskType}
}

// lab is what rows are measured in: it starts contenders when the first row needs them, and measures once what several rows are made of.
type lab struct {
	programs
	scale
	dir   string
	admin string // of the host, for profiling it meanwhile; empty: any
	// planned are the contenders of each comparison.
	planned map[loadName][]string

	began       time.Time
	progress    io.Writer
	found       io.Writer // lines for people; nil: none
	contenders  map[string]*contender.Contender
	stops       []func()
	comparisons map[loadName]compared
	once        map[string]any
	result      *report.Result
	folders     int
}

func newLab(p programs, s scale, dir string, progress, found io.Writer) *lab {
	return &lab{
		programs: p, scale: s, dir: dir, began: time.Now(), progress: progress, found: found,
		planned: map[loadName][]string{}, contenders: map[string]*contender.Contender{}, comparisons: map[loadName]compared{},
		once: map[string]any{}, result: &report.Result{Format: report.Format},
	}
}

// say tells what is being done.
func (l *lab) say(format string, values ...any) {
	fmt.Fprintf(l.progress, "%7s  %s\n", time.Since(l.began).Round(100*time.Millisecond), fmt.Sprintf(format, values...))
}

// tell is a line of what was found.
func (l *lab) tell(line string) {
	if l.found != nil {
		fmt.Fprintln(l.found, line)
	}
}

// close stops what was started, the last first.
func (l *lab) close() {
	for _, stop := range slices.Backward(l.stops) {
		stop()
	}
	l.stops = nil
}

// folder is a new name for one of a process.
func (l *lab) folder() string {
	l.folders++
	return filepath.Join(l.dir, fmt.Sprint(l.folders))
}

// host starts a host for one row. It is stopped by who asked for it.
func (l *lab) host(ctx context.Context, plugins map[string]any, change ...func(*contender.HostOptions)) (*contender.Host, error) {
	o := contender.HostOptions{Dir: l.folder(), Bin: l.bin, Settings: map[string]any{"plugins": plugins}}
	if len(plugins) > 1 { // by default a host is ready once each has been started, or has failed to
		o.Settings["ready"] = map[string]any{"plugins": "all"}
	}
	for _, one := range change {
		one(&o)
	}
	return contender.StartHost(ctx, o)
}

// contender starts one, or finds the one that runs.
func (l *lab) contender(ctx context.Context, name string) (*contender.Contender, error) {
	if running := l.contenders[name]; running != nil {
		return running, nil
	}
	l.say("starting %s", name)
	running, err := starters[name](ctx, l)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", name, err)
	}
	l.contenders[name] = running
	l.stops = append(l.stops, running.Stop)
	return running, nil
}

// The contenders, by the names that rows and results have for them.
const (
	direct         = "direct"          // the plugin hello, without a host
	forwarded      = "forwarded"       // the same behind the host
	directBench    = "direct-bench"    // test/bench/plugin, without a host
	forwardedBench = "forwarded-bench" // the same behind the host
	remembering    = "remembering"     // the same, answered from memory
	proxied        = "proxy"           // hello behind the plain proxy
	flytekit       = "flytekit"        // pyflyte serve connector
	adapter        = "adapter"         // agenthost-flytekit behind the host
	adapters       = "adapter-2"       // two instances of it
	other          = "other"           // hello behind another commit's host
	guarded        = "tls"             // hello behind a host with TLS, client certificates and rules that seal
	traced         = "traced"          // hello behind a host that sends a hundredth of its traces
)

// order is that in which contenders alternate.
var order = []string{direct, forwarded, remembering, directBench, forwardedBench, proxied, flytekit, adapter, adapters, other, guarded, traced}

type starter func(context.Context, *lab) (*contender.Contender, error)

// starters start the contenders.
var starters = map[string]starter{
	direct: func(ctx context.Context, l *lab) (*contender.Contender, error) {
		return contender.Straight(ctx, l.folder(), plugin.Spec{Command: []string{l.hello()}})
	},
	directBench: func(ctx context.Context, l *lab) (*contender.Contender, error) {
		return contender.Straight(ctx, l.folder(), plugin.Spec{Command: l.greeter(benchType)})
	},
	forwarded: behind(func(o *contender.HostOptions, l *lab) { o.Admin = l.admin }),
	forwardedBench: func(ctx context.Context, l *lab) (*contender.Contender, error) {
		return asContender(l.host(ctx, plugins(l.greeter(benchType))))
	},
	remembering: func(ctx context.Context, l *lab) (*contender.Contender, error) {
		return asContender(l.host(ctx, map[string]any{"bench": map[string]any{
			"command": l.greeter(benchType), "status": map[string]any{"min_interval": "1h"},
		}}))
	},
	proxied: func(ctx context.Context, l *lab) (*contender.Contender, error) {
		return contender.Proxy(ctx, filepath.Join(l.helpers, "proxy"), l.hello())
	},
	flytekit: func(ctx context.Context, l *lab) (*contender.Contender, error) {
		return contender.Flytekit{Bin: l.flytekit, Dir: l.folder()}.Serve(ctx)
	},
	adapter:  adapted(1),
	adapters: adapted(2),
	other:    behind(func(o *contender.HostOptions, l *lab) { o.Bin = l.against }),
	guarded: func(ctx context.Context, l *lab) (*contender.Contender, error) {
		dir := l.folder()
		if err := os.Mkdir(dir, 0o700); err != nil {
			return nil, err
		}
		known, err := contender.NewIdentities(dir)
		if err != nil {
			return nil, err
		}
		return behind(func(o *contender.HostOptions, _ *lab) { o.Identities = known })(ctx, l)
	},
	traced: func(ctx context.Context, l *lab) (*contender.Contender, error) {
		collector, stop, err := contender.Collector(ctx)
		if err != nil {
			return nil, err
		}
		l.stops = append(l.stops, stop)
		return behind(func(o *contender.HostOptions, _ *lab) {
			o.Environ = []string{
				"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + collector, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
				"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.01",
			}
		})(ctx, l)
	},
}

// behind starts a host with the plugin hello.
func behind(change func(*contender.HostOptions, *lab)) starter {
	return func(ctx context.Context, l *lab) (*contender.Contender, error) {
		return asContender(l.host(ctx, plugins([]string{l.hello()}), func(o *contender.HostOptions) { change(o, l) }))
	}
}

// adapted starts a host with so many instances of flytekit's adapter.
func adapted(instances int) starter {
	return func(ctx context.Context, l *lab) (*contender.Contender, error) {
		configured, err := contender.Flytekit{Bin: l.flytekit, Dir: l.folder()}.Plugin(instances)
		if err != nil {
			return nil, err
		}
		return asContender(l.host(ctx, map[string]any{"hello": configured}))
	}
}

func asContender(host *contender.Host, err error) (*contender.Contender, error) {
	if err != nil {
		return nil, err
	}
	return &host.Contender, nil
}

// plugins is a configuration of one.
func plugins(command []string) map[string]any {
	return map[string]any{"hello": map[string]any{"command": command}}
}

// once measures what several rows are made of, for the first of them.
func once[T any](l *lab, what string, measure func() (T, error)) (T, error) {
	type outcome struct {
		value T
		err   error
	}
	if known, ok := l.once[what].(outcome); ok {
		return known.value, known.err
	}
	value, err := measure()
	l.once[what] = outcome{value, err}
	return value, err
}
