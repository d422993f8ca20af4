package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strconv"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	flyteidladmin "github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// notified is a socket like systemd's, and what it was told.
type notified struct {
	mu   sync.Mutex
	told []string
}

func notifySocket(t *testing.T) (*notified, string) {
	t.Helper()
	path := filepath.Join(shortDir(t), "notify")
	socket, err := net.ListenUnixgram("unixgram", &net.UnixAddr{Name: path, Net: "unixgram"})
	if err != nil {
		t.Fatal(err)
	}
	n, done := &notified{}, make(chan struct{})
	go func() {
		defer close(done)
		buffer := make([]byte, 4<<10)
		for {
			size, err := socket.Read(buffer)
			if err != nil {
				return
			}
			n.mu.Lock()
			n.told = append(n.told, string(buffer[:size]))
			n.mu.Unlock()
		}
	}()
	t.Cleanup(func() { socket.Close(); <-done })
	return n, path
}

// await waits for a message that matches a pattern, and forgets it and those before it.
func (n *notified) await(t *testing.T, pattern string) {
	t.Helper()
	want := regexp.MustCompile(`^(?:` + pattern + `)$`)
	wait.Until(t, "systemd is told "+pattern, func() bool {
		n.mu.Lock()
		defer n.mu.Unlock()
		for i, message := range n.told {
			if want.MatchString(message) {
				n.told = n.told[i+1:]
				return true
			}
		}
		return false
	})
}

// activated has a program started with these sockets, as systemd does.
func (p *program) activated(t *testing.T, names string, sockets ...net.Listener) {
	t.Helper()
	for _, socket := range sockets {
		file, err := socket.(interface{ File() (*os.File, error) }).File()
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { file.Close() })
		p.cmd.ExtraFiles = append(p.cmd.ExtraFiles, file)
	}
	p.cmd.Args = append([]string{"sh", "-c", `LISTEN_PID=$$ exec "$@"`, "sh"}, append([]string{p.cmd.Path}, p.cmd.Args[1:]...)...)
	p.cmd.Path = "/bin/sh"
	p.cmd.Env = append(p.cmd.Env, fmt.Sprintf("LISTEN_FDS=%d", len(sockets)), "LISTEN_FDNAMES="+names)
}

func listenTCP(t *testing.T) net.Listener {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { listener.Close() })
	return listener
}

func TestAHostListensWhereSystemdDoesAndTellsItWhatItDoes(t *testing.T) {
	for _, names := range []string{"admin:grpc", "agenthost.socket:agenthost.socket"} {
		flyteSocket, adminSocket := listenTCP(t), listenTCP(t)
		early, err := net.Dial("tcp", flyteSocket.Addr().String()) // waits for the host, which is not there
		if err != nil {
			t.Fatal(err)
		}
		early.Close()
		told, path := notifySocket(t)
		file := pluginsFile(t, map[string][]string{"echo": badplugin.Command("good")})
		p := newProgram(t, "serve", "-c", file, "--set", "listen.grpc="+flyteSocket.Addr().String(), "--set", "listen.admin="+adminSocket.Addr().String())
		p.activated(t, names, adminSocket, flyteSocket)
		p.cmd.Env = append(p.cmd.Env, "NOTIFY_SOCKET="+path)
		p.start(t)
		told.await(t, `READY=1\nSTATUS=ready: 1 of 1 plugins run`)
		host := &served{p, flyteSocket.Addr().String(), adminSocket.Addr().String()}
		if result := finish(t, flyte(t, propeller.V1, host.grpc).Submit(echoTask(t, "echo_task", badplugin.Script{}))); result.Phase != propeller.Succeeded {
			t.Errorf("a task came to %+v", result.Final)
		}
		host.get(t, "/readyz")
		if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil {
			t.Fatal(err)
		}
		told.await(t, `RELOADING=1\nMONOTONIC_USEC=[0-9]+`)
		told.await(t, "READY=1")
		if code := host.signal(t, syscall.SIGTERM); code != 0 {
			t.Errorf("the host ended with %d:\n%s", code, p.stderr)
		}
		told.await(t, `STOPPING=1\nSTATUS=stopping: .*\nEXTEND_TIMEOUT_USEC=[0-9]+`)
	}
}

func TestAHostTakesTheProbeAndTheSocketOfOperatorsFromSystemd(t *testing.T) {
	flyteSocket, probe := listenTCP(t), listenTCP(t)
	path := filepath.Join(shortDir(t), "admin.sock")
	adminSocket, err := net.Listen("unix", path)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { adminSocket.Close() })
	file := pluginsFile(t, map[string][]string{"echo": badplugin.Command("good")})
	for _, names := range []string{"grpc:probe:admin", "agenthost.socket:agenthost.socket:agenthost.socket"} {
		p := newProgram(t, "serve", "-c", file, "--set", "listen.grpc="+flyteSocket.Addr().String(), "--set", "listen.admin=unix:"+path, "--set", "listen.probe="+probe.Addr().String())
		p.activated(t, names, flyteSocket, probe, adminSocket)
		p.start(t)
		p.stderr.await(t, "agenthost is ready", 1)
		host := &served{p, flyteSocket.Addr().String(), probe.Addr().String()}
		host.get(t, "/readyz")
		agenthost(t, "status", "--admin", "unix:"+path).expect(t, 0, "echo", "")
		if code := p.signal(t, syscall.SIGTERM); code != 0 {
			t.Errorf("the host ended with %d:\n%s", code, p.stderr)
		}
		if _, err := os.Stat(path); err != nil {
			t.Errorf("systemd's socket is gone with the host: %v", err)
		}
	}
}

