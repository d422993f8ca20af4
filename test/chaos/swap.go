package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/test/chaos/procs"
	"github.com/agenthost/agenthost/test/replica"
	"github.com/agenthost/agenthost/test/wait"
)

// swapOptions are those of swap-under-load.
type swapOptions struct {
	host, plugin   string
	calls, callers int
	every          time.Duration
	out            io.Writer
}

// runSwap polls a job of the hello plugin so many times while the plugin is swapped again and again.
func runSwap(ctx context.Context, o swapOptions) error {
	dir, err := os.MkdirTemp("", "swap-")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	plugin, err := filepath.Abs(o.plugin)
	if err != nil {
		return err
	}
	s := &swapping{swapOptions: o, plugin: plugin, dir: dir, mark: newMark(), pids: map[int]bool{}}
	if err := s.write(); err != nil {
		return err
	}
	host := &replica.Replica{Name: "host", Program: o.host, Config: s.file(), Logs: dir}
	starting, cancel := context.WithTimeout(ctx, hostLimit)
	defer cancel()
	if err := host.Start(starting); err != nil {
		return err
	}
	err = s.load(ctx, host)
	stopping, cancel := context.WithTimeout(context.Background(), hostLimit)
	defer cancel()
	return errors.Join(err, host.Signal(syscall.SIGTERM), host.Wait(stopping))
}

// swapping is one run.
type swapping struct {
	swapOptions
	plugin, dir, mark string
	written           int

	pids    map[int]bool // of the plugin's processes, as seen
	done    atomic.Int64
	failed  atomic.Int64
	longest atomic.Int64
	failure atomic.Pointer[error]
}

func (s *swapping) file() string { return filepath.Join(s.dir, "agenthost.json") }

// write gives the plugin a new spec.
func (s *swapping) write() error {
	s.written++
	content, err := json.Marshal(map[string]any{
		"run_dir": filepath.Join(s.dir, "run"), "state_dir": filepath.Join(s.dir, "state"),
		"plugins": map[string]any{"hello": map[string]any{
			"command": []string{s.plugin},
			"env":     map[string]any{"RELEASE": fmt.Sprint(s.written), procs.Variable: s.mark},
		}},
	})
	if err != nil {
		return err
	}
	if err := os.WriteFile(s.file()+".new", content, 0o600); err != nil {
		return err
	}
	return os.Rename(s.file()+".new", s.file())
}

func (s *swapping) load(ctx context.Context, host *replica.Replica) error {
	address, _, _ := host.Ready()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	client := service.NewAsyncAgentServiceClient(conn)
	poll, err := createHello(ctx, client)
	if err != nil {
		return err
	}
	s.look()
	loading, cancel := context.WithCancel(ctx)
	defer cancel()
	var swapper, callers sync.WaitGroup
	var wrote error
	swapper.Go(func() {
		next := time.Now().Add(s.every)
		for wait.For(loading, s.every/20) {
			s.look()
			if time.Now().After(next) {
				next = next.Add(s.every)
				wrote = errors.Join(wrote, s.write())
			}
		}
	})
	started := time.Now()
	for range s.callers {
		callers.Go(func() { s.call(loading, client, poll) })
	}
	callers.Wait()
	took := time.Since(started)
	cancel()
	swapper.Wait()
	if ctx.Err() != nil || wrote != nil {
		return errors.Join(ctx.Err(), wrote)
	}
	swaps := len(s.pids) - 1
	fmt.Fprintf(s.out, "%.0f calls/s with %d callers; the configuration was written %d times in %v\n",
		float64(s.calls)/took.Seconds(), s.callers, s.written-1, took.Round(time.Second))
	if text, err := host.Ask(ctx, "/metrics"); err == nil { // for people: a remembered answer is an answer, too
		saved := map[string]int{}
		for name, value := range parseMetrics(text) {
			if labels, ok := strings.CutPrefix(name, "agenthost_guarantee_total{"); ok && value > 0 {
				saved[guaranteeOf(labels)] += int(value)
			}
		}
		printCounts(s.out, "how often the host says that it saved a call, by guarantee:", saved)
	}
	longest := time.Duration(s.longest.Load()).Round(time.Millisecond)
	failed := s.failed.Load()
	if failed > 0 || swaps == 0 {
		first := errors.New("the plugin was never swapped")
		if f := s.failure.Load(); f != nil {
			first = *f
		}
		return fmt.Errorf("swap FAILED: %d calls, %d swaps, %d failed, longest pause %v; the first failure: %w", s.calls, swaps, failed, longest, first)
	}
	fmt.Fprintf(s.out, "swap ok: %d calls, %d swaps, 0 failed, longest pause %v\n", s.calls, swaps, longest)
	return nil
}

// call polls until all calls are made. FlytePropeller's calls have a deadline of ten seconds.
func (s *swapping) call(ctx context.Context, client service.AsyncAgentServiceClient, poll *admin.GetTaskRequest) {
	for s.done.Add(1) <= int64(s.calls) && ctx.Err() == nil {
		calling, cancel := context.WithTimeout(ctx, 10*time.Second)
		began := time.Now()
		answer, err := client.GetTask(calling, poll)
		took := int64(time.Since(began))
		cancel()
		for longest := s.longest.Load(); took > longest && !s.longest.CompareAndSwap(longest, took); {
			longest = s.longest.Load()
		}
		if err == nil && answer.GetResource().GetPhase() != core.TaskExecution_SUCCEEDED {
			err = fmt.Errorf("the host answered %s: %s", answer.GetResource().GetPhase(), answer.GetResource().GetMessage())
		}
		if err != nil {
			s.failed.Add(1)
			s.failure.CompareAndSwap(nil, &err)
		}
	}
}

// look notes the plugin's processes.
func (s *swapping) look() {
	for _, p := range procs.Marked(s.mark) {
		s.pids[p.PID] = true
	}
}

func createHello(ctx context.Context, client service.AsyncAgentServiceClient) (*admin.GetTaskRequest, error) {
	ctx, cancel := context.WithTimeout(ctx, 10*time.Second)
	defer cancel()
	text := &core.VariableMap{Variables: map[string]*core.Variable{
		"name": {Type: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_STRING}}},
	}}
	job, err := client.CreateTask(ctx, &admin.CreateTaskRequest{
		Template: &core.TaskTemplate{Type: "hello", Interface: &core.TypedInterface{Inputs: text}},
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{
			"name": primitive(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: "swap"}}),
		}},
	})
	if err != nil {
		return nil, err
	}
	return &admin.GetTaskRequest{TaskType: "hello", ResourceMeta: job.GetResourceMeta(), TaskCategory: &admin.TaskCategory{Name: "hello"}}, nil
}
