package main

import (
	"context"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"strings"
	"testing"

	flyteidladmin "github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	flyteidlservice "github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/test/badplugin"
)

func TestCheckNamesThePluginsOfAGoodConfiguration(t *testing.T) {
	file := writeFile(t, "host.yaml", "plugins: {b: {command: [b]}, a: {command: [a]}}\n")
	agenthost(t, "check", "-c", file).expect(t, 0, file+": ok, 2 plugins: a, b\n", "")
}

func TestCheckWarnsOfAHostThatIsKilledBeforeItHasStopped(t *testing.T) {
	file := writeFile(t, "host.yaml", "shutdown_timeout: 15s\nplugins: {a: {command: [a], stop_timeout: 5s}, b: {command: [b], stop_timeout: 10s}, c: {address: [\"c:1\"]}}\n")
	for line, warns := range map[string]bool{
		"":                                      false, // 25s
		"--set drain_delay=4s":                  false,
		"--set drain_delay=5s":                  true, // as long as Kubernetes waits where nobody says otherwise
		"--grace 25s":                           true,
		"--grace 26s":                           false,
		"--set drain_delay=10s --grace 36s":     false,
		"--set shutdown_timeout=1m --grace 60s": true,
		"--set shutdown_timeout=30s":            false, // nobody says that this is Kubernetes
		"--set drain_delay=5s --grace 25s":      true,
	} {
		got := agenthost(t, append([]string{"check", "-c", file}, strings.Fields(line)...)...)
		if got.expect(t, 0, "ok, 3 plugins", ""); strings.Contains(got.stderr, "the host may be killed after") != warns {
			t.Errorf("%s: %s", line, got.stderr)
		}
	}
}

func TestCheckShowsEveryMistakeAtOnce(t *testing.T) {
	file := writeFile(t, "host.yaml", "lisen: {}\nlog: {level: loud}\n")
	got := agenthost(t, "check", "-c", file, "--set", "log.format=xml", "--grpc", "nowhere")
	got.expect(t, exitFailed, "", "4 errors in the configuration:")
	for _, want := range []string{file + ":1: lisen: unknown key; did you mean listen?", file + ":2: log.level", "command line: log.format", "command line: listen.grpc"} {
		got.expect(t, exitFailed, "", want)
	}
}

func TestCheckAsJSONListsTheMistakesAsData(t *testing.T) {
	file := writeFile(t, "host.yaml", "log:\n  level: loud\n")
	got := agenthost(t, "check", "-c", file, "-o", "json")
	var report checkReport
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil {
		t.Fatalf("%v in %s", err, got.stdout)
	}
	if got.code != exitFailed || report.OK || len(report.Errors) != 1 || report.Errors[0].Line != 2 || report.Errors[0].Key != "log.level" || got.stderr != "" {
		t.Errorf("got %+v, %+v", got, report)
	}
}

func TestTheConfigurationIsFoundWhereItIsLookedFor(t *testing.T) {
	t.Chdir(t.TempDir())
	agenthost(t, "check").expect(t, exitFailed, "", "no configuration: there is no agenthost.yaml")

	if err := os.WriteFile("agenthost.yaml", []byte("plugins: {here: {command: [x]}}"), 0o600); err != nil {
		t.Fatal(err)
	}
	agenthost(t, "check").expect(t, 0, "agenthost.yaml: ok, 1 plugin: here", "")

	first := writeFile(t, "first.yaml", "plugins: {first: {command: [x]}}")
	second := writeFile(t, "second.yaml", "plugins: {second: {command: [x]}}")
	t.Setenv("AGENTHOST_CONFIG", first+string(filepath.ListSeparator)+second)
	agenthost(t, "check").expect(t, 0, "ok, 2 plugins: first, second", "")
	agenthost(t, "check", "-c", second).expect(t, 0, second+": ok, 1 plugin: second", "")
}

func TestAConfigurationMayComeFromVariablesAlone(t *testing.T) {
	t.Chdir(t.TempDir())
	t.Setenv("AGENTHOST_PLUGINS__A__COMMAND", "a")
	agenthost(t, "check").expect(t, 0, "environment and flags: ok, 1 plugin: a", "")
}

func TestCheckStartReportsEveryPluginThatDoesNotStart(t *testing.T) {
	folder := t.TempDir()
	program := filepath.Join(folder, "no-plugin")
	if err := os.WriteFile(program, []byte("#!/bin/sh\necho 'I am no plugin' >&2\nexit 3\n"), 0o700); err != nil { //nolint:gosec // it must be executable
		t.Fatal(err)
	}
	file := writeFile(t, "host.yaml", "run_dir: "+shortDir(t)+"/r\nplugins: {gone: {command: [/nowhere/plugin]}, quits: {command: ["+program+"]}}\n")
	got := agenthost(t, "check", "-c", file, "--start")
	got.expect(t, exitFailed, "gone: FAILED: ", "2 of 2 plugins did not start")
	got.expect(t, exitFailed, "quits: FAILED: ", "")
	got.expect(t, exitFailed, "I am no plugin", "")
}

