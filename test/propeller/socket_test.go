package propeller

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"fmt"
	"net"
	"net/http/httptest"
	"runtime"
	"slices"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"

	"github.com/agenthost/agenthost/test/propeller/scripted"
	"github.com/agenthost/agenthost/test/propeller/traces"
	"github.com/agenthost/agenthost/test/wait"
)

func TestThousandsOfTasksRunOverARealSocketWithFewPollsAtOnce(t *testing.T) {
	const tasks = 2000
	for _, flyte := range []Flyte{V1, V2} {
		t.Run(fmt.Sprintf("flyte%d", flyte), func(t *testing.T) {
			agent, endpoint := listen(t, scripted.Script{
				Get: append(slices.Repeat([]traces.Reply{{Phase: "RUNNING"}}, tasks), traces.Reply{Phase: "SUCCEEDED", Outputs: true}),
			})
			p := Start(t.Context(), Options{
				Flyte: flyte, Endpoint: endpoint, PollInterval: 200 * time.Millisecond, Resync: 300 * time.Millisecond,
				Round: 200 * time.Millisecond, DeleteAfter: 200 * time.Millisecond, PollRate: -1,
			})
			defer p.Close()
			ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
			defer cancel()

			before := runtime.NumGoroutine()
			executions := make([]*Execution, tasks)
			for i := range executions {
				executions[i] = p.Submit(Task{Template: withOutputs("asyncy")})
			}
			for _, execution := range executions {
				result, err := execution.Wait(ctx)
				if err != nil || result.Phase != Succeeded || result.Attempts != 1 || len(result.Outputs.GetLiterals()) != 1 {
					t.Fatalf("%+v, %v", result.Final, err)
				}
				if more := runtime.NumGoroutine() - before; more > tasks+1000 {
					t.Fatalf("%d goroutines for %d tasks", more, tasks)
				}
				if err := execution.WaitGone(ctx); err != nil {
					t.Fatal(err)
				}
			}
			counts := map[string]int{}
			for _, call := range agent.Calls() {
				counts[call.Method]++
			}
			if counts[createTask] != tasks || counts[getTask] < 2*tasks {
				t.Errorf("calls %v", counts)
			}
			if flyte == V2 && counts[deleteTask] != tasks {
				t.Errorf("%d jobs were deleted of %d", counts[deleteTask], tasks)
			}
		})
	}
}

func TestConnectionsCanBeTLS(t *testing.T) {
	web := httptest.NewTLSServer(nil) // for its certificate
	defer web.Close()
	roots := x509.NewCertPool()
	roots.AddCert(web.Certificate())

	_, endpoint := listen(t, scripted.Script{}, grpc.Creds(credentials.NewTLS(&tls.Config{
		Certificates: web.TLS.Certificates, MinVersion: tls.VersionTLS12,
	})))
	p := Start(t.Context(), Options{Flyte: V1, Endpoint: endpoint, TLS: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}})
	defer p.Close()
	if len(p.Registry()) == 0 {
		t.Errorf("nothing was discovered over TLS: %v", p.Discovery().Last)
	}
	plain := Start(t.Context(), Options{Flyte: V1, Endpoint: endpoint})
	defer plain.Close()
	if status := plain.Discovery(); status.Last == nil || len(plain.Registry()) != 0 {
		t.Errorf("a TLS server was discovered in plaintext: %+v", status)
	}
}

func TestATaskOutlivesAnAgentThatComesBackInTime(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	endpoint := listener.Addr().String()
	first := scripted.New(scripted.Script{Get: []traces.Reply{{Phase: "RUNNING"}}})
	firstEnded := make(chan error, 1)
	go func() { firstEnded <- first.Serve(listener) }()

	p := Start(t.Context(), Options{
		Flyte: V2, Endpoint: endpoint, PollInterval: time.Hour, Resync: 500 * time.Millisecond, Round: 20 * time.Millisecond,
	})
	defer p.Close()
	execution := p.Submit(Task{Template: &core.TaskTemplate{Type: "asyncy", Custom: customOf(traces.Trace{})}})
	wait.Until(t, "there was a first poll", func() bool { return len(first.Calls()) >= 2 })
	first.Stop()
	if err := <-firstEnded; err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "a poll has failed", func() bool { calls := execution.Calls(); return calls[len(calls)-1].Err != nil })

	again, err := net.Listen("tcp", endpoint)
	if err != nil {
		t.Fatal(err)
	}
	second := scripted.New(scripted.Script{Get: []traces.Reply{{Phase: "SUCCEEDED"}}})
	secondEnded := make(chan error, 1)
	go func() { secondEnded <- second.Serve(again) }()
	defer func() { second.Stop(); <-secondEnded }()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	if result, err := execution.Wait(ctx); err != nil || result.Phase != Succeeded {
		t.Errorf("%+v, %v", result, err)
	}
}

func listen(t *testing.T, script scripted.Script, options ...grpc.ServerOption) (*scripted.Agent, string) {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	agent := scripted.New(script, options...)
	ended := make(chan error, 1)
	go func() { ended <- agent.Serve(listener) }()
	t.Cleanup(func() {
		agent.Stop()
		if err := <-ended; err != nil {
			t.Errorf("the scripted agent: %v", err)
		}
	})
	return agent, listener.Addr().String()
}
