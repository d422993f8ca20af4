package contender

import (
	"context"
	"log/slog"

	"github.com/prometheus/procfs"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/test/bench/load"
)

// Straight starts a plugin as the host does, without a host in between.
func Straight(ctx context.Context, dir string, spec plugin.Spec) (*Contender, error) {
	root, err := process.OpenRunRoot(dir)
	if err != nil {
		return nil, err
	}
	spec.Name, spec.TLS = "straight", true
	instance, err := plugin.Start(ctx, spec, plugin.Environment{RunRoot: root, Log: slog.New(slog.DiscardHandler)})
	if err != nil {
		_ = root.Close()
		return nil, err
	}
	stop := func() {
		_ = instance.Stop(context.Background())
		_ = root.Close()
	}
	running, err := load.Process(instance.PID())
	if err != nil {
		stop()
		return nil, err
	}
	return &Contender{Conn: instance.Conn(), Answering: func() ([]procfs.Proc, error) { return []procfs.Proc{running}, nil }, Stop: stop}, nil
}