func TestCheckStartShowsTheManifestOfEachPluginAndStopsIt(t *testing.T) {
	schema := `{"type": "object", "properties": {"threads": {"type": "integer", "description": "How many."}}}`
	file := pluginsFile(t, map[string][]string{
		"echo": badplugin.Command("good", "-capabilities", "idempotent_create", "-version", "1.2.3", "-schema", schema),
	})
	got := agenthost(t, "check", "-c", file, "--start")
	for _, want := range []string{
		"echo: ok, ready after ", "plugin        badplugin 1.2.3", "capabilities  idempotent_create",
		"agent         echo (async): echo_task", "agent         echo_sync (sync): echo_sync_task", "config        threads (integer): How many.",
		"ok, 1 plugin started and stopped",
	} {
		got.expect(t, 0, want, "starting echo …")
	}

	got = agenthost(t, "check", "-c", file, "--start", "-o", "json")
	var report checkReport
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil {
		t.Fatalf("%v in %s", err, got.stdout)
	}
	manifest := report.Plugins[0].Manifest
	if !report.OK || got.stderr != "" || manifest.Agents[1].Categories[0] != "echo_sync_task" || !manifest.Agents[1].Sync || !strings.Contains(string(manifest.ConfigSchema), "threads") {
		t.Errorf("got %s%s", got.stdout, got.stderr)
	}
}

func TestCheckStartWarnsOfAPluginThatHadToBeKilled(t *testing.T) {
	file := writeFile(t, "host.yaml", fmt.Sprintf("run_dir: %s/r\nplugins:\n  echo: {command: ['%s'], stop_timeout: 2s}\n", shortDir(t), strings.Join(badplugin.Command("stubborn"), "', '")))
	agenthost(t, "check", "-c", file, "--start").
		expect(t, 0, "ok, 1 plugin started and stopped", "agenthost: warning: plugin echo: stop: it ended neither when asked nor on SIGTERM, and was killed after ")
}

func TestCheckStartLeavesAStateDirectoryThatAHostTakes(t *testing.T) {
	folder := filepath.Join(t.TempDir(), "state")
	file := pluginsFile(t, map[string][]string{"echo": badplugin.Command("good")})
	content, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	var settings map[string]any
	if err := json.Unmarshal(content, &settings); err != nil {
		t.Fatal(err)
	}
	settings["state_dir"] = folder
	if content, err = json.Marshal(settings); err != nil {
		t.Fatal(err)
	}
	agenthost(t, "check", "-c", writeFile(t, "host.json", string(content)), "--start").expect(t, 0, "echo: ok", "starting echo …")
	info, err := os.Stat(folder)
	if err != nil {
		t.Fatal(err)
	}
	if info.Mode().Perm() != 0o700 {
		t.Errorf("it has mode %04o, and the host starts with 0700 only", info.Mode().Perm())
	}
}

func TestCheckStartFindsTwoPluginsWithOneCategory(t *testing.T) {
	file := pluginsFile(t, map[string][]string{"a": badplugin.Command("good"), "b": badplugin.Command("good")})
	got := agenthost(t, "check", "-c", file, "--start")
	got.expect(t, exitFailed, `b: FAILED: plugin "b" does not serve task category "echo_sync_task": the task type belongs to plugin "a"`, "1 of 2 plugins did not start")
}

// pluginsFile writes a configuration with listeners on free ports and the given plugins.
func pluginsFile(t *testing.T, commands map[string][]string) string {
	t.Helper()
	plugins := map[string]any{}
	for name, command := range commands {
		plugins[name] = map[string]any{"command": command}
	}
	content, err := json.Marshal(map[string]any{
		"listen": map[string]any{"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0"}, "run_dir": shortDir(t) + "/r", "plugins": plugins,
	})
	if err != nil {
		t.Fatal(err)
	}
	return writeFile(t, "host.json", string(content))
}

// shortDir is a directory whose path leaves room for a unix socket.
func shortDir(t *testing.T) string {
	t.Helper()
	dir, err := os.MkdirTemp("", "ah")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := os.RemoveAll(dir); err != nil {
			t.Error(err)
		}
	})
	if strings.Count(dir, "") > 40 {
		t.Fatalf("%s is too long for sockets: set TMPDIR to a shorter path", dir)
	}
	return dir
}

// listedAgent is an agent server as it may run elsewhere: of all that Flyte asks, it answers what the host asks first.
type listedAgent struct {
	flyteidlservice.UnimplementedAgentMetadataServiceServer
}

func (listedAgent) ListAgents(context.Context, *flyteidladmin.ListAgentsRequest) (*flyteidladmin.ListAgentsResponse, error) {
	category := &flyteidladmin.TaskCategory{Name: "elsewhere_task"}
	return &flyteidladmin.ListAgentsResponse{Agents: []*flyteidladmin.Agent{{Name: "Elsewhere", SupportedTaskCategories: []*flyteidladmin.TaskCategory{category}}}}, nil
}

