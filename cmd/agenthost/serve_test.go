package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// served is a host in a process of its own, with echo plugins, and how to reach it.
type served struct {
	*program
	grpc, admin string
}

var readyLine = regexp.MustCompile(`"agenthost is ready" grpc=(\S+) admin=(\S+)`)

func serveEcho(t *testing.T, pluginArgs ...string) *served {
	t.Helper()
	p := startAgenthost(t, "serve", "-c", pluginsFile(t, map[string][]string{"echo": badplugin.Command("good", pluginArgs...)}))
	p.stderr.await(t, "agenthost is ready", 1)
	addresses := readyLine.FindStringSubmatch(p.stderr.String())
	return &served{p, addresses[1], addresses[2]}
}

// status is what the host says of its one plugin.
func (s *served) status(t *testing.T) admin.PluginStatus {
	t.Helper()
	var status admin.Status
	if err := json.Unmarshal([]byte(s.get(t, "/status")), &status); err != nil || len(status.Plugins) != 1 {
		t.Fatalf("%v: %+v", err, status)
	}
	return status.Plugins[0]
}

func (s *served) get(t *testing.T, path string) string {
	t.Helper()
	answer, err := http.Get("http://" + s.admin + path)
	if err != nil {
		t.Fatal(err)
	}
	defer answer.Body.Close()
	body, err := io.ReadAll(answer.Body)
	http.DefaultClient.CloseIdleConnections()
	if err != nil || answer.StatusCode != http.StatusOK {
		t.Errorf("GET %s: %s %v %s", path, answer.Status, err, body)
	}
	return string(body)
}

func flyte(t *testing.T, generation propeller.Flyte, endpoint string) *propeller.Propeller {
	t.Helper()
	p := propeller.Start(t.Context(), propeller.Options{
		Flyte: generation, Endpoint: endpoint, PollInterval: 100 * time.Millisecond, Resync: 50 * time.Millisecond,
		Round: 20 * time.Millisecond, DeleteAfter: 50 * time.Millisecond, Workers: 40, PollRate: -1,
	})
	t.Cleanup(p.Close)
	return p
}

// echoTask is a task for the echo agents, which does what the script says.
func echoTask(t *testing.T, taskType string, script badplugin.Script) propeller.Task {
	t.Helper()
	encoded, err := json.Marshal(script)
	if err != nil {
		t.Fatal(err)
	}
	custom := &structpb.Struct{}
	if err := protojson.Unmarshal(encoded, custom); err != nil {
		t.Fatal(err)
	}
	integer := &core.Variable{Type: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_INTEGER}}}
	variables := &core.VariableMap{Variables: map[string]*core.Variable{"n": integer}}
	return propeller.Task{
		Template: &core.TaskTemplate{Type: taskType, Custom: custom, Interface: &core.TypedInterface{Inputs: variables, Outputs: variables}},
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"n": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{
			Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_Integer{Integer: 42}}}}}}}},
	}
}

// finish waits for a task and returns what became of it.
func finish(t *testing.T, e *propeller.Execution) propeller.Result {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 60*time.Second)
	defer cancel()
	result, err := e.Wait(ctx)
	if err != nil {
		t.Errorf("the task came to no end: %v, after %+v", err, result.History)
	}
	return result
}

