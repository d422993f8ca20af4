package main

import (
	"context"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
)

// running is a plugin that has been started, or that runs elsewhere and has been reached.
type running interface {
	Manifest() plugin.Manifest
	Stop(ctx context.Context) error
}

// startOrConnect starts a plugin as the host would, or reaches it where it runs elsewhere.
func startOrConnect(ctx context.Context, spec plugin.Spec, env plugin.Environment) (running, error) {
	if !spec.Remote() {
		return plugin.Start(ctx, spec, env)
	}
	return plugin.Connect(ctx, spec, env)
}

// stopPlugin gives a plugin its time to stop, also after an interruption, and the kernel some seconds more.
func stopPlugin(started running, configured config.Plugin) error {
	ctx, cancel := context.WithTimeout(context.Background(), configured.StopTimeout+5*time.Second)
	defer cancel()
	return started.Stop(ctx)
}
