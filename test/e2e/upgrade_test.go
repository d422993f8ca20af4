package e2e_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	hostadmin "github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/wait"
)

// replaceProgram puts another program into the place of one, as a package manager does.
func replaceProgram(t *testing.T, path string, content []byte) {
	t.Helper()
	if err := os.WriteFile(path+".new", content, 0o755); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

// upgradable is a host with a program and a plugin of its own, which can be replaced.
type upgradable struct {
	*hosttest.Host
	program, plugin string
}

func startUpgradable(t *testing.T) upgradable {
	t.Helper()
	return startUpgradableWith(t, map[string]any{})
}

// startUpgradableWith starts one whose configuration has these settings besides its plugin.
func startUpgradableWith(t *testing.T, settings map[string]any) upgradable {
	t.Helper()
	dir := t.TempDir()
	u := upgradable{program: filepath.Join(dir, "agenthost"), plugin: filepath.Join(dir, "hello")}
	for path, name := range map[string]string{u.program: "agenthost", u.plugin: "hello"} {
		replaceProgram(t, path, programOf(t, name))
	}
	settings["plugins"] = map[string]any{"hello": map[string]any{"command": []string{u.plugin}}}
	u.Host = hosttest.StartProgram(t, u.program, settings)
	admin := u.Admin()
	t.Cleanup(func() { // the last one is nobody's child
		if pid := hostPID(admin); pid != 0 && pid != u.PID() {
			_ = syscall.Kill(pid, syscall.SIGTERM)
			wait.Until(t, "the last host ends", func() bool { return processEnded(pid) })
		}
	})
	return u
}

func programOf(t *testing.T, name string) []byte {
	t.Helper()
	content, err := os.ReadFile(hosttest.Program(name))
	if err != nil {
		t.Fatal(err)
	}
	return content
}

// statusOf is what the host at an admin address says; nothing where none answers.
func statusOf(address string) (status hostadmin.Status) {
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}, Timeout: 5 * time.Second}
	answer, err := client.Get("http://" + address + "/status")
	if err != nil {
		return status
	}
	defer answer.Body.Close()
	if json.NewDecoder(answer.Body).Decode(&status) != nil {
		return hostadmin.Status{}
	}
	return status
}

// hostPID is the process that answers at an admin address; 0: none does.
func hostPID(address string) int { return statusOf(address).Host.PID }

// processEnded says that a process is no more, or waits for its parent to take notice.
func processEnded(pid int) bool {
	stat, err := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid))
	if err != nil {
		return true
	}
	_, rest, _ := bytes.Cut(stat, []byte(") "))
	return bytes.HasPrefix(rest, []byte("Z"))
}

func (u upgradable) upgrade(t *testing.T, args ...string) (out string, worked bool) {
	t.Helper()
	all, err := exec.CommandContext(t.Context(), hosttest.Program("agenthost"), append([]string{"upgrade", "--admin", u.Admin()}, args...)...).CombinedOutput()
	t.Logf("agenthost upgrade: %v\n%s", err, all)
	return string(all), err == nil
}

// load is clients that come and go all the time, and what they met.
type load struct {
	connections, calls atomic.Int64
	stop               chan struct{}
	clients            sync.WaitGroup
}

func (l *load) run(t *testing.T, clients int, once func(client, round int) error) {
	for client := range clients {
		l.clients.Go(func() {
			for round := 0; ; round++ {
				select {
				case <-l.stop:
					return
				default:
				}
				if err := once(client, round); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
}

// jobs makes and polls jobs on connections of their own.
func (l *load) jobs(ctx context.Context, endpoint string) func(client, round int) error {
	return l.jobsBy(ctx, endpoint, insecure.NewCredentials())
}

func (l *load) jobsBy(ctx context.Context, endpoint string, known credentials.TransportCredentials) func(client, round int) error {
	return func(client, round int) error {
		conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(known))
		if err != nil {
			return err
		}
		defer conn.Close()
		return l.job(ctx, service.NewAsyncAgentServiceClient(conn), fmt.Sprintf("client %d round %d", client, round))
	}
}

func (l *load) job(ctx context.Context, client service.AsyncAgentServiceClient, name string) error {
	ctx, cancel := context.WithTimeout(ctx, maxWait)
	defer cancel()
	l.connections.Add(1)
	made, err := client.CreateTask(ctx, helloTask(name))
	if err != nil {
		return fmt.Errorf("creation of %s: %w", name, err)
	}
	l.calls.Add(1)
	for range 3 {
		got, err := client.GetTask(ctx, &admin.GetTaskRequest{TaskCategory: hello, ResourceMeta: made.ResourceMeta})
		if err != nil || got.Resource.Phase != core.TaskExecution_SUCCEEDED {
			return fmt.Errorf("poll of %s: %v, %w", name, got.GetResource(), err)
		}
		l.calls.Add(1)
	}
	return nil
}

// toldSystemd stands for systemd, and gives what it was told so far.
func toldSystemd(t *testing.T) func() string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("NOTIFY_SOCKET", path)
	var mu sync.Mutex
	var told strings.Builder
	done := make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4<<10)
		for {
			size, err := socket.Read(buffer)
			if err != nil {
				return
			}
			mu.Lock()
			told.WriteString(string(buffer[:size]) + "\n")
			mu.Unlock()
		}
	}()
	t.Cleanup(func() { socket.Close(); <-done })
	return func() string {
		mu.Lock()
		defer mu.Unlock()
		return told.String()
	}
}

