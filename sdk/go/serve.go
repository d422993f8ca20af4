package agent

import (
	"context"
	"fmt"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/sdk/go/internal/hostlog"
	"github.com/agenthost/agenthost/sdk/go/internal/rawstdout"
)

// Serve serves the plugin until the host stops it. It is the last call of main: it ends the process when the host
// asks for that, when the options contradict each other, and when no host started it, with a hint for people.
//
// It makes slog's default logger write to the host's log. What is printed to standard output or error ends up there, too.
func Serve(p Plugin, options ...Option) {
	server, err := NewServer(p, options...)
	if err != nil {
		fmt.Fprintln(os.Stderr, "agent.Serve:", err)
		os.Exit(1)
	}
	if os.Getenv(pluginv1.MagicCookieKey) != pluginv1.MagicCookieValue {
		explain(os.Stderr, server)
		os.Exit(1)
	}
	// go-plugin replaces os.Stdout and os.Stderr; the log goes on to the real standard error.
	stderr := os.Stderr
	slog.SetDefault(slog.New(hostlog.New(stderr, slog.LevelDebug)))
	os.Stdout = rawstdout.Handshake

	end := newEnding(server)
	go end.onTerminate()
	served := make(chan struct{})
	go func() {
		defer close(served)
		serveGRPC(p, server, end, stderr)
	}()
	select {
	case <-served:
	case <-end.over:
	}
}

// serveGRPC serves by go-plugin's contract until the gRPC server has stopped.
func serveGRPC(p Plugin, server *Server, end *ending, stderr io.Writer) {
	plugin.Serve(&plugin.ServeConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion: pluginv1.ProtocolVersion,
			MagicCookieKey:  pluginv1.MagicCookieKey, MagicCookieValue: pluginv1.MagicCookieValue,
		},
		VersionedPlugins: map[int]plugin.PluginSet{pluginv1.ProtocolVersion: {p.Name: grpcPlugin{server: server}}},
		GRPCServer: func(options []grpc.ServerOption) *grpc.Server {
			options = append(options, server.ServerOptions()...)
			options = append(options,
				grpc.ChainUnaryInterceptor(end.onShutdown), grpc.ChainStreamInterceptor(end.withStreams, printsToLog(stderr)))
			return end.of(grpc.NewServer(options...))
		},
		Logger: hclog.New(&hclog.LoggerOptions{Level: hclog.Info, Output: stderr, JSONFormat: true}),
	})
}

// grpcPlugin is the plugin as go-plugin wants it.
type grpcPlugin struct {
	plugin.NetRPCUnsupportedPlugin
	server *Server
}

func (g grpcPlugin) GRPCServer(_ *plugin.GRPCBroker, registrar *grpc.Server) error {
	g.server.Register(registrar)
	return nil
}

func (g grpcPlugin) GRPCClient(_ context.Context, _ *plugin.GRPCBroker, conn *grpc.ClientConn) (any, error) {
	return conn, nil
}

// explain tells a person who started the program by hand what it is for.
func explain(out io.Writer, server *Server) {
	path, err := os.Executable()
	if err != nil {
		path = os.Args[0]
	}
	fmt.Fprintf(out, `%s %s is a Flyte agent plugin: it is started by agenthost, not by hand. It serves

`, server.plugin.Name, server.plugin.Version)
	for _, listed := range server.registry.agents() {
		mode := "async"
		if listed.GetIsSync() {
			mode = "sync"
		}
		for _, category := range listed.GetSupportedTaskCategories() {
			fmt.Fprintf(out, "  task type %s, version %d (%s)\n", category.GetName(), category.GetVersion(), mode)
		}
	}
	name := strings.TrimSuffix(filepath.Base(path), filepath.Ext(path))
	fmt.Fprintf(out, `
Give it to the host in its configuration file:

  plugins:
    %s:
      command: [%s]

Then "agenthost check --start" starts it once and shows what it serves, "agenthost task run" runs a single task with it,
and "agenthost serve" serves it to Flyte.
`, name, path)
}