func TestBothFlytesRunTasksThroughTheHost(t *testing.T) {
	host := serveEcho(t)
	for _, generation := range []propeller.Flyte{propeller.V1, propeller.V2} {
		f := flyte(t, generation, host.grpc)
		for name, c := range map[string]struct {
			script badplugin.Script
			want   propeller.Phase
		}{
			"success":   {badplugin.Script{Polls: 3}, propeller.Succeeded},
			"at once":   {badplugin.Script{}, propeller.Succeeded},
			"a failure": {badplugin.Script{Polls: 1, Phase: "FAILED", Message: "no such table"}, propeller.PermanentFailure},
		} {
			result := finish(t, f.Submit(echoTask(t, "echo_task", c.script)))
			if result.Phase != c.want || result.Attempts != 1 {
				t.Errorf("flyte %v, %s: %s in %d attempts, %+v", generation, name, result.Phase, result.Attempts, result.Final)
			}
			if c.want == propeller.Succeeded && result.Outputs.GetLiterals()["n"].GetScalar().GetPrimitive().GetInteger() != 42 {
				t.Errorf("flyte %v, %s: outputs %v", generation, name, result.Outputs)
			}
		}
	}
	sync := finish(t, flyte(t, propeller.V1, host.grpc).Submit(echoTask(t, "echo_sync_task", badplugin.Script{})))
	if sync.Phase != propeller.Succeeded || len(sync.Calls) != 1 {
		t.Errorf("a sync task: %+v", sync)
	}
	if code := host.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d:\n%s", code, host.stderr)
	}
}

// The plugin is killed while both Flytes begin their tasks, and again and again while they poll their jobs. No task may notice: not
// one failure counted, not one attempt burnt, not one type gone from discovery.
func TestAPluginThatIsKilledUnderLoadLosesNoTask(t *testing.T) {
	host := serveEcho(t, "-capabilities", "idempotent_create")
	var all sync.WaitGroup
	var executions []*propeller.Execution
	flytes := map[propeller.Flyte]*propeller.Propeller{}
	for _, generation := range []propeller.Flyte{propeller.V1, propeller.V2} {
		flytes[generation] = flyte(t, generation, host.grpc)
	}
	submit := func(count int) {
		for generation, f := range flytes {
			for range count {
				// Jobs of the plugin's own making would be gone with it, by no fault of the host: these are stateless.
				execution := f.Submit(echoTask(t, "echo_task", badplugin.Script{Polls: 0, GetDelay: "1s", Stateless: true}))
				executions = append(executions, execution)
				all.Go(func() {
					if result := finish(t, execution); result.Phase != propeller.Succeeded || result.Attempts != 1 {
						t.Errorf("flyte %v: %s in %d attempts: %+v", generation, result.Phase, result.Attempts, result.Final)
					}
				})
			}
		}
	}
	kill := func() {
		before := host.status(t)
		if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil && !errors.Is(err, syscall.ESRCH) {
			t.Fatal(err)
		}
		host.stderr.await(t, "was=starting", 1)
		host.stderr.await(t, "plugin is running", before.Restarts+2)
	}
	submit(2) // no more creations than may wait for a plugin in trouble
	kill()
	submit(38)
	// A creation in which the plugin dies for the third time is taken for the cause.
	wait.Until(t, "each task has a job", func() bool {
		return !slices.ContainsFunc(executions, func(e *propeller.Execution) bool {
			return !slices.ContainsFunc(e.Calls(), func(c propeller.Call) bool { return c.Method == "CreateTask" })
		})
	})
	for range 3 {
		kill()
	}
	all.Wait()
	if got := host.status(t); got.Restarts < 4 || got.State != "running" || len(got.Categories) == 0 {
		t.Errorf("status: %+v", got)
	}
	if code := host.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
}