func TestAnUpgradeRefusesNoConnectionAndFailsNoCall(t *testing.T) {
	told := toldSystemd(t)
	u := startUpgradable(t)
	l := &load{stop: make(chan struct{})}
	l.run(t, 6, l.jobs(t.Context(), u.Endpoint()))
	lasting := dial(t, u.Endpoint())
	l.run(t, 2, func(client, round int) error {
		return l.job(t.Context(), lasting, fmt.Sprintf("lasting client %d round %d", client, round))
	})
	l.run(t, 1, func(int, int) error { // connections alone, as a load balancer tries them
		conn, err := net.DialTimeout("tcp", u.Endpoint(), maxWait)
		if err != nil {
			return err
		}
		return conn.Close()
	})
	operator := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	l.run(t, 1, func(int, int) error {
		answer, err := operator.Get("http://" + u.Admin() + "/readyz")
		if err != nil {
			return err
		}
		defer answer.Body.Close()
		if body, err := io.ReadAll(answer.Body); err != nil || answer.StatusCode != http.StatusOK {
			return fmt.Errorf("/readyz: %s %s %w", answer.Status, body, err)
		}
		return nil
	})
	more := func(calls int64) {
		t.Helper()
		enough := l.calls.Load() + calls
		wait.Until(t, "the load goes on", func() bool { return t.Failed() || l.calls.Load() >= enough })
	}

	more(200)
	for range 3 {
		before := hostPID(u.Admin())
		replaceProgram(t, u.program, programOf(t, "agenthost"))
		if out, worked := u.upgrade(t); !worked || !strings.Contains(out, "upgraded after") {
			t.Error("the upgrade failed")
		}
		if now := hostPID(u.Admin()); now == before || now == 0 {
			t.Errorf("process %d answers, after process %d", now, before)
		}
		if main := fmt.Sprintf("MAINPID=%d\nREADY=1\n", hostPID(u.Admin())); !strings.Contains(told(), main) {
			t.Errorf("systemd was told\n%s, not %q", told(), main)
		}
		more(200)
		wait.Until(t, "the old host has ended", func() bool { return processEnded(before) })
		more(100)
	}
	close(l.stop)
	l.clients.Wait()
	if strings.Contains(told(), "STOPPING=1") {
		t.Errorf("systemd was told that the service stops:\n%s", told())
	}
	t.Logf("%d connections, %d calls", l.connections.Load(), l.calls.Load())
}

func TestACallUnderWayEndsAtTheOldHost(t *testing.T) {
	u := startUpgradable(t)
	old := statusOf(u.Admin())
	if len(old.Plugins) != 1 || old.Plugins[0].PID == 0 {
		t.Fatalf("the host is %+v", old)
	}
	held := old.Plugins[0].PID
	if err := syscall.Kill(held, syscall.SIGSTOP); err != nil {
		t.Fatal(err)
	}
	client, made := dial(t, u.Endpoint()), make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(t.Context(), maxWait)
		defer cancel()
		_, err := client.CreateTask(ctx, helloTask("Ada"))
		made <- err
	}()
	wait.Until(t, "the call is under way", func() bool { s := statusOf(u.Admin()); return len(s.Plugins) == 1 && s.Plugins[0].InFlight == 1 })
	if _, worked := u.upgrade(t); !worked {
		t.Fatal("the upgrade failed")
	}
	if now := hostPID(u.Admin()); now == old.Host.PID || now == 0 {
		t.Errorf("process %d answers", now)
	}
	fresh := dial(t, u.Endpoint())
	wantGreeting(t, fresh, createHello(t, fresh, "Eve"), "Hello, Eve") // the new host's plugin is its own
	if err := syscall.Kill(held, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := <-made; err != nil {
		t.Errorf("the call under way failed: %v", err)
	}
	wait.Until(t, "the old host and its plugin have ended", func() bool { return processEnded(old.Host.PID) && processEnded(held) })
}

func TestAnUpgradeThatCannotBeLeavesTheHostAsItIs(t *testing.T) {
	u := startUpgradable(t)
	pid := hostPID(u.Admin())
	serves := func() {
		t.Helper()
		if now := hostPID(u.Admin()); now != pid {
			t.Errorf("process %d answers instead of %d", now, pid)
		}
		client := dial(t, u.Endpoint())
		wantGreeting(t, client, createHello(t, client, "Ada"), "Hello, Ada")
	}
	refused := func(why string) {
		t.Helper()
		if out, worked := u.upgrade(t); worked || !strings.Contains(out, why) || !strings.Contains(out, "serves on") {
			t.Errorf("it does not say %q", why)
		}
		serves()
	}

	replaceProgram(t, u.program, []byte("#!/bin/sh\nexit 3\n"))
	refused("ended before it was ready (exit status 3)")
	if err := os.Remove(u.program); err != nil {
		t.Fatal(err)
	}
	refused("no such file")
	replaceProgram(t, u.program, programOf(t, "agenthost"))

	sound, err := os.ReadFile(u.Config())
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(u.Config(), []byte(`{"lisen": {}}`), 0o600); err != nil {
		t.Fatal(err)
	}
	refused("did you mean listen?")
	if err := os.WriteFile(u.Config(), sound, 0o600); err != nil {
		t.Fatal(err)
	}

	replaceProgram(t, u.plugin, []byte("#!/bin/sh\necho 'no libhello.so' >&2\nexit 4\n"))
	refused("plugin hello runs here and does not run in the new host")
	if out, worked := u.upgrade(t, "--force"); !worked || !strings.Contains(out, "no libhello.so") {
		t.Error("it does not take over by force")
	}
	if now := hostPID(u.Admin()); now == pid || now == 0 {
		t.Errorf("process %d answers", now)
	}
}
