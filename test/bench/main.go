// Command bench measures what the host costs: CreateTask and GetTask, the call that FlytePropeller makes most, through the host
// beside the same straight to the same plugin, from one client, in alternating rounds. Machines are noisy, so the figures that
// count are ratios of medians. With -against it measures another host as well, such as that of an earlier commit, and with -tls one
// that knows its callers by their certificates, with -traces one that traces a hundredth of the calls. It builds nothing: `make bench` does.
//
// With folders of hello agents as arguments it measures those, beside each other: `make bench-languages`.
package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"flag"
	"fmt"
	"io"
	"log"
	"log/slog"
	"maps"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/prometheus/procfs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
)

var (
	bin       = flag.String("bin", "bin", "where `make build` put the host and the plugins")
	against   = flag.String("against", "", "where `make build` of another commit put its host, to measure it beside")
	overTLS   = flag.Bool("tls", false, "measure a host with TLS, client certificates and rules that seal, too")
	traced    = flag.Bool("traces", false, "measure a host that sends a hundredth of its traces to a collector, too")
	rounds    = flag.Int("rounds", 9, "rounds of each kind")
	length    = flag.Duration("length", time.Second, "length of a round")
	callers   = flag.String("callers", "1,64", "numbers of callers at once; the last makes the summary")
	operators = flag.String("admin", "127.0.0.1:0", "the host's admin address, for profiling it meanwhile")
)

func main() {
	flag.Parse()
	log.SetFlags(0)
	measured := run
	if flag.NArg() > 0 {
		measured = func() error { return languages(flag.Args()) }
	}
	if err := measured(); err != nil {
		log.Fatal("bench: ", err)
	}
}

func run() error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	hello, err := filepath.Abs(filepath.Join(*bin, "plugins/hello/hello"))
	if err != nil {
		return err
	}

	own, err := startHost(ctx, filepath.Join(dir, "host"), *bin, hello, nil, nil)
	if err != nil {
		return err
	}
	defer own.stop()
	idle, err := own.memory()
	if err != nil {
		return err
	}
	direct, plugged, stop, err := startPlugin(ctx, dir, hello)
	if err != nil {
		return err
	}
	defer stop()
	kinds := []*kind{{name: "direct", client: direct, plugin: plugged}, {name: "forwarded", client: own.client, host: own, plugin: own.plugin}}
	if *against != "" {
		other, err := startHost(ctx, filepath.Join(dir, "other"), *against, hello, nil, nil)
		if err != nil {
			return fmt.Errorf("-against %s: %w", *against, err)
		}
		defer other.stop()
		kinds = append(kinds, &kind{name: "other", client: other.client, host: other, plugin: other.plugin})
	}
	if *overTLS {
		known, err := newIdentities(dir)
		if err != nil {
			return err
		}
		guarded, err := startHost(ctx, filepath.Join(dir, "tls"), *bin, hello, known, nil)
		if err != nil {
			return fmt.Errorf("-tls: %w", err)
		}
		defer guarded.stop()
		kinds = append(kinds, &kind{name: "tls", client: guarded.client, host: guarded, plugin: guarded.plugin})
	}
	if *traced {
		collector, stopCollector, err := startCollector(ctx)
		if err != nil {
			return fmt.Errorf("-traces: %w", err)
		}
		defer stopCollector()
		tracing, err := startHost(ctx, filepath.Join(dir, "traces"), *bin, hello, nil, []string{
			"OTEL_EXPORTER_OTLP_ENDPOINT=http://" + collector, "OTEL_EXPORTER_OTLP_PROTOCOL=grpc",
			"OTEL_TRACES_SAMPLER=parentbased_traceidratio", "OTEL_TRACES_SAMPLER_ARG=0.01",
		})
		if err != nil {
			return fmt.Errorf("-traces: %w", err)
		}
		defer tracing.stop()
		kinds = append(kinds, &kind{name: "traced", client: tracing.client, host: tracing, plugin: tracing.plugin})
	}

	for _, k := range kinds {
		if k.poll, err = pollOf(ctx, k.client); err != nil {
			return fmt.Errorf("%s: %w", k.name, err)
		}
	}
	numbers, err := parseNumbers(*callers)
	if err != nil {
		return err
	}
	var ratios []string
	added := map[string][]string{} // the kinds of our host that do more: their rates, of those of the one that does not
	create := newCreate()
	for _, method := range []struct {
		name string
		call func(*kind) call
	}{{"CreateTask", func(*kind) call { return create }}, {"GetTask", func(k *kind) call { return k.poll }}} {
		var ratio float64
		more := map[string]float64{}
		for _, callers := range numbers {
			if err := compare(ctx, kinds, method.call, callers); err != nil {
				return fmt.Errorf("%s: %w", method.name, err)
			}
			for _, k := range kinds {
				fmt.Printf("%-10s %-9s %2d callers: median %6.0f calls/s (%6.0f to %6.0f); processor time a call: %s\n",
					method.name, k.name, callers, median(k.rates), slices.Min(k.rates), slices.Max(k.rates), k.spent.per(k.calls))
			}
			ratio = median(kinds[1].rates) / median(kinds[0].rates)
			fmt.Printf("%-10s forwarded/direct, %2d callers: %.2f\n", method.name, callers, ratio)
			for _, k := range kinds[2:] {
				a, b := kinds[1], k
				if k.name != "other" {
					a, b = k, kinds[1]
					more[k.name] = median(a.rates) / median(b.rates)
				}
				fmt.Printf("%-10s %s/%s, %2d callers: %.2f; the median of rounds: %.2f; by processor time: %.2f\n", method.name, a.name, b.name, callers,
					median(a.rates)/median(b.rates), medianOfRounds(a, b), b.perCall()/a.perCall())
			}
		}
		ratios = append(ratios, fmt.Sprintf("%s %.2f", method.name, ratio))
		for name, ratio := range more {
			added[name] = append(added[name], fmt.Sprintf("%s %.2f", method.name, ratio))
		}
	}
	busy, err := own.memory()
	if err != nil {
		return err
	}
	fmt.Printf("host memory: %.1f MiB idle with one plugin, %.1f MiB after the load\n", idle, busy)
	said := fmt.Sprintf("forwarded/direct at %d callers: %s", numbers[len(numbers)-1], strings.Join(ratios, ", "))
	for _, name := range slices.Sorted(maps.Keys(added)) {
		said += fmt.Sprintf("; %s/forwarded: %s", name, strings.Join(added[name], ", "))
	}
	fmt.Println("bench:", said)
	return nil
}