func TestCheckStartReachesTheServersOfARemotePlugin(t *testing.T) {
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer()
	flyteidlservice.RegisterAgentMetadataServiceServer(server, listedAgent{})
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	address := listener.Addr().String()
	file := writeFile(t, "host.yaml", "run_dir: "+shortDir(t)+"/r\nplugins: {there: {address: [\""+address+"\"], tls: off}}\n")
	got := agenthost(t, "check", "-c", file, "--start")
	got.expect(t, 0, "there: ok, ready after ", "reaching there …")
	got.expect(t, 0, "agent         Elsewhere (async): elsewhere_task", "")

	server.Stop()
	if err := <-ended; err != nil {
		t.Error(err)
	}
	got = agenthost(t, "check", "-c", file, "--start", "--set", "plugins.there.address=[]")
	got.expect(t, exitFailed, "", "plugins.there.address: the list is empty")
}

func TestCheckStartTakesTwoPluginsOfOneCategoryThatARouteTellsApart(t *testing.T) {
	file := pluginsFile(t, map[string][]string{"a": badplugin.Command("good"), "b": badplugin.Command("good")})
	routes := "routes=[{task: echo_task, domain: development, plugin: b}, {task: echo_sync_task, domain: development, plugin: b}]"
	agenthost(t, "check", "-c", file, "--start", "--set", routes).expect(t, 0, "ok, 2 plugins started and stopped", "")
}

func TestCheckStartReadsTheKeysOfAcceptedTasks(t *testing.T) {
	keys := filepath.Join(t.TempDir(), "keys")
	file := writeFile(t, "host.yaml", "run_dir: "+shortDir(t)+"/r\ncreate: {on_record: on, keys: 'file://"+keys+"'}\n")
	agenthost(t, "check", "-c", file).expect(t, 0, "ok", "")
	agenthost(t, "check", "--start", "-c", file).expect(t, exitFailed, "", "create.keys: cannot be read")
	if err := os.WriteFile(keys, record.NewKey(), 0o600); err != nil {
		t.Fatal(err)
	}
	agenthost(t, "check", "--start", "-c", file).expect(t, 0, "ok", "")
}

// What is wrong here is told from what only a service can judge: a pod's initContainer that failed for that would keep out every plugin.
func TestCheckStartTellsWhatIsAwayFromWhatIsWrong(t *testing.T) {
	for name, c := range map[string]struct {
		plugin map[string]any
		away   string // what is told
		wrong  string
	}{
		"what it needs is away":        {plugin: map[string]any{"command": badplugin.Command("never-serving"), "start_timeout": "5s"}, away: "AWAY: plugin bad: health: its health service never said SERVING"},
		"its service refuses it":       {plugin: map[string]any{"command": badplugin.Command("dies", "-code", "77", "-text", "no such account")}, away: "it exited with code 77; last output: no such account"},
		"an agent elsewhere":           {plugin: map[string]any{"address": []string{"127.0.0.1:1"}, "tls": false}, away: "AWAY: plugin bad: connect: 127.0.0.1:1: "},
		"it dies":                      {plugin: map[string]any{"command": badplugin.Command("dies", "-code", "1")}, wrong: "exited with code 1"},
		"it refuses its configuration": {plugin: map[string]any{"command": badplugin.Command("configure-errors")}, wrong: "plugins.bad.config.limits.memory: must be a size"},
		"its handshake is none":        {plugin: map[string]any{"command": badplugin.Command("wrong-version")}, wrong: "handshake"},
		"its program is missing":       {plugin: map[string]any{"command": []string{"/nowhere/plugin"}}, wrong: "/nowhere/plugin"},
		"a secret's file is missing":   {plugin: map[string]any{"command": badplugin.Command("good"), "secrets": map[string]any{"x": "file:///no/such/file"}}, wrong: "/no/such/file"},
	} {
		content, err := json.Marshal(map[string]any{"run_dir": shortDir(t) + "/r", "plugins": map[string]any{"bad": c.plugin, "good": map[string]any{"command": badplugin.Command("good")}}})
		if err != nil {
			t.Fatal(err)
		}
		file := writeFile(t, "host.json", string(content))
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			got, strict := agenthost(t, "check", "--start", "-c", file), agenthost(t, "check", "--start", "--strict", "-c", file, "-o", "json")
			if c.wrong != "" {
				got.expect(t, exitFailed, c.wrong, "1 of 2 plugins did not start")
				strict.expect(t, exitFailed, `"ok": false`, "")
				return
			}
			got.expect(t, 0, "good: ok, ready after ", c.away)
			got.expect(t, 0, "ok, 1 plugin started and stopped; what is away is not to be judged here (1)", "")
			strict.expect(t, exitAway, `"away": "plugin bad: `, "")
		})
	}
}