// The units and the configuration that they are for say the same.
func TestTheUnitsFitTheProductionConfiguration(t *testing.T) {
	settings, err := config.Load(config.Sources{Files: []string{"../../configs/production.yaml"}})
	if err != nil {
		t.Fatal(err)
	}
	seconds := func(d time.Duration) int { return int(d / time.Second) }
	var longestStop, longestStart time.Duration
	for _, p := range settings.Plugins {
		longestStop, longestStart = max(longestStop, p.StopTimeout), max(longestStart, p.StartTimeout)
	}
	socket, service := unit(t, "agenthost.socket"), unit(t, "agenthost.service")
	if got := socket["ListenStream"]; !slices.Equal(got, []string{settings.Listen.GRPC, settings.Listen.Admin}) {
		t.Errorf("the socket unit listens on %q", got)
	}
	if got := "/run/" + service["RuntimeDirectory"][0]; got != settings.RunDir {
		t.Errorf("the service has %s for run_dir", got)
	}
	if got := "/var/lib/" + service["StateDirectory"][0]; got != filepath.Dir(settings.StateDir) {
		t.Errorf("the service has %s for state_dir", got)
	}
	for key, least := range map[string]int{"TimeoutStopSec": seconds(settings.ShutdownTimeout + longestStop), "TimeoutStartSec": seconds(longestStart)} {
		if got, err := strconv.Atoi(service[key][0]); err != nil || got <= least {
			t.Errorf("%s is %s, the host may take %d s", key, service[key][0], least)
		}
	}
}

// unit is the settings of a unit file.
func unit(t *testing.T, name string) map[string][]string {
	t.Helper()
	content, err := os.ReadFile("../../configs/systemd/" + name)
	if err != nil {
		t.Fatal(err)
	}
	settings := map[string][]string{}
	for line := range strings.Lines(string(content)) {
		if key, value, ok := strings.Cut(strings.TrimSpace(line), "="); ok && !strings.HasPrefix(key, "#") {
			settings[key] = append(settings[key], value)
		}
	}
	return settings
}

func TestASocketThatIsForNothingIsNamed(t *testing.T) {
	stray := listenTCP(t)
	p := newProgram(t, "serve", "-c", pluginsFile(t, nil))
	p.activated(t, "stray.socket", stray)
	p.start(t)
	_ = p.cmd.Wait() // the code is what counts
	want := "systemd passes the socket " + stray.Addr().String() + " (stray.socket), which is none of listen.grpc, listen.admin and listen.probe"
	if code := p.cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(p.stderr.String(), want) {
		t.Errorf("it ended with %d:\n%s", code, p.stderr)
	}
}

func TestWhatAnUpgradeHandsOverIsForNobodyElseToSet(t *testing.T) {
	p := newProgram(t, "serve", "-c", pluginsFile(t, nil))
	p.cmd.Env = append(p.cmd.Env, "AGENTHOST_TAKEOVER=yes")
	p.start(t)
	_ = p.cmd.Wait() // as above
	if code := p.cmd.ProcessState.ExitCode(); code != exitFailed || !strings.Contains(p.stderr.String(), "for a host that upgrades, and for nobody else to set") {
		t.Errorf("it ended with %d:\n%s", code, p.stderr)
	}
}

// A host is never told to be alive that does not answer: systemd then ends it and starts another.
func TestSystemdHearsThatTheHostLivesAsLongAsItDoes(t *testing.T) {
	told, path := notifySocket(t)
	file := pluginsFile(t, map[string][]string{"echo": badplugin.Command("good"), "gone": {"/nowhere/plugin"}})
	p := newProgram(t, "serve", "-c", file)
	p.cmd.Args = append([]string{"sh", "-c", `WATCHDOG_PID=$$ exec "$@"`, "sh"}, append([]string{p.cmd.Path}, p.cmd.Args[1:]...)...)
	p.cmd.Path = "/bin/sh"
	p.cmd.Env = append(p.cmd.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=600000")
	p.start(t)
	told.await(t, `STATUS=starting: .* of 2 plugins run; .*`)
	told.await(t, `READY=1\nSTATUS=ready: 1 of 2 plugins run; gone is .*`)
	for range 3 {
		told.await(t, "WATCHDOG=1")
	}
	host := &served{p, "", readyLine.FindStringSubmatch(p.stderr.String())[2]}
	running := host.pid(t, "echo")
	if err := syscall.Kill(running, syscall.SIGSTOP); err != nil { // a plugin that hangs is no reason to end the host
		t.Fatal(err)
	}
	for range 3 {
		told.await(t, "WATCHDOG=1")
	}
	if err := syscall.Kill(running, syscall.SIGCONT); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file, []byte("{"), 0o600); err != nil {
		t.Fatal(err)
	}
	told.await(t, `STATUS=ready: .*; the configuration has mistakes, the last sound one is in effect`)
	if code := host.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d:\n%s", code, p.stderr)
	}
	told.await(t, `STOPPING=1\nSTATUS=stopping: .*\nEXTEND_TIMEOUT_USEC=[0-9]+`)
}

