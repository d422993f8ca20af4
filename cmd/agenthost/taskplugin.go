package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"

	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
)

// inheritedByTask are the variables that a plugin run by hand gets from the shell: what a person has set up there to reach
// data and services. A host passes on only what its configuration names.
var inheritedByTask = []string{
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	"AWS_PROFILE", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL",
	"GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY",
}

// startPlugin starts a plugin for one task, and gives the connection to it and what stops it. A stop that goes wrong is
// told to problems: the task's result matters more.
func startPlugin(ctx context.Context, command []string, settings map[string]any, problems io.Writer) (grpc.ClientConnInterface, func(), error) {
	base, err := os.MkdirTemp("", "agenthost-")
	if err != nil {
		return nil, nil, err
	}
	runRoot, err := process.OpenRunRoot(base)
	if err != nil {
		return nil, nil, errors.Join(err, os.RemoveAll(base))
	}
	remove := func() {
		if err := errors.Join(runRoot.Close(), os.RemoveAll(base)); err != nil {
			fmt.Fprintf(problems, "agenthost: clearing up after the plugin: %v\n", err)
		}
	}
	configured := config.DefaultPlugin()
	configured.Sandbox.Mode = config.Off // it is its user's own program, for tasks about the user's files
	configured.Command, configured.Config, configured.InheritEnv = command, settings, inheritedByTask
	instance, err := plugin.Start(ctx, plugin.SpecOf(filepath.Base(command[0]), configured), plugin.Environment{
		RunRoot: runRoot, Log: slog.New(slog.DiscardHandler), // an error carries the last lines
	})
	if err != nil {
		remove()
		return nil, nil, err
	}
	stop := func() {
		if err := stopPlugin(instance, configured); err != nil {
			fmt.Fprintf(problems, "agenthost: stopping the plugin: %v\n", err)
		}
		remove()
	}
	return instance.Conn(), stop, nil
}
