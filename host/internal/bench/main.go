// Command bench measures what the host costs: GetTask, the call that FlytePropeller makes most, through the host beside
// GetTask straight to the same plugin, from one client, in alternating rounds. Machines are noisy, so the figures that
// count are ratios of medians. It builds nothing: `make bench` does.
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
	"os"
	"os/exec"
	"path/filepath"
	"slices"
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

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
)

var (
	bin       = flag.String("bin", "bin", "where `make build` put the host and the plugins")
	rounds    = flag.Int("rounds", 9, "rounds of each kind")
	length    = flag.Duration("length", time.Second, "length of a round")
	operators = flag.String("admin", "127.0.0.1:0", "the host's admin address, for profiling it meanwhile")
)

func main() {
	flag.Parse()
	log.SetFlags(0)
	if err := run(); err != nil {
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

	host, err := startHost(ctx, dir, hello)
	if err != nil {
		return err
	}
	defer host.stop()
	idle, err := host.memory()
	if err != nil {
		return err
	}
	direct, stop, err := startPlugin(ctx, dir, hello)
	if err != nil {
		return err
	}
	defer stop()

	request, err := createJob(ctx, direct)
	if err != nil {
		return err
	}
	kinds := []*kind{{name: "direct", client: direct}, {name: "forwarded", client: host.client}}
	var ratio float64
	for _, callers := range []int{1, 64} {
		before, err := host.processor()
		if err != nil {
			return err
		}
		var calls float64 // forwarded ones
		for round := range *rounds + 1 {
			for _, k := range kinds {
				perSecond, err := measure(ctx, k.client, request, callers, *length)
				if err != nil {
					return fmt.Errorf("%s, %d callers: %w", k.name, callers, err)
				}
				if k.name == "forwarded" {
					calls += perSecond * length.Seconds()
				}
				if round > 0 { // the first warms up
					k.rates = append(k.rates, perSecond)
				}
			}
		}
		for _, k := range kinds {
			fmt.Printf("%-9s %2d callers: median %6.0f calls/s (%6.0f to %6.0f)\n", k.name, callers, median(k.rates), slices.Min(k.rates), slices.Max(k.rates))
		}
		ratio = median(kinds[1].rates) / median(kinds[0].rates)
		after, err := host.processor()
		if err != nil {
			return err
		}
		fmt.Printf("forwarded/direct, %2d callers: %.2f; the host takes %.0f µs of processor time a call\n", callers, ratio, (after-before)/calls*1e6)
		for _, k := range kinds {
			k.rates = nil
		}
	}
	busy, err := host.memory()
	if err != nil {
		return err
	}
	fmt.Printf("host memory: %.1f MiB idle with one plugin, %.1f MiB after the load\n", idle, busy)
	fmt.Printf("bench: forwarded/direct at 64 callers = %.2f\n", ratio)
	return nil
}

type kind struct {
	name   string
	client service.AsyncAgentServiceClient
	rates  []float64
}

// measure lets callers call one after the other for a time and returns the calls per second of all of them.
func measure(ctx context.Context, client service.AsyncAgentServiceClient, request *admin.GetTaskRequest, callers int, length time.Duration) (float64, error) {
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
				_, err := client.GetTask(calling, request)
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
}

func startHost(ctx context.Context, dir, hello string) (*host, error) {
	config, err := json.Marshal(map[string]any{
		"listen":  map[string]any{"grpc": "127.0.0.1:0", "admin": *operators},
		"log":     map[string]any{"format": "json"},
		"run_dir": filepath.Join(dir, "run"),
		"plugins": map[string]any{"hello": map[string]any{"command": []string{hello}}},
	})
	if err != nil {
		return nil, err
	}
	file := filepath.Join(dir, "config.json")
	if err := os.WriteFile(file, config, 0o600); err != nil {
		return nil, err
	}
	command := exec.CommandContext(ctx, filepath.Join(*bin, "agenthost"), "serve", "--config", file)
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
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return nil, err
	}
	return &host{command: command, client: service.NewAsyncAgentServiceClient(conn)}, nil
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
func (h *host) memory() (float64, error) {
	found, err := procfs.NewProc(h.command.Process.Pid)
	if err != nil {
		return 0, err
	}
	status, err := found.NewStatus()
	return float64(status.VmRSS) / (1 << 20), err
}

// processor is the processor time that the host has taken, in seconds.
func (h *host) processor() (float64, error) {
	found, err := procfs.NewProc(h.command.Process.Pid)
	if err != nil {
		return 0, err
	}
	stat, err := found.Stat()
	return stat.CPUTime(), err
}

// startPlugin starts the plugin as the host does, without a host in between.
func startPlugin(ctx context.Context, dir, hello string) (service.AsyncAgentServiceClient, func(), error) {
	root, err := process.OpenRunRoot(filepath.Join(dir, "direct"))
	if err != nil {
		return nil, nil, err
	}
	instance, err := plugin.Start(ctx, plugin.Spec{Name: "hello", Command: []string{hello}, TLS: true},
		plugin.Environment{RunRoot: root, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return nil, nil, err
	}
	return service.NewAsyncAgentServiceClient(instance.Conn()), func() {
		_ = instance.Stop(context.Background())
		_ = root.Close()
	}, nil
}

// createJob makes a job of the hello agent and returns the poll for it.
func createJob(ctx context.Context, client service.AsyncAgentServiceClient) (*admin.GetTaskRequest, error) {
	text := &core.Variable{Type: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRING}}}
	inputs := &core.VariableMap{Variables: map[string]*core.Variable{"name": text}}
	outputs := &core.VariableMap{Variables: map[string]*core.Variable{"greeting": text}}
	job, err := client.CreateTask(ctx, &admin.CreateTaskRequest{
		Template: &core.TaskTemplate{Type: "hello", Interface: &core.TypedInterface{Inputs: inputs, Outputs: outputs}},
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"name": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{
			Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: "bench"}}}}}}}},
	})
	if err != nil {
		return nil, err
	}
	return &admin.GetTaskRequest{TaskType: "hello", ResourceMeta: job.GetResourceMeta(), TaskCategory: &admin.TaskCategory{Name: "hello"}}, nil
}
