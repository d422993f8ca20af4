package badplugin

import (
	"context"
	"crypto/ecdsa"
	"crypto/elliptic"
	"crypto/rand"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"math/big"
	"net"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/health"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// contractModes are plugins that a host may get on with for a while, but that break the contract.
var contractModes = map[string]func(*options){
	// The handshake.
	"any-cookie": func(o *options) {
		_ = os.Setenv(pluginv1.MagicCookieKey, pluginv1.MagicCookieValue)
		serve(o)
	},
	"wordless-cookie": func(o *options) {
		if os.Getenv(pluginv1.MagicCookieKey) != pluginv1.MagicCookieValue {
			os.Exit(1)
		}
		serve(o)
	},
	"polite-cookie": func(o *options) {
		if os.Getenv(pluginv1.MagicCookieKey) != pluginv1.MagicCookieValue {
			say(os.Stderr, "this is a plugin")
			os.Exit(0)
		}
		serve(o)
	},
	"any-version":      func(o *options) { serve(o, func(s *server) { s.alsoVersion = 99 }) },
	"socket-elsewhere": func(o *options) { _ = os.Unsetenv("PLUGIN_UNIX_SOCKET_DIR"); serve(o) },
	"prints-later": func(o *options) {
		serve(o, func(s *server) { s.serving = func() { say(realStdout, o.text) } })
	},
	"accepts-strangers":  func(o *options) { serveByHand(o, base64.RawStdEncoding) },
	"padded-certificate": func(o *options) { serveByHand(o, base64.StdEncoding) },

	// Calls.
	"no-health": func(o *options) {
		serve(o, answer(methodHealth, func() (any, error) { return nil, status.Error(codes.Unimplemented, "unknown service") }))
	},
	"describe-nameless": func(o *options) {
		serve(o, answer(methodDescribe, func() (any, error) { return &pluginv1.DescribeResponse{}, nil }))
	},
	"list-deprecated": func(o *options) { o.byTaskType = true; serve(o) },
	"list-mixed": func(o *options) {
		serve(o, list(
			&admin.Agent{Name: "one", SupportedTaskCategories: []*admin.TaskCategory{{Name: "echo_task"}}},
			&admin.Agent{Name: "two", IsSync: true, SupportedTaskCategories: []*admin.TaskCategory{{Name: "echo_task", Version: 1}, {Name: "echo_sync_task"}}}))
	},
	"panics-on-unknown-task": func(o *options) {
		serve(o, onRequest(func(request any) {
			if create, ok := request.(*admin.CreateTaskRequest); ok && !strings.HasPrefix(create.GetTemplate().GetType(), "echo") {
				panic("no agent for " + create.GetTemplate().GetType())
			}
		}))
	},
	"panics-on-garbage": func(o *options) {
		serve(o, onRequest(func(request any) {
			if get, ok := request.(*admin.GetTaskRequest); ok && len(get.GetResourceMeta()) > 0 && !json.Valid(get.GetResourceMeta()) {
				panic("cannot decode resource_meta")
			}
		}))
	},
	"routes-by-task-type": func(o *options) {
		serve(o, refuse(func(request any) error {
			if get, ok := request.(*admin.GetTaskRequest); ok && get.GetTaskType() == "" {
				return status.Error(codes.Internal, "KeyError: ''")
			}
			return nil
		}))
	},
	"names-jobs-by-execution-id": func(o *options) {
		var mu sync.Mutex
		made := map[string]any{}
		serve(o, func(s *server) {
			s.interceptors = append(s.interceptors, func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
				create, ok := request.(*admin.CreateTaskRequest)
				if !ok {
					return next(ctx, request)
				}
				mu.Lock()
				defer mu.Unlock()
				id := create.GetTaskExecutionMetadata().GetTaskExecutionId().String()
				if answer, known := made[id]; known {
					return answer, nil
				}
				answer, err := next(ctx, request)
				if err == nil {
					made[id] = answer
				}
				return answer, err
			})
		})
	},
	"finds":             func(o *options) { serve(o, finds(files{}, true)) },
	"finds-in-memory":   func(o *options) { serve(o, finds(memory{}, true)) },
	"forgets-abandoned": func(o *options) { serve(o, finds(files{}, false)) },

	// Load.
	"small-messages": func(o *options) { serve(o, func(s *server) { s.maxReceive = 4 << 20 }) },
	"few-at-a-time": func(o *options) {
		var calls atomic.Int64
		serve(o, func(s *server) {
			s.interceptors = append(s.interceptors, func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
				defer calls.Add(-1)
				if calls.Add(1) > 32 {
					return nil, status.Error(codes.ResourceExhausted, "too many calls at once")
				}
				time.Sleep(20 * time.Millisecond) // so that calls are together
				return next(ctx, request)
			})
		})
	},
	"wedged-by-cancellation": func(o *options) {
		var lock sync.Mutex
		serve(o, intercept(methodList, func(ctx context.Context, next func() (any, error)) (any, error) {
			lock.Lock()
			if _, ok := ctx.Deadline(); ok {
				defer lock.Unlock()
				return next()
			}
			<-ctx.Done() // a call that can only be cancelled leaves the lock locked when it is
			return nil, status.FromContextError(ctx.Err()).Err()
		}))
	},
	"wedged-by-deadline": func(o *options) {
		var lock sync.Mutex
		serve(o, intercept(methodList, func(ctx context.Context, next func() (any, error)) (any, error) {
			lock.Lock()
			if deadline, ok := ctx.Deadline(); !ok || time.Until(deadline) > time.Second {
				defer lock.Unlock()
				return next()
			}
			select {} // with a deadline it cannot keep, it keeps the lock instead
		}))
	},
	"leaks-memory": func(o *options) {
		var mu sync.Mutex
		var leaked [][]byte
		serve(o, onRequest(func(any) {
			block := make([]byte, o.block)
			for i := range block {
				block[i] = 1 // so that the kernel has to give the pages
			}
			mu.Lock()
			defer mu.Unlock()
			leaked = append(leaked, block)
		}))
	},
	"leaks-files": func(o *options) {
		var mu sync.Mutex
		var leaked []*os.File
		serve(o, onRequest(func(any) {
			mu.Lock()
			defer mu.Unlock()
			if file, err := os.Open(os.DevNull); err == nil && len(leaked) < 10_000 {
				leaked = append(leaked, file)
			}
		}))
	},

	// Its own metrics.
	"metrics-fail": func(o *options) { serve(o, fail(methodMetrics)) },
	"counts": func(o *options) {
		var calls atomic.Int64
		serve(o, onRequest(func(any) { calls.Add(1) }), answer(methodMetrics, func() (any, error) {
			return metricsText("# TYPE calls_total counter\ncalls_total{of=\"all\"} %d\n", calls.Load()), nil
		}))
	},
	"counts-down": func(o *options) {
		var calls atomic.Int64
		serve(o, answer(methodMetrics, func() (any, error) {
			return metricsText("# TYPE calls_total counter\ncalls_total{of=\"all\"} %d\n", 1_000_000-calls.Add(1)), nil
		}))
	},
	"has-many-series": func(o *options) {
		serve(o, answer(methodMetrics, func() (any, error) {
			var text strings.Builder
			for n := range 501 {
				fmt.Fprintf(&text, "jobs{name=\"%d\"} 1\n", n)
			}
			return metricsText("%s", text.String()), nil
		}))
	},
	"measures-between-calls": func(o *options) {
		var calls atomic.Int64
		serve(o, onRequest(func(any) { calls.Add(1) }), answer(methodMetrics, func() (any, error) {
			before := calls.Load()
			time.Sleep(50 * time.Millisecond)
			if calls.Load()-before > 4 {
				time.Sleep(2 * time.Second) // not now
			}
			return metricsText("jobs 3\n"), nil
		}))
	},

	// The drain.
	"drain-fails": func(o *options) { serve(o, fail(methodDrain)) },
	"drain-ends-it": func(o *options) {
		serve(o, answer(methodDrain, func() (any, error) {
			time.AfterFunc(10*time.Millisecond, func() { say(realStderr, `{"@level":"info","@message":"drained, bye"}`); os.Exit(0) })
			return &pluginv1.DrainResponse{}, nil
		}))
	},
	"refuses-when-drained": func(o *options) {
		serve(o, whenDrained(func(method string) error {
			if method == methodHealth || method == methodShutdown {
				return nil
			}
			return status.Error(codes.Unavailable, "the plugin is being replaced")
		}))
	},
	"creates-nothing-when-drained": func(o *options) {
		serve(o, whenDrained(func(method string) error {
			if strings.HasSuffix(method, "/CreateTask") {
				return status.Error(codes.FailedPrecondition, "the queue is closed")
			}
			return nil
		}))
	},
	"deaf-when-drained": func(o *options) {
		serve(o, whenDrained(func(method string) error {
			if method == methodShutdown {
				select {} // until the last job ends, of which there is always one
			}
			return nil
		}))
	},

	// The end.
	"deaf": func(o *options) {
		serve(o, answer(methodShutdown, func() (any, error) { return &emptypb.Empty{}, nil }))
	},
	"exits-with-3": func(o *options) {
		serve(o, answer(methodShutdown, func() (any, error) {
			time.AfterFunc(10*time.Millisecond, func() { os.Exit(3) })
			return &emptypb.Empty{}, nil
		}))
	},
	"ignores-sigterm": func(o *options) { ignoreAll(); serve(o) },
}

