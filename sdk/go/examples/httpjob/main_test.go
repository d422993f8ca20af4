package main

import (
	"net"
	"os"
	"os/exec"
	"strings"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// serve starts the service, and returns where.
func serve(t *testing.T, flags ...string) string {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := listener.Addr().String()
	if err := listener.Close(); err != nil {
		t.Fatal(err)
	}
	service := exec.Command(agenttest.Build(t, "jobserver"), append(flags, "--listen", address, "--token-file", "testdata/token")...)
	service.Stderr = os.Stderr
	if err := service.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		_ = service.Process.Kill()
		_ = service.Wait()
	})
	for end := time.Now().Add(time.Minute); ; time.Sleep(10 * time.Millisecond) {
		conn, err := net.Dial("tcp", address)
		if err == nil {
			_ = conn.Close()
			return "http://" + address
		}
		if time.Now().After(end) {
			t.Fatal(err)
		}
	}
}

// plugins returns what starts a process of the plugin for the service.
func plugins(t *testing.T, service string) func() *agenttest.Client {
	t.Helper()
	t.Setenv("_FSEC_JOB_TOKEN", "hush") // as the host gives it a secret
	program := agenttest.Build(t, ".")
	return func() *agenttest.Client {
		client := agenttest.Command(t, program)
		if errs := client.Configure(map[string]any{"url": service, "token": "job_token"}); len(errs) > 0 {
			t.Fatal(errs)
		}
		return client
	}
}

func TestAJobWhoseAnswerWasLostIsFoundByTheNextProcessAndMadeOnce(t *testing.T) {
	start := plugins(t, serve(t, "--lose-answers"))
	task := agenttest.Task{Type: "http_job", Inputs: map[string]any{"text": "to be or not to be"}, IdempotencyKey: strings.Repeat("5", 64)}
	first := start()
	if lost, err := first.Create(t.Context(), task); status.Code(err) != codes.Unavailable {
		t.Fatal(lost, err)
	}
	if err := first.Stop(); err != nil {
		t.Fatal(err)
	}

	second := start()
	found, err := second.Find(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	again, err := second.Create(t.Context(), task)
	if err != nil || string(again.Meta) != string(found.Meta) || string(found.Meta) != `{"ID":"1"}` {
		t.Fatalf("found %s, created %s: %v", found.Meta, again.Meta, err)
	}
	result, err := again.Wait(t.Context())
	if err != nil || agenttest.Output[int](t, result, "words") != 6 {
		t.Errorf("%+v, %v", result, err)
	}
}

func TestABusyServiceIsAskedAgainWhenItSaysSo(t *testing.T) {
	client := plugins(t, serve(t, "--busy-every", "2"))()
	for _, least := range []time.Duration{0, time.Second} { // what the second job's Retry-After says
		began := time.Now()
		job, err := client.Create(t.Context(), agenttest.Task{Type: "http_job", Inputs: map[string]any{"text": "a"}})
		if took := time.Since(began); err != nil || took < least {
			t.Errorf("after %s, want %s: %v, %v", took, least, job, err)
		}
	}
}