func TestOperatorsSeeMetricsHealthAndThePluginsLog(t *testing.T) {
	host := serveEcho(t)
	finish(t, flyte(t, propeller.V1, host.grpc).Submit(echoTask(t, "echo_task", badplugin.Script{})))
	if got := host.get(t, "/healthz") + host.get(t, "/readyz"); got != "ok\nok\n" {
		t.Errorf("health: %q", got)
	}
	metrics := host.get(t, "/metrics")
	for _, want := range []string{
		`agenthost_calls_total{code="OK",method="CreateTask",plugin="echo",task_type="echo_task"} 1`,
		`agenthost_plugin_state{plugin="echo",state="running"} 1`,
		`agenthost_plugin_restarts_total{plugin="echo"} 0`,
		`agenthost_plugin_memory_bytes{plugin="echo"}`,
		`agenthost_plugin_cpu_seconds_total{plugin="echo"}`,
		`agenthost_plugin_info{plugin="echo",sdk=`,
		`agenthost_call_duration_seconds_bucket{method="GetTask"`,
		`agenthost_build_info{go="go1.`,
		`agenthost_config_watched 1`,
		`flyte_connector_requests_success_total{operation="create",task_type="echo_task"} 1`,
	} {
		if !strings.Contains(metrics, want) {
			t.Errorf("/metrics lacks %s", want)
		}
	}
	published, err := os.ReadFile("../../docs/reference/metrics.md")
	if err != nil {
		t.Fatal(err)
	}
	for _, exported := range regexp.MustCompile(`(?m)^# TYPE ((?:agenthost|flyte)_\S+) (\S+)$`).FindAllStringSubmatch(metrics, -1) {
		if !strings.Contains(string(published), "| `"+exported[1]+"` | "+exported[2]+" |") {
			t.Errorf("docs/reference/metrics.md lacks the %s %s", exported[2], exported[1])
		}
	}
	status := host.status(t)
	if status.PID == 0 || status.UptimeSeconds <= 0 || status.MemoryBytes == 0 || status.Version != "1.2.3" || len(status.Categories) != 2 {
		t.Errorf("status: %+v", status)
	}
	host.signal(t, syscall.SIGTERM)
}

func TestAPortInUseIsNamedWithItsKey(t *testing.T) {
	taken, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	defer taken.Close()
	file := pluginsFile(t, nil)
	for flag, key := range map[string]string{"--grpc": "listen.grpc", "--admin": "listen.admin"} {
		got := agenthost(t, "serve", "-c", file, flag, taken.Addr().String())
		got.expect(t, exitFailed, "", fmt.Sprintf("%s: %s is in use by another process", key, taken.Addr()))
	}
}

func TestATermSignalLetsCallsUnderWayEnd(t *testing.T) {
	host := serveEcho(t)
	f := flyte(t, propeller.V1, host.grpc)
	execution := f.Submit(echoTask(t, "echo_sync_task", badplugin.Script{CreateDelay: "1s"}))
	wait.Until(t, "the call is under way", func() bool { return host.status(t).InFlight > 0 })
	if code := host.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d:\n%s", code, host.stderr)
	}
	if result := finish(t, execution); result.Phase != propeller.Succeeded {
		t.Errorf("the call under way came to %+v", result.Final)
	}
}

func TestNoPluginOutlivesAHostThatIsKilled(t *testing.T) {
	host := serveEcho(t)
	pid := host.status(t).PID
	host.signal(t, syscall.SIGKILL)
	wait.Until(t, "the plugin's process is gone", func() bool { return syscall.Kill(pid, 0) != nil })
}

func TestAConfigurationThatAPluginRefusesIsLoggedWithItsFileAndKey(t *testing.T) {
	file := writeFile(t, "host.yaml", fmt.Sprintf(`
listen: {grpc: "127.0.0.1:0", admin: "127.0.0.1:0"}
run_dir: %s/r
plugins:
  picky:
    command: %s
    config:
      limits:
        memory: lots
  other:
    command: %s
`, shortDir(t), jsonList(badplugin.Command("configure-errors")), jsonList(badplugin.Command("good"))))
	p := startAgenthost(t, "serve", "-c", file)
	p.stderr.await(t, fmt.Sprintf("source=%s line=9 key=plugins.picky.config.limits.memory", file), 1)
	p.stderr.await(t, "agenthost is ready", 1) // one plugin's configuration is not another's affair
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
}