// metricsText is an answer to Metrics.
func metricsText(format string, args ...any) *pluginv1.MetricsResponse {
	return &pluginv1.MetricsResponse{Text: fmt.Appendf(nil, format, args...)}
}

// whenDrained puts a condition before every unary call after Drain.
func whenDrained(why func(method string) error) change {
	var drained atomic.Bool
	return func(s *server) {
		s.interceptors = append(s.interceptors, func(ctx context.Context, request any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if drained.Load() {
				if err := why(info.FullMethod); err != nil {
					return nil, err
				}
			}
			if info.FullMethod == methodDrain {
				drained.Store(true)
			}
			return next(ctx, request)
		})
	}
}

// ledger keeps what was made of an attempt, by its output prefix: the job's resource_meta, or nothing where it was abandoned.
type ledger interface {
	load(attempt string) (meta []byte, known bool)
	keep(attempt string, meta []byte) error
}

// memory is a ledger that ends with the process.
type memory map[string][]byte

func (m memory) load(attempt string) ([]byte, bool) { meta, known := m[attempt]; return meta, known }

func (m memory) keep(attempt string, meta []byte) error { m[attempt] = meta; return nil }

// files is a ledger in the output prefixes themselves, which all processes see.
type files struct{}

func (files) load(attempt string) ([]byte, bool) {
	meta, err := os.ReadFile(filepath.Join(attempt, "ledger"))
	return meta, err == nil
}

