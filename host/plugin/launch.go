package plugin

import (
	"context"
	"errors"
	"fmt"
	"os/exec"
	"slices"
	"strings"
	"time"

	"github.com/hashicorp/go-hclog"
	"github.com/hashicorp/go-plugin"
	"github.com/hashicorp/go-plugin/runner"
	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/process"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// launch starts the program and waits for its handshake.
func (s *start) launch(ctx context.Context) error {
	var clientCert string
	if s.spec.TLS {
		var err error
		if s.tls, clientCert, err = NewIdentity(); err != nil {
			return err
		}
	}
	name := "plugin " + s.spec.Name
	policy, err := s.policy(s.spec.Environ(nil, s.rundir.Path(), ""))
	if err != nil {
		return advise(err, "check command: in the plugin's configuration")
	}
	group, err := s.group()
	if err != nil {
		return err
	}
	s.proc = process.New(process.Config{Group: group, Kills: s.env.Kills, Hide: s.known.Hide, Keep: s.env.Keep, Name: name, Command: s.command(), Dir: s.spec.Dir, RunDir: s.rundir.Path(), Sandbox: policy})
	s.conns = &conns{}
	deadline, _ := ctx.Deadline()
	s.client = plugin.NewClient(&plugin.ClientConfig{
		HandshakeConfig: plugin.HandshakeConfig{
			ProtocolVersion:  pluginv1.ProtocolVersion,
			MagicCookieKey:   pluginv1.MagicCookieKey,
			MagicCookieValue: pluginv1.MagicCookieValue,
		},
		Plugins:          plugin.PluginSet{},
		AllowedProtocols: []plugin.Protocol{plugin.ProtocolGRPC},
		TLSConfig:        s.tls,
		SkipHostEnv:      true,
		StartTimeout:     max(time.Until(deadline), time.Millisecond),
		UnixSocketConfig: &plugin.UnixSocketConfig{TempDir: s.rundir.Path()},
		Logger:           newLogger(s.log, name),
		SyncStdout:       s.proc.StdoutWriter(),
		SyncStderr:       s.proc.StderrWriter(),
		GRPCDialOptions: append([]grpc.DialOption{
			grpc.WithChainStreamInterceptor(s.conns.interceptor),
			grpc.WithIdleTimeout(0),             // a connection dropped for idleness would have to be made again, by a call
			grpc.WithDefaultCallOptions(atMost), // in the place of go-plugin's, which is none
			grpc.WithMaxHeaderListSize(maxAnswerHeaders),
			grpc.WithReadBufferSize(readBuffer),
			grpc.WithStaticStreamWindowSize(streamWindow), // grpc-go's own measures the bandwidth with a PING for each lone answer
			grpc.WithStaticConnWindowSize(connWindow),
		}, s.env.DialOptions...),
		RunnerFunc: func(_ hclog.Logger, cmd *exec.Cmd, _ string) (runner.Runner, error) {
			s.proc.SetEnv(s.sandboxed(s.spec.Environ(cmd.Env, s.rundir.Path(), clientCert)))
			return s.proc, nil
		},
	})
	err = s.guard(ctx, func() error { _, err := s.client.Start(); return err })
	if err != nil && s.proc.PID() == 0 {
		return advise(err, "check command: in the plugin's configuration")
	}
	s.step = StepHandshake
	if err != nil {
		return s.explainHandshake(ctx, err)
	}
	if s.spec.TLS && s.tls.RootCAs == nil {
		return advise(errors.New("it sent no certificate in its handshake line, but TLS is on"),
			"set tls: off for this plugin, or build it with an SDK that reads PLUGIN_CLIENT_CERT")
	}
	return nil
}

// connect lets go-plugin make its connection, which succeeds also where nobody answers: health comes next.
func (s *start) connect(ctx context.Context) error {
	err := s.guard(ctx, func() error {
		protocol, err := s.client.Client()
		if err != nil {
			return err
		}
		client, ok := protocol.(*plugin.GRPCClient)
		if !ok || client.Conn == nil {
			return fmt.Errorf("go-plugin made a %T, not a gRPC connection", protocol)
		}
		s.conn = client.Conn
		return nil
	})
	if err != nil {
		return advise(fmt.Errorf("its server at %s does not answer: %w", s.client.ReattachConfig().Addr, err),
			"the address in the handshake line must be one that it listens on, with TLS as it was asked for, and it must speak gRPC there")
	}
	return nil
}

// guard calls something of go-plugin's that takes no context and may panic on what a plugin sent. When ctx ends first,
// the process is killed, which makes the call return.
func (s *start) guard(ctx context.Context, call func() error) error {
	result := make(chan error, 1)
	go func() {
		defer func() {
			if p := recover(); p != nil {
				result <- fmt.Errorf("%w: %v", errPanicked, p)
			}
		}()
		result <- call()
	}()
	select {
	case err := <-result:
		return err
	case <-ctx.Done():
		err := s.proc.Kill(ctx)
		if err == nil {
			<-result //nolint:errcheck // what it says of a process that was just killed is of no interest
		}
		return errors.Join(context.Cause(ctx), err)
	}
}

var errPanicked = errors.New("go-plugin panicked")

// explainHandshake says what went wrong between the start of the program and its handshake line.
func (s *start) explainHandshake(ctx context.Context, err error) error {
	s.awaitExit(ctx) // go-plugin killed it, if it had not ended before
	line := s.proc.Handshake()
	like := s.proc.LikeHandshake()
	if like != "" {
		like = fmt.Sprintf(" (the line %q is none)", like)
	}
	fields := strings.Split(line, "|")
	switch {
	case line == "" && s.saidNoCookie():
		return advise(errors.New("it did not recognise the host"),
			fmt.Sprintf("it is a plugin for another program, or its magic cookie is not %s=%s", pluginv1.MagicCookieKey, pluginv1.MagicCookieValue))
	case s.proc.HandshakeProblem() != "":
		return advise(errors.New(s.proc.HandshakeProblem()),
			"stdout is for the handshake line alone: let the plugin print to stderr")
	case ctx.Err() != nil && line == "":
		return advise(fmt.Errorf("no handshake line came on its stdout%s: %w", like, context.Cause(ctx)),
			"if it needs longer to start, raise start_timeout; if it is a plugin at all, it prints 1|1|unix|<socket>|grpc|<certificate>")
	case ctx.Err() != nil:
		return context.Cause(ctx)
	case line == "":
		return advise(errors.New("it ended, or closed its stdout, before its handshake"+like), "run its command by hand to see why")
	case fields[0] != "1":
		return advise(fmt.Errorf("its handshake line has core protocol version %s, go-plugin's is 1", fields[0]), "build it with a current SDK")
	case fields[1] != fmt.Sprint(pluginv1.ProtocolVersion):
		return advise(fmt.Errorf("it speaks version %s of the plugin protocol, this host version %d", fields[1], pluginv1.ProtocolVersion),
			"build the plugin with an SDK of this host's release, or update the host")
	case len(fields) < 5 || fields[4] != string(plugin.ProtocolGRPC):
		return advise(errors.New("its handshake line does not say grpc"), "the line is 1|1|unix|<socket>|grpc|<certificate>")
	case !s.spec.TLS && len(fields) > 5 && fields[5] != "":
		return advise(errors.New("it sent a certificate in its handshake line, but TLS is off"),
			"set tls: on for this plugin, or let it serve without TLS where PLUGIN_CLIENT_CERT is not set")
	default:
		return advise(err, "the handshake line is 1|1|unix|<socket>|grpc|<certificate, base64 of its DER form without padding>")
	}
}

// saidNoCookie recognises what go-plugin's Go side, and SDKs in its manner, print when the magic cookie is not theirs.
func (s *start) saidNoCookie() bool {
	return slices.ContainsFunc(s.proc.LastOutput(), func(line string) bool {
		return strings.Contains(line, "This binary is a plugin")
	})
}