func TestAHostSaysWhereItKeepsWhatMustOutliveIt(t *testing.T) {
	for own, warned := range map[bool]bool{false: true, true: false} {
		run := shortDir(t) + "/r"
		state := run + "/state"
		settings := "listen: {grpc: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\nrun_dir: " + run + "\n"
		if own {
			state = filepath.Join(t.TempDir(), "lib", "state")
			settings += "state_dir: " + state + "\n"
		}
		p := startAgenthost(t, "serve", "-c", writeFile(t, "host.yaml", settings))
		p.stderr.await(t, "agenthost is ready", 1)
		host := &served{p, "", readyLine.FindStringSubmatch(p.stderr.String())[2]}
		if info, err := os.Stat(state); err != nil || info.Mode().Perm() != 0o700 {
			t.Errorf("%s: %v, %v", state, info, err)
		}
		shown := agenthost(t, "status", "--admin", host.admin).stdout
		for where, text := range map[string]string{"log": p.stderr.String(), "status": shown} {
			if strings.Contains(text, "state_dir ("+state+") is in run_dir") != warned {
				t.Errorf("the %s, with state_dir %v:\n%s", where, own, text)
			}
		}
		if code := host.signal(t, syscall.SIGTERM); code != 0 {
			t.Errorf("the host ended with %d", code)
		}
	}
}

// The reader of the log goes away, as journald does when it is restarted, and comes back: for a pipe that has a name it can.
func TestAHostOutlivesTheReaderOfItsLog(t *testing.T) {
	for _, how := range []string{`exec "$@"`, `trap "" PIPE; exec "$@"`} {
		pipe := filepath.Join(t.TempDir(), "log")
		if err := syscall.Mkfifo(pipe, 0o600); err != nil {
			t.Fatal(err)
		}
		both, err := os.OpenFile(pipe, os.O_RDWR, 0) // so that neither side waits for the other
		if err != nil {
			t.Fatal(err)
		}
		writer, err := os.OpenFile(pipe, os.O_WRONLY, 0)
		if err != nil {
			t.Fatal(err)
		}
		p := newProgram(t, "serve", "-c", pluginsFile(t, map[string][]string{"echo": badplugin.Command("good")}))
		p.cmd.Args = append([]string{"sh", "-c", how, "sh"}, append([]string{p.cmd.Path}, p.cmd.Args[1:]...)...)
		p.cmd.Path = "/bin/sh"
		p.cmd.Stdout, p.cmd.Stderr = writer, writer
		p.start(t)
		writer.Close()
		reads(t, both, "agenthost is ready", p)
		addresses := readyLine.FindStringSubmatch(p.stderr.String())
		host := &served{p, addresses[1], addresses[2]}
		both.Close()

		hangup := func() {
			if err := p.cmd.Process.Signal(syscall.SIGHUP); err != nil { // each is a line of the log
				t.Fatal(err)
			}
		}
		hangup()
		wait.Until(t, "a line is lost", func() bool { return !strings.Contains(host.get(t, "/metrics"), "agenthost_log_lines_lost_total 0") })
		agenthost(t, "status", "--admin", host.admin).expect(t, 0, "it cannot be written: write /dev/stderr: broken pipe", "")
		if result := finish(t, flyte(t, propeller.V1, host.grpc).Submit(echoTask(t, "echo_task", badplugin.Script{}))); result.Phase != propeller.Succeeded {
			t.Errorf("a task came to %+v", result.Final)
		}

		if both, err = os.OpenFile(pipe, os.O_RDWR, 0); err != nil {
			t.Fatal(err)
		}
		hangup()
		reads(t, both, "lines of this log were lost here", p)
		both.Close()
		if code := host.signal(t, syscall.SIGTERM); code != 0 {
			t.Errorf("started by %q the host ended with %d: %v", how, code, p.cmd.ProcessState)
		}
	}
}

