package main

import (
	"context"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/prometheus/procfs"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/tools/verify"
)

// languages measures the hello agent in each language: how long it takes to start, what it takes in memory, and how many
// polls it answers. The folders are those of the hello agents, each with its verify.yaml, which says how it is started.
func languages(folders []string) error {
	ctx, cancel := context.WithTimeout(context.Background(), 10*time.Minute)
	defer cancel()
	dir, err := os.MkdirTemp("", "bench")
	if err != nil {
		return err
	}
	defer os.RemoveAll(dir)
	root, err := process.OpenRunRoot(filepath.Join(dir, "run"))
	if err != nil {
		return err
	}
	defer root.Close()
	fmt.Println("| hello agent | start | memory idle | memory after the load | polls a second, 1 caller | 64 callers |")
	fmt.Println("|---|---|---|---|---|---|")
	for _, folder := range folders {
		if err := hello(ctx, root, folder); err != nil {
			return fmt.Errorf("%s: %w", folder, err)
		}
	}
	fmt.Printf("languages ok: %d hello agents\n", len(folders))
	return nil
}

func hello(ctx context.Context, root *process.RunRoot, folder string) error {
	spec, err := filepath.Abs(filepath.Join(folder, "verify.yaml"))
	if err != nil {
		return err
	}
	subject, err := verify.ReadSpec(spec)
	if err != nil {
		return err
	}
	started := time.Now()
	instance, err := plugin.Start(ctx, plugin.Spec{Name: "hello", Command: subject.Command, Dir: subject.Dir, TLS: true},
		plugin.Environment{RunRoot: root, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		return fmt.Errorf("%w: run `make verify-plugins` first, which builds it", err)
	}
	start := time.Since(started)
	defer func() { _ = instance.Stop(context.Background()) }()
	idle, err := resident(instance.PID())
	if err != nil {
		return err
	}
	client := service.NewAsyncAgentServiceClient(instance.Conn())
	poll, err := pollOf(ctx, client)
	if err != nil {
		return err
	}
	var rates []float64
	for _, callers := range []int{1, 64} {
		if _, err := measure(ctx, client, poll, callers, *length); err != nil { // warms up, which a JVM takes long for
			return err
		}
		rate, err := measure(ctx, client, poll, callers, 2**length)
		if err != nil {
			return err
		}
		rates = append(rates, rate)
	}
	busy, err := resident(instance.PID())
	if err != nil {
		return err
	}
	fmt.Printf("| %s | %d ms | %.0f MiB | %.0f MiB | %.0f | %.0f |\n", folder, start.Milliseconds(), idle, busy, rates[0], rates[1])
	return nil
}

// resident is a process's memory in MiB.
func resident(pid int) (float64, error) {
	found, err := procfs.NewProc(pid)
	if err != nil {
		return 0, err
	}
	status, err := found.NewStatus()
	return float64(status.VmRSS) / (1 << 20), err
}