func (files) keep(attempt string, meta []byte) error {
	return os.WriteFile(filepath.Join(attempt, "ledger"), meta, 0o600)
}

// finds lets CreateTask find and abandon; where it does not abandon, it says that it did.
func finds(made ledger, abandons bool) change {
	var mu sync.Mutex
	return func(s *server) {
		s.interceptors = append(s.interceptors, func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			create, ok := request.(*admin.CreateTaskRequest)
			if !ok {
				return next(ctx, request)
			}
			mu.Lock()
			defer mu.Unlock()
			asked := func(key string) bool { return len(metadata.ValueFromIncomingContext(ctx, key)) > 0 }
			attempt := create.GetOutputPrefix()
			meta, known := made.load(attempt)
			switch {
			case asked(pluginv1.AbandonHeader) && abandons:
				return &admin.CreateTaskResponse{}, made.keep(attempt, nil)
			case asked(pluginv1.AbandonHeader):
				return &admin.CreateTaskResponse{}, nil
			case known && len(meta) == 0:
				return nil, status.Error(codes.Aborted, "the attempt was abandoned")
			case known:
				return &admin.CreateTaskResponse{ResourceMeta: meta}, nil
			case asked(pluginv1.FindOnlyHeader):
				return nil, status.Error(codes.NotFound, "the attempt has no job")
			}
			answer, err := next(ctx, request)
			if response, ok := answer.(*admin.CreateTaskResponse); ok && err == nil {
				err = made.keep(attempt, response.GetResourceMeta())
			}
			return answer, err
		})
	}
}