// Where run_dir is in /tmp, somebody cleans up there one day.
func TestAHostOutlivesACleanUpOfItsRunDirectory(t *testing.T) {
	file := pluginsFile(t, map[string][]string{"echo": badplugin.Command("good", "-capabilities", "idempotent_create")})
	settings, err := config.Load(config.Sources{Files: []string{file}})
	if err != nil {
		t.Fatal(err)
	}
	p := startAgenthost(t, "serve", "-c", file)
	p.stderr.await(t, "agenthost is ready", 1)
	addresses := readyLine.FindStringSubmatch(p.stderr.String())
	host := &served{p, addresses[1], addresses[2]}
	runs := func(after string) {
		t.Helper()
		if result := finish(t, flyte(t, propeller.V1, host.grpc).Submit(echoTask(t, "echo_task", badplugin.Script{Stateless: true}))); result.Phase != propeller.Succeeded {
			t.Errorf("after %s a task came to %+v", after, result.Final)
		}
	}

	locks, err := filepath.Glob(settings.RunDir + "/*/lock")
	if err != nil || len(locks) != 1 {
		t.Fatalf("the host has the locks %q: %v", locks, err)
	}
	for _, lock := range append(locks, settings.RunDir+"/lock") {
		if err := os.Remove(lock); err != nil {
			t.Fatal(err)
		}
	}
	before := host.status(t)
	agenthost(t, "check", "--start", "-c", file).expect(t, 0, "echo: ok", "")
	if after := host.status(t); after.PID != before.PID || after.Restarts != 0 {
		t.Errorf("a check beside the host had its plugin restarted: %+v", after)
	}
	runs("the loss of the locks")

	if err := os.RemoveAll(settings.RunDir); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(before.PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "the plugin runs again", func() bool { s := host.status(t); return s.State == "running" && s.PID != before.PID })
	runs("the loss of run_dir")
	if code := host.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d:\n%s", code, p.stderr)
	}
	if _, err := os.Stat(filepath.Dir(locks[0])); !os.IsNotExist(err) {
		t.Errorf("the host left its root: %v", err)
	}
}

// reads takes what a program logs from a pipe, until it has logged a text.
func reads(t *testing.T, pipe *os.File, until string, p *program) {
	t.Helper()
	if err := pipe.SetReadDeadline(time.Now().Add(30 * time.Second)); err != nil {
		t.Fatal(err)
	}
	buffer := make([]byte, 64<<10)
	for !strings.Contains(p.stderr.String(), until) {
		n, err := pipe.Read(buffer)
		if err != nil {
			t.Fatalf("waiting for %q: %v, after\n%s", until, err, p.stderr)
		}
		p.stderr.Write(buffer[:n])
	}
}

// A command that prints ends with the reader of its output, as any does.
func TestACommandWhoseOutputNobodyReadsEnds(t *testing.T) {
	reader, writer, err := os.Pipe()
	if err != nil {
		t.Fatal(err)
	}
	p := newProgram(t, "schema")
	p.cmd.Stdout = writer
	reader.Close()
	p.start(t)
	writer.Close()
	_ = p.cmd.Wait() // the state says how
	if status, ok := p.cmd.ProcessState.Sys().(syscall.WaitStatus); !ok || status.Signal() != syscall.SIGPIPE {
		t.Errorf("it ended with %v", p.cmd.ProcessState)
	}
}

func TestAStateDirectoryOfOthersKeepsTheHostFromStarting(t *testing.T) {
	open := t.TempDir()
	if err := os.Chmod(open, 0o755); err != nil {
		t.Fatal(err)
	}
	agenthost(t, "serve", "-c", writeFile(t, "host.yaml", "run_dir: "+shortDir(t)+"/r\nstate_dir: "+open+"\n")).expect(t, exitFailed, "", "state_dir: the state directory "+open+" can be entered by others")
}

func jsonList(words []string) string {
	list, _ := json.Marshal(words) // strings can always be encoded
	return string(list)
}