// compare measures a call of every kind, in rounds that alternate.
func compare(ctx context.Context, kinds []*kind, call func(*kind) call, callers int) error {
	for _, k := range kinds {
		k.rates, k.spent, k.calls = nil, spent{}, 0
	}
	for round := range *rounds + 1 {
		for _, k := range kinds {
			if err := k.round(ctx, call(k), callers, round > 0); err != nil { // the first warms up
				return fmt.Errorf("%s, %d callers: %w", k.name, callers, err)
			}
		}
	}
	return nil
}

func medianOfRounds(k, other *kind) float64 {
	ratios := make([]float64, len(k.rates))
	for i := range ratios {
		ratios[i] = k.rates[i] / other.rates[i]
	}
	return median(ratios)
}

// parseNumbers reads a list such as "1,64".
func parseNumbers(list string) ([]int, error) {
	var numbers []int
	for text := range strings.SplitSeq(list, ",") {
		number, err := strconv.Atoi(strings.TrimSpace(text))
		if err != nil || number < 1 {
			return nil, fmt.Errorf("-callers %s: %q is no number of callers", list, text)
		}
		numbers = append(numbers, number)
	}
	return numbers, nil
}

// kind is a way to make the calls.
type kind struct {
	name   string
	client service.AsyncAgentServiceClient
	host   *host       // nil: none is in between
	plugin procfs.Proc // the one that answers
	poll   call        // of a job that was made so
	rates  []float64
	spent  spent
	calls  float64
}

func (k *kind) perCall() float64 { return (k.spent.client + k.spent.host + k.spent.plugin) / k.calls }

// round measures one round, and keeps what it measured if it counts.
func (k *kind) round(ctx context.Context, call call, callers int, counts bool) error {
	before, err := k.processors()
	if err != nil {
		return err
	}
	perSecond, err := measure(ctx, k.client, call, callers, *length)
	if err != nil {
		return err
	}
	after, err := k.processors()
	if err != nil || !counts {
		return err
	}
	k.rates = append(k.rates, perSecond)
	k.calls += perSecond * length.Seconds()
	k.spent.client += after.client - before.client
	k.spent.host += after.host - before.host
	k.spent.plugin += after.plugin - before.plugin
	return nil
}

