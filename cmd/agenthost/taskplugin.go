package main

import (
	"context"
	"errors"
	"fmt"
	"io"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/logging"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/tools/terminal"
)

// inheritedByTask are the variables that a plugin run by hand gets from the shell: what a person has set up there to reach
// data and services. A host passes on only what its configuration names.
var inheritedByTask = []string{
	"HTTP_PROXY", "HTTPS_PROXY", "NO_PROXY", "http_proxy", "https_proxy", "no_proxy",
	"AWS_PROFILE", "AWS_REGION", "AWS_ACCESS_KEY_ID", "AWS_SECRET_ACCESS_KEY", "AWS_SESSION_TOKEN", "AWS_ENDPOINT_URL",
	"GOOGLE_APPLICATION_CREDENTIALS", "AZURE_STORAGE_ACCOUNT", "AZURE_STORAGE_KEY",
}

const (
	// taskStopTimeout is how long a plugin may take to end where nobody has interrupted its task: some write what they were run for
	// then, as a JVM does the archive of its classes, which takes it many seconds on a slow machine.
	taskStopTimeout = time.Minute
	// taskStopQuiet is after how long people are told that it takes long.
	taskStopQuiet = 5 * time.Second
)

// startPlugin starts a plugin for one task, and gives the connection to it and what stops it. What it prints goes among the lines. A stop
// that goes wrong is told to problems: the task's result matters more.
func (r *taskRun) startPlugin(ctx context.Context, command []string, lines *progressLines, problems io.Writer) (grpc.ClientConnInterface, func(), error) {
	settings, err := parsePluginConfig("--plugin-config", r.pluginConfig)
	if err != nil {
		return nil, nil, usageError(err)
	}
	configured := config.DefaultPlugin()
	configured.StopTimeout = taskStopTimeout
	configured.Sandbox.Mode = config.Off // it is its user's own program, for tasks about the user's files
	configured.Command, configured.Config, configured.InheritEnv = command, settings, slices.Clone(inheritedByTask)
	if err := r.pluginEnv.addTo(&configured.Secrets, &configured.Env, &configured.InheritEnv); err != nil {
		return nil, nil, usageError(err)
	}
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
	instance, err := plugin.Start(ctx, plugin.SpecOf(filepath.Base(command[0]), configured), plugin.Environment{
		RunRoot: runRoot, Keep: func(_ int, line []byte) { lines.printed(printedLine(line)) },
	})
	if err != nil {
		remove()
		return nil, nil, refusedConfig(err)
	}
	stop := func() {
		ending, kill := context.WithTimeout(context.Background(), taskStopTimeout)
		defer kill()
		defer context.AfterFunc(ctx, func() { // somebody waits, from the start or since
			time.AfterFunc(config.DefaultStopTimeout, kill)
		})()
		told := time.AfterFunc(taskStopQuiet, func() {
			lines.above("", fmt.Sprintf("the plugin is still ending; it is killed where that takes more than %v, or %v after an interruption", taskStopTimeout, config.DefaultStopTimeout))
		})
		defer told.Stop()
		if err := instance.Stop(ending); err != nil {
			fmt.Fprintf(problems, "agenthost: stopping the plugin: %v\n", err)
		}
		remove()
	}
	return mortalConn{instance.Conn(), instance}, stop, nil
}

// refusedConfig shows what a plugin says against its configuration as the flag's fault, a key a line.
func refusedConfig(err error) error {
	var failed *plugin.StartError
	if !errors.As(err, &failed) || len(failed.ConfigErrors) == 0 {
		return err
	}
	var b strings.Builder
	fmt.Fprintf(&b, "plugin %s refuses its configuration:", failed.Plugin)
	for _, wrong := range failed.ConfigErrors {
		b.WriteString("\n  --plugin-config: ")
		if wrong.Key != "" {
			b.WriteString(wrong.Key + ": ")
		}
		b.WriteString(wrong.Message)
	}
	return errors.New(b.String())
}

// printedLine is a line that the plugin printed, for people: a structured one as level, message and fields.
func printedLine(object []byte) string {
	line := logging.Printed{Object: object}.Line()
	text := strings.ReplaceAll(terminal.Clean(line.Message), "\n", "\n    ")
	if line.Level == "warn" || line.Level == "error" {
		text = strings.ToUpper(line.Level) + " " + text
	}
	stacks := ""
	for _, key := range slices.Sorted(maps.Keys(line.Fields)) {
		switch value := fieldText(line.Fields[key]); {
		case key == "stream", key == "@module": // where it was printed is of no interest on a terminal
		case strings.Contains(value, "\n"):
			stacks += "\n    " + strings.ReplaceAll(terminal.Clean(strings.TrimSpace(value)), "\n", "\n    ")
		default:
			text += "  " + terminal.Line(key+"="+value)
		}
	}
	return text + stacks
}

// endGrace is how long after a call that failed its process may take to end, which explains it.
const endGrace = time.Second

// mortalConn is the connection to a plugin's process. What a call gets because the process has ended says how it ended, and is no
// gRPC status: there is nothing to ask again.
type mortalConn struct {
	grpc.ClientConnInterface
	instance *plugin.Instance
}

// Invoke implements grpc.ClientConnInterface.
func (c mortalConn) Invoke(ctx context.Context, method string, request, answer any, options ...grpc.CallOption) error {
	return c.explain(c.ClientConnInterface.Invoke(ctx, method, request, answer, options...))
}

// NewStream implements grpc.ClientConnInterface.
func (c mortalConn) NewStream(ctx context.Context, desc *grpc.StreamDesc, method string, options ...grpc.CallOption) (grpc.ClientStream, error) {
	stream, err := c.ClientConnInterface.NewStream(ctx, desc, method, options...)
	if err != nil {
		return nil, c.explain(err)
	}
	return mortalStream{stream, c}, nil
}

type mortalStream struct {
	grpc.ClientStream
	conn mortalConn
}

// RecvMsg implements grpc.ClientStream.
func (s mortalStream) RecvMsg(message any) error {
	return s.conn.explain(s.ClientStream.RecvMsg(message))
}

func (c mortalConn) explain(err error) error {
	if err == nil || status.Code(err) != codes.Unavailable {
		return err
	}
	timer := time.NewTimer(endGrace)
	defer timer.Stop()
	select {
	case <-c.instance.Done():
	case <-timer.C:
		return err
	}
	if died := c.instance.Err(); died != nil {
		return fmt.Errorf("%w; no call must ever end the process", died)
	}
	return err
}