// A swap while both Flytes poll: every task ends well, in one attempt, on a configuration that is edited, broken and mended.
func TestTheConfigurationIsSwappedUnderRunningTasks(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "host.json")
	run := shortDir(t) + "/r"
	edit := func(version string) {
		content, err := json.Marshal(map[string]any{
			"listen": map[string]any{"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0"}, "run_dir": run,
			"plugins": map[string]any{"echo": map[string]any{"command": badplugin.Command("good", "-version", version, "-capabilities", "idempotent_create")}},
		})
		if err != nil {
			t.Fatal(err)
		}
		replaceFile(t, file, string(content))
	}
	edit("1")
	p := startAgenthost(t, "serve", "-c", file)
	p.stderr.await(t, "agenthost is ready", 1)
	addresses := readyLine.FindStringSubmatch(p.stderr.String())
	host := &served{p, addresses[1], addresses[2]}

	var all sync.WaitGroup
	for _, generation := range []propeller.Flyte{propeller.V1, propeller.V2} {
		f := flyte(t, generation, host.grpc)
		for range 30 {
			execution := f.Submit(echoTask(t, "echo_task", badplugin.Script{GetDelay: "100ms", Stateless: true}))
			all.Go(func() {
				if result := finish(t, execution); result.Phase != propeller.Succeeded || result.Attempts != 1 {
					t.Errorf("flyte %v: %s in %d attempts: %+v", generation, result.Phase, result.Attempts, result.Final)
				}
			})
		}
	}
	for _, version := range []string{"2", "3"} {
		edit(version)
		wait.Until(t, "version "+version+" serves", func() bool { return host.status(t).Version == version })
	}
	replaceFile(t, file, `{"plugins": {"echo": {"comand": ["x"]}}}`)
	p.stderr.await(t, "did you mean", 1)
	if got := host.status(t); got.Version != "3" || got.State != "running" {
		t.Errorf("a broken configuration: %+v", got)
	}
	if !strings.Contains(host.get(t, "/metrics"), "agenthost_config_valid 0") {
		t.Error("the metric does not show the broken configuration")
	}
	all.Wait()

	edit("4")
	if code := host.reload(t); code != 0 || host.status(t).Version != "4" {
		t.Errorf("agenthost reload: code %d, status %+v", code, host.status(t))
	}
	if code := host.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d:\n%s", code, host.stderr)
	}
}

// The limits of a user namespace are the real ones of the system, for one process.
func TestAHostThatTheSystemDoesNotNotifySaysSo(t *testing.T) {
	for limit, want := range map[string]string{
		"max_inotify_instances": "fs.inotify.max_user_instances", "max_inotify_watches": "fs.inotify.max_user_watches",
	} {
		t.Run(limit, func(t *testing.T) {
			p := newProgram(t, "serve", "-c", pluginsFile(t, nil))
			p.cmd.Args = append([]string{"sh", "-c", "echo 0 > /proc/sys/user/" + limit + ` && exec "$@"`, "sh"}, append([]string{p.cmd.Path}, p.cmd.Args[1:]...)...)
			p.cmd.Path = "/bin/sh"
			p.cmd.SysProcAttr = &syscall.SysProcAttr{
				Cloneflags:  syscall.CLONE_NEWUSER,
				UidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getuid(), Size: 1}},
				GidMappings: []syscall.SysProcIDMap{{ContainerID: 0, HostID: os.Getgid(), Size: 1}},
			}
			p.start(t)
			p.stderr.await(t, "agenthost is ready", 1)
			p.stderr.await(t, "changes of the configuration's files are seen late", 1)
			addresses := readyLine.FindStringSubmatch(p.stderr.String())
			host := &served{p, addresses[1], addresses[2]}
			agenthost(t, "status", "--admin", host.admin).expect(t, 0, want, "")
			if metrics := host.get(t, "/metrics"); !strings.Contains(metrics, "agenthost_config_watched 0") {
				t.Error("the metric does not show it")
			}
			if code := host.signal(t, syscall.SIGTERM); code != 0 || strings.Count(p.stderr.String(), "are seen late") != 1 {
				t.Errorf("the host ended with %d:\n%s", code, p.stderr)
			}
		})
	}
}

func (s *served) reload(t *testing.T) int {
	t.Helper()
	got := agenthost(t, "reload", "--admin", s.admin)
	t.Log(got.stdout, got.stderr)
	return got.code
}

// replaceFile writes a file as editors do: a new one takes the old one's name.
func replaceFile(t *testing.T, path, content string) {
	t.Helper()
	if err := os.WriteFile(path+".new", []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}