// pid is the process of a plugin.
func (s *served) pid(t *testing.T, plugin string) int {
	t.Helper()
	var status admin.Status
	if err := json.Unmarshal([]byte(s.get(t, "/status")), &status); err != nil {
		t.Fatal(err)
	}
	for _, p := range status.Plugins {
		if p.Name == plugin && p.PID != 0 {
			return p.PID
		}
	}
	t.Fatalf("%s has no process: %+v", plugin, status.Plugins)
	return 0
}

// asks calls a host by connections of their own, one after the other, and counts the calls that fail.
type asks struct {
	made, failed atomic.Int64
	last         atomic.Pointer[error]
}

// one makes a connection and a call, which fails where the connection does.
func (a *asks) one(ctx context.Context, address string) {
	a.made.Add(1)
	err := func() error {
		conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			return err
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(ctx, 60*time.Second)
		defer cancel()
		_, err = service.NewAgentMetadataServiceClient(conn).ListAgents(ctx, &flyteidladmin.ListAgentsRequest{})
		return err
	}()
	if err != nil {
		a.failed.Add(1)
		a.last.Store(&err)
	}
}

// Where systemd has the socket, a host that is restarted, or killed, has nobody refused who calls meanwhile.
func TestARestartOnASocketOfSystemdFailsNoCall(t *testing.T) {
	socket := listenTCP(t)
	file := pluginsFile(t, map[string][]string{"echo": badplugin.Command("good")})
	start := func() *program {
		p := newProgram(t, "serve", "-c", file, "--set", "listen.grpc="+socket.Addr().String())
		p.activated(t, "grpc", socket)
		p.start(t)
		p.stderr.await(t, "agenthost is ready", 1)
		return p
	}
	var calls asks
	var callers sync.WaitGroup
	done := make(chan struct{})
	host := start()
	for range 4 {
		callers.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
					calls.one(context.Background(), socket.Addr().String())
				}
			}
		})
	}
	for range 3 {
		before := calls.made.Load()
		wait.Until(t, "calls are made", func() bool { return calls.made.Load() > before+20 })
		if code := host.signal(t, syscall.SIGTERM); code != 0 {
			t.Errorf("the host ended with %d:\n%s", code, host.stderr)
		}
		host = start()
	}
	close(done)
	callers.Wait()
	if failed := calls.failed.Load(); failed > 0 {
		t.Errorf("%d of %d calls failed while the host was restarted, the last: %v", failed, calls.made.Load(), *calls.last.Load())
	}

	host.signal(t, syscall.SIGKILL)
	var waiting asks
	for range 20 {
		callers.Go(func() { waiting.one(context.Background(), socket.Addr().String()) })
	}
	wait.Until(t, "all call a host that is not there", func() bool { return waiting.made.Load() == 20 })
	host = start()
	callers.Wait()
	if failed := waiting.failed.Load(); failed > 0 {
		t.Errorf("%d of 20 calls failed that came while the host was away, the last: %v", failed, *waiting.last.Load())
	}
	host.signal(t, syscall.SIGTERM)
}

// A start that takes longer than the unit allows is no failure while the host answers.
func TestAHostAsksSystemdForTheTimeThatItsPluginsTakeToStart(t *testing.T) {
	told, path := notifySocket(t)
	p := newProgram(t, "serve", "-c", pluginsFile(t, map[string][]string{"late": badplugin.Command("slow", "-delay", "3s")}))
	// Without a watchdog it would say so every ten seconds.
	p.cmd.Args = append([]string{"sh", "-c", `WATCHDOG_PID=$$ exec "$@"`, "sh"}, append([]string{p.cmd.Path}, p.cmd.Args[1:]...)...)
	p.cmd.Path = "/bin/sh"
	p.cmd.Env = append(p.cmd.Env, "NOTIFY_SOCKET="+path, "WATCHDOG_USEC=900000")
	p.start(t)
	told.await(t, "STATUS=starting: 0 of 1 plugins run; late is starting")
	told.await(t, "EXTEND_TIMEOUT_USEC=900000")
	told.await(t, "WATCHDOG=1")
	told.await(t, `READY=1\nSTATUS=ready: 1 of 1 plugins run`)
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d:\n%s", code, p.stderr)
	}
}