// spent is processor time, in seconds, and who took it. Unlike calls per second it hardly depends on what else the machine
// does.
type spent struct{ client, host, plugin float64 }

func (s spent) per(calls float64) string {
	micros := func(seconds float64) float64 { return seconds / calls * 1e6 }
	return fmt.Sprintf("%3.0f µs (client %.0f, host %.0f, plugin %.0f)", micros(s.client+s.host+s.plugin), micros(s.client), micros(s.host), micros(s.plugin))
}

func (k *kind) processors() (now spent, err error) {
	self, err := procfs.Self()
	if err != nil {
		return spent{}, err
	}
	if now.client, err = processorTime(self); err == nil {
		now.plugin, err = processorTime(k.plugin)
	}
	if err == nil && k.host != nil {
		now.host, err = processorTime(k.host.process)
	}
	return now, err
}

func processorTime(of procfs.Proc) (float64, error) {
	stat, err := of.Stat()
	return stat.CPUTime(), err
}

// call is what is measured.
type call func(context.Context, service.AsyncAgentServiceClient) error

// measure lets callers call one after the other for a time and returns the calls per second of all of them.
func measure(ctx context.Context, client service.AsyncAgentServiceClient, call call, callers int, length time.Duration) (float64, error) {
	var calls atomic.Int64
	var failure error
	var once sync.Once
	var all sync.WaitGroup
	started := time.Now()
	for range callers {
		all.Go(func() {
			for time.Since(started) < length {
				// FlytePropeller's calls have a deadline.
				calling, cancel := context.WithTimeout(ctx, 10*time.Second)
				err := call(calling, client)
				cancel()
				if err != nil {
					once.Do(func() { failure = err })
					return
				}
				calls.Add(1)
			}
		})
	}
	all.Wait()
	return float64(calls.Load()) / time.Since(started).Seconds(), failure
}

func median(values []float64) float64 {
	sorted := slices.Sorted(slices.Values(values))
	return sorted[len(sorted)/2]
}

// host is the real binary, serving the real plugin.
type host struct {
	command *exec.Cmd
	client  service.AsyncAgentServiceClient
	process procfs.Proc
	plugin  procfs.Proc // its only child
}

func startHost(ctx context.Context, dir, bin, hello string, known *identities, environ []string) (*host, error) {
	if err := os.Mkdir(dir, 0o700); err != nil {
		return nil, err
	}
	settings := map[string]any{
		"listen":  map[string]any{"grpc": "127.0.0.1:0", "admin": *operators, "pprof": true},
		"log":     map[string]any{"format": "json"},
		"run_dir": filepath.Join(dir, "run"),
		"plugins": map[string]any{"hello": map[string]any{"command": []string{hello}}},
	}
	security := insecure.NewCredentials()
	if known != nil {
		security = known.client
		settings["listen"] = map[string]any{"grpc": "127.0.0.1:0", "admin": *operators, "tls": known.tls}
		settings["access"] = known.access
	}
	config, err := json.Marshal(settings)
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, filepath.Join(bin, "agenthost"), "serve", "--config", file)
	command.Env = append(os.Environ(), environ...)
	output, err := command.StderrPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, fmt.Errorf("%w: run `make build` first", err)
	}
	address, err := waitReady(output)
	if err != nil {
		_ = command.Process.Kill()
		return nil, errors.Join(err, command.Wait())
	}
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(security))
	if err != nil {
		return nil, err
	}
	h := &host{command: command, client: service.NewAsyncAgentServiceClient(conn)}
	if h.process, err = procfs.NewProc(command.Process.Pid); err == nil {
		h.plugin, err = childOf(command.Process.Pid)
	}
	if err != nil {
		h.stop()
		return nil, err
	}
	return h, nil
}

// startCollector serves OTLP: it takes what it is sent, and keeps nothing.
func startCollector(ctx context.Context) (address string, stop func(), err error) {
	listener, err := new(net.ListenConfig).Listen(ctx, "tcp", "127.0.0.1:0")
	if err != nil {
		return "", nil, err
	}
	server := grpc.NewServer(grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if err := stream.RecvMsg(&emptypb.Empty{}); err != nil {
			return err
		}
		return stream.SendMsg(&emptypb.Empty{})
	}))
	go func() { _ = server.Serve(listener) }()
	return listener.Addr().String(), server.Stop, nil
}