// onRequest looks at every unary request first.
func onRequest(look func(request any)) change {
	return refuse(func(request any) error { look(request); return nil })
}

// refuse puts a condition before every unary call.
func refuse(why func(request any) error) change {
	return func(s *server) {
		s.interceptors = append(s.interceptors, func(ctx context.Context, request any, _ *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
			if err := why(request); err != nil {
				return nil, err
			}
			return next(ctx, request)
		})
	}
}

// serveByHand serves by the contract as somebody does who has no go-plugin and forgets to ask for a certificate.
func serveByHand(o *options, encoding *base64.Encoding) {
	if os.Getenv(pluginv1.MagicCookieKey) != pluginv1.MagicCookieValue {
		say(os.Stderr, "this is a plugin")
		os.Exit(1)
	}
	listener, err := net.Listen("unix", socket("byhand"))
	if err != nil {
		panic(err)
	}
	var options []grpc.ServerOption
	encoded := ""
	if os.Getenv("PLUGIN_CLIENT_CERT") != "" {
		own := selfSigned()
		encoded = encoding.EncodeToString(own.Certificate[0])
		options = append(options, grpc.Creds(credentials.NewTLS(&tls.Config{Certificates: []tls.Certificate{own}})))
	}
	made := grpc.NewServer(append(options, grpc.MaxRecvMsgSize(1<<30))...)
	if err := (&services{server: &server{opts: o}}).GRPCServer(nil, made); err != nil {
		panic(err)
	}
	healthy := health.NewServer()
	healthy.SetServingStatus(pluginv1.HealthService, healthpb.HealthCheckResponse_SERVING)
	healthpb.RegisterHealthServer(made, healthy)
	made.RegisterService(&grpc.ServiceDesc{
		ServiceName: "plugin.GRPCController", HandlerType: (*any)(nil),
		Methods: []grpc.MethodDesc{{MethodName: "Shutdown", Handler: func(any, context.Context, func(any) error, grpc.UnaryServerInterceptor) (any, error) {
			go made.GracefulStop()
			return &emptypb.Empty{}, nil
		}}},
	}, struct{}{})
	say(os.Stdout, "1|1|unix|"+socket("byhand")+"|grpc|"+encoded)
	if err := made.Serve(listener); err != nil {
		panic(err)
	}
}

// selfSigned is a certificate for localhost, of a length whose base64 has padding.
func selfSigned() tls.Certificate {
	key, err := ecdsa.GenerateKey(elliptic.P256(), rand.Reader)
	if err != nil {
		panic(err)
	}
	for n := 0; ; n++ {
		template := &x509.Certificate{
			SerialNumber: big.NewInt(1), DNSNames: []string{"localhost", "localhost" + strings.Repeat("x", n)}, NotAfter: time.Now().Add(time.Hour),
		}
		der, err := x509.CreateCertificate(rand.Reader, template, template, key.Public(), key)
		if err != nil {
			panic(err)
		}
		if len(der)%3 != 0 {
			return tls.Certificate{Certificate: [][]byte{der}, PrivateKey: key}
		}
	}
}
