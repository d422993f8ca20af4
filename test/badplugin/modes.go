package badplugin

import (
	"bytes"
	"context"
	"encoding/base64"
	"fmt"
	"net"
	"os"
	"os/exec"
	"os/signal"
	"path/filepath"
	"strings"
	"syscall"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/grpc/codes"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// The methods that modes interfere with.
const (
	methodShutdown  = "/plugin.GRPCController/Shutdown"
	methodHealth    = "/grpc.health.v1.Health/Check"
	methodList      = "/flyteidl.service.AgentMetadataService/ListAgents"
	methodDescribe  = "/agenthost.plugin.v1.PluginService/Describe"
	methodConfigure = "/agenthost.plugin.v1.PluginService/Configure"
	methodDrain     = "/agenthost.plugin.v1.PluginService/Drain"
	methodMetrics   = "/agenthost.plugin.v1.PluginService/Metrics"
)

var modes = map[string]func(*options){
	// As it should be.
	"good": func(o *options) { serve(o) },

	// Before the handshake.
	"wrong-cookie":  func(o *options) { serve(o, func(s *server) { s.cookie = "some-other-plugin" }) },
	"wrong-version": func(o *options) { serve(o, func(s *server) { s.protocolVersion = 99 }) },
	"wrong-core":    func(*options) { say(os.Stdout, "2|1|unix|/nowhere|grpc|"); forever() },
	"netrpc":        func(*options) { say(os.Stdout, "1|1|unix|/nowhere|netrpc|"); forever() },
	"silent":        func(*options) { forever() },
	"slow":          func(o *options) { time.Sleep(o.delay); serve(o) },
	"prints-first": func(o *options) {
		say(os.Stdout, "Picked up JAVA_TOOL_OPTIONS: -XX:+UseSerialGC")
		say(os.Stdout, "")
		say(os.Stdout, "hello from a print that was left in")
		serve(o)
	},
	"prints-like-a-handshake": func(o *options) {
		say(os.Stdout, "1|2|3|4")
		fmt.Print("loading the model... ") // and no newline
		serve(o)
	},
	"prints-no-handshake": func(*options) { say(os.Stdout, "1|2|3|4"); forever() },
	"prints-for-ever": func(*options) {
		for i := 0; ; i++ {
			say(os.Stdout, fmt.Sprintf("progress: %d", i))
		}
	},
	"dies":             func(o *options) { say(os.Stderr, o.text); os.Exit(o.code) },
	"closes-stdout":    func(*options) { os.Stdout.Close(); forever() },
	"huge-handshake":   func(*options) { say(os.Stdout, "1|1|unix|/"+strings.Repeat("a", 1<<20)+"|grpc|"); forever() },
	"garbage":          func(*options) { garbage(os.Stdout); forever() },
	"sigstop-early":    func(*options) { sigstop(); forever() },
	"cert-without-tls": func(*options) { say(os.Stdout, "1|1|unix|/nowhere|grpc|"+certificate()); forever() },
	"bad-cert": func(*options) {
		say(os.Stdout, "1|1|unix|/nowhere|grpc|"+base64.RawStdEncoding.EncodeToString(bytes.Repeat([]byte("no certificate"), 9)))
		forever()
	},
	"no-cert": func(o *options) { _ = os.Unsetenv("PLUGIN_CLIENT_CERT"); serve(o) },

	// Between the handshake and the first task.
	"dead-address": func(*options) { say(os.Stdout, "1|1|unix|"+socket("dead")+"|grpc|"); forever() },
	"mute-server":  func(*options) { muteServer() },
	"dies-after-handshake": func(o *options) {
		say(os.Stdout, "1|1|unix|"+socket("dead")+"|grpc|")
		say(os.Stderr, o.text)
		os.Exit(o.code)
	},
	"never-serving": func(o *options) {
		serve(o, answer(methodHealth, func() (any, error) {
			return &healthpb.HealthCheckResponse{Status: healthpb.HealthCheckResponse_NOT_SERVING}, nil
		}))
	},
	"serving-late": func(o *options) {
		since := time.Now()
		serve(o, intercept(methodHealth, func(_ context.Context, next func() (any, error)) (any, error) {
			if time.Since(since) < o.delay {
				return nil, status.Error(codes.NotFound, "unknown service")
			}
			return next()
		}))
	},
	"health-hangs":     func(o *options) { serve(o, hang(methodHealth)) },
	"describe-missing": func(o *options) { serve(o, func(s *server) { s.noPluginService = true }) },
	"describe-fails":   func(o *options) { serve(o, fail(methodDescribe)) },
	"describe-hangs":   func(o *options) { serve(o, hang(methodDescribe)) },
	"configure-errors": func(o *options) {
		serve(o, answer(methodConfigure, func() (any, error) {
			return &pluginv1.ConfigureResponse{Errors: []*pluginv1.ConfigError{
				{Key: "limits.memory", Message: `must be a size such as 2GiB, got "lots"`},
				{Message: "either token or token_file is needed"},
			}}, nil
		}))
	},
	"drain-hangs":   func(o *options) { serve(o, hang(methodDrain)) },
	"drain-missing": func(o *options) { serve(o, unknown(methodDrain)) },
	"with-metrics": func(o *options) {
		serve(o, answer(methodMetrics, func() (any, error) {
			return &pluginv1.MetricsResponse{Text: []byte(strings.Repeat("#\n", o.block/2) + o.text + "\n")}, nil
		}))
	},
	"configure-hangs": func(o *options) { serve(o, hang(methodConfigure)) },
	"dies-in-configure": func(o *options) {
		serve(o, intercept(methodConfigure, func(context.Context, func() (any, error)) (any, error) {
			say(realStderr, o.text)
			os.Exit(o.code)
			return nil, nil
		}))
	},
	"list-hangs":   func(o *options) { serve(o, hang(methodList)) },
	"list-fails":   func(o *options) { serve(o, fail(methodList)) },
	"list-missing": func(o *options) { serve(o, func(s *server) { s.noMetadataService = true }) },
	"list-empty":   func(o *options) { serve(o, list()) },
	"list-nameless": func(o *options) {
		serve(o, list(&admin.Agent{SupportedTaskCategories: []*admin.TaskCategory{{Name: "a"}}}))
	},
	"list-without-categories": func(o *options) { serve(o, list(&admin.Agent{Name: "lonely"})) },
	"list-nameless-category": func(o *options) {
		serve(o, list(&admin.Agent{Name: "half", SupportedTaskCategories: []*admin.TaskCategory{{Version: 1}}}))
	},
	"list-clash": func(o *options) {
		same := []*admin.TaskCategory{{Name: "query", Version: 1}}
		serve(o, list(&admin.Agent{Name: "one", SupportedTaskCategories: same}, &admin.Agent{Name: "two", SupportedTaskCategories: same}))
	},

	// At work.
	"bad-logs": func(o *options) {
		for _, line := range BadLogs {
			say(os.Stderr, line)
		}
		serve(o)
	},
	"long-lines": func(o *options) {
		say(os.Stderr, strings.Repeat("e", 1<<20))
		serve(o, func(s *server) {
			s.serving = func() { say(realStdout, strings.Repeat("o", 1<<20)); say(realStdout, "after the long line") }
		})
	},
	"flood": func(o *options) {
		serve(o, func(s *server) {
			s.serving = func() {
				go flood(realStdout, "flooding stdout ")
				go flood(realStderr, "flooding stderr ")
			}
		})
	},
	// Prints by the SDK's way: what a Go plugin prints while it serves goes through go-plugin's stdio stream.
	"chatty": func(o *options) {
		serve(o, func(s *server) {
			s.serving = func() {
				fmt.Println(o.text + " on stdout")
				fmt.Fprintln(os.Stderr, o.text+" on stderr")
			}
		})
	},
	"forks": func(o *options) { child(o); serve(o) },
	"forks-and-dies": func(o *options) {
		child(o)
		say(os.Stderr, o.text)
		os.Exit(o.code)
	},
	"hold":     func(*options) { ignoreAll(); forever() },
	"stubborn": func(o *options) { ignoreAll(); serve(o, hang(methodShutdown)) },
	"no-shutdown": func(o *options) {
		serve(o, answer(methodShutdown, func() (any, error) { return nil, status.Error(codes.Unimplemented, "unknown method Shutdown") }))
	},
	// In the middle of an agent call.
	"crashes": func(o *options) { serve(o, atAgentCall(o, func() { say(realStderr, o.text); os.Exit(o.code) })) },
	"panics":  func(o *options) { serve(o, atAgentCall(o, func() { panic(o.text) })) },
}

// BadLogs are lines that go-plugin's own parser panics on, misreads or tears.
var BadLogs = []string{
	`{"@message":5}`,
	`{"@message":null,"@level":null,"@timestamp":null}`,
	`{"@message":"level is a number","@level":7}`,
	`{"@message":"timestamp is a number","@level":"info","@timestamp":1e999}`,
	`{"@message":"timestamp in milliseconds","@level":"warn","@timestamp":"2026-01-02T03:04:05.678Z"}`,
	`{"@message":{"nested":[1,2]},"@level":"fatal"}`,
	`{"level":"ERROR","msg":"slog's keys","plugin":"impostor"}`,
	"\x1b[31mred\x1b[0m \xff\xfe bytes",
	`[1,2,3]`,
	`null`,
	`{"@message":"cut short`,
}

// The real pipes: go-plugin replaces os.Stdout and os.Stderr while it serves.
var realStdout, realStderr = os.Stdout, os.Stderr

func say(to *os.File, line string) { fmt.Fprintln(to, line) }

func forever() {
	ended := make(chan os.Signal, 1)
	signal.Notify(ended, syscall.SIGTERM)
	<-ended
	os.Exit(143)
}

func ignoreAll() { signal.Ignore(syscall.SIGTERM, syscall.SIGINT, syscall.SIGHUP, syscall.SIGPIPE) }

func sigstop() { syscall.Kill(os.Getpid(), syscall.SIGSTOP) } //nolint:errcheck // its own process exists

func garbage(to *os.File) {
	block := make([]byte, 1<<10)
	for i := range block {
		block[i] = byte(i * 7)
	}
	for range 64 {
		to.Write(block) //nolint:errcheck // whoever reads it may have had enough
	}
}

func flood(to *os.File, text string) {
	line := []byte(strings.Repeat(text, 8) + "\n")
	for {
		if _, err := to.Write(line); err != nil {
			return
		}
	}
}

func socket(name string) string { return filepath.Join(os.Getenv("PLUGIN_UNIX_SOCKET_DIR"), name) }

func muteServer() {
	listener, err := net.Listen("unix", socket("mute"))
	if err != nil {
		panic(err)
	}
	say(os.Stdout, "1|1|unix|"+socket("mute")+"|grpc|")
	for {
		if _, err := listener.Accept(); err != nil {
			panic(err)
		}
	}
}

// child starts a process that holds both pipes and ignores signals that can be ignored.
func child(o *options) {
	command := Command("hold")
	cmd := exec.Command(command[0], command[1:]...)
	cmd.Stdout, cmd.Stderr = os.Stdout, os.Stderr
	cmd.SysProcAttr = &syscall.SysProcAttr{Setsid: o.setsid}
	if err := cmd.Start(); err != nil {
		panic(err)
	}
	if o.record != "" {
		if err := os.WriteFile(o.record, fmt.Appendf(nil, "%d", cmd.Process.Pid), 0o600); err != nil {
			panic(err)
		}
	}
	o.record = "" // it named the file for the pid
}