// childOf finds the process that a process has started.
func childOf(parent int) (procfs.Proc, error) {
	all, err := procfs.AllProcs()
	if err != nil {
		return procfs.Proc{}, err
	}
	for _, one := range all {
		if stat, err := one.Stat(); err == nil && stat.PPID == parent {
			return one, nil
		}
	}
	return procfs.Proc{}, fmt.Errorf("process %d has no child: the host runs no plugin", parent)
}

// waitReady reads the host's log until it is ready, and goes on reading so that it never blocks.
func waitReady(output io.Reader) (address string, err error) {
	lines := bufio.NewScanner(output)
	var last string
	for lines.Scan() {
		last = lines.Text()
		var line struct{ Msg, GRPC string }
		if json.Unmarshal(lines.Bytes(), &line) == nil && line.Msg == "agenthost is ready" {
			go func() { _, _ = io.Copy(io.Discard, output) }()
			return line.GRPC, nil
		}
	}
	return "", fmt.Errorf("the host never became ready; its last line: %s", last)
}

func (h *host) stop() {
	_ = h.command.Process.Signal(syscall.SIGTERM)
	_ = h.command.Wait()
}

// memory is the host's resident memory in MiB.
func (h *host) memory() (float64, error) { return resident(h.process.PID) }

// startPlugin starts the plugin as the host does, without a host in between.
func startPlugin(ctx context.Context, dir, hello string) (service.AsyncAgentServiceClient, procfs.Proc, func(), error) {
	root, err := process.OpenRunRoot(filepath.Join(dir, "direct"))
	if err != nil {
		return nil, procfs.Proc{}, nil, err
	}
	instance, err := plugin.Start(ctx, plugin.Spec{Name: "hello", Command: []string{hello}, TLS: true},
		plugin.Environment{RunRoot: root, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, procfs.Proc{}, nil, err
	}
	stop := func() {
		_ = instance.Stop(context.Background())
		_ = root.Close()
	}
	running, err := procfs.NewProc(instance.PID())
	if err != nil {
		stop()
		return nil, procfs.Proc{}, nil, err
	}
	return service.NewAsyncAgentServiceClient(instance.Conn()), running, stop, nil
}

// pollOf makes a job of the hello agent and returns the poll for it.
func pollOf(ctx context.Context, client service.AsyncAgentServiceClient) (call, error) {
	job, err := client.CreateTask(ctx, creation(0))
	if err != nil {
		return nil, err
	}
	request := &admin.GetTaskRequest{TaskType: "hello", ResourceMeta: job.GetResourceMeta(), TaskCategory: &admin.TaskCategory{Name: "hello"}}
	return func(ctx context.Context, client service.AsyncAgentServiceClient) error {
		_, err := client.GetTask(ctx, request)
		return err
	}, nil
}

// newCreate returns a call that makes a job of another attempt each time.
func newCreate() call {
	var n atomic.Int64
	return func(ctx context.Context, client service.AsyncAgentServiceClient) error {
		_, err := client.CreateTask(ctx, creation(n.Add(1)))
		return err
	}
}

// creation asks for a job of the hello agent, for the task of an execution of its own.
func creation(execution int64) *admin.CreateTaskRequest {
	text := &core.Variable{Type: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRING}}}
	inputs := &core.VariableMap{Variables: map[string]*core.Variable{"name": text}}
	outputs := &core.VariableMap{Variables: map[string]*core.Variable{"greeting": text}}
	return &admin.CreateTaskRequest{
		Template: &core.TaskTemplate{Type: "hello", Interface: &core.TypedInterface{Inputs: inputs, Outputs: outputs}},
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"name": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{
			Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: "bench"}}}}}}}},
		OutputPrefix: fmt.Sprintf("s3://bucket/metadata/propeller/p-d-e%d/n0/data/0", execution),
		TaskExecutionMetadata: &admin.TaskExecutionMetadata{TaskExecutionId: &core.TaskExecutionIdentifier{
			TaskId: &core.Identifier{ResourceType: core.ResourceType_TASK, Project: "p", Domain: "d", Name: "greet", Version: "1"},
			NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{
				Project: "p", Domain: "d", Name: fmt.Sprint("e", execution)}},
		}},
	}
}
