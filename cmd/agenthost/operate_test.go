package main

import (
	"encoding/json"
	"fmt"
	"maps"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// operatedHost answers operations on two plugins.
func operatedHost(t *testing.T, done *[]string) string {
	status := admin.Status{Plugins: []admin.PluginStatus{{Name: "bigquery", State: "running"}, {Name: "duckdb", State: "stopped"}}}
	return adminHost(t, map[string]http.HandlerFunc{
		"GET /status": func(w http.ResponseWriter, _ *http.Request) { sendLines(t, w, status) },
		"POST /plugins/{plugin}/{operation}": func(w http.ResponseWriter, r *http.Request) {
			name, what := r.PathValue("plugin"), r.PathValue("operation")
			*done = append(*done, what+" "+name)
			report := admin.OperationReport{Plugin: name, Operation: what, Action: "swapped", State: "running", Seconds: 1.2}
			if what == "rollback" {
				report = admin.OperationReport{Plugin: name, Operation: what, State: "running", Error: fmt.Sprintf("plugin %q has no generation to roll back to", name), Seconds: 0.001}
			}
			if what == "start" {
				report = admin.OperationReport{Plugin: name, Operation: what, State: "running", Unneeded: fmt.Sprintf("plugin %q is not stopped", name)}
			}
			sendLines(t, w, admin.OperationLine{Event: &admin.Event{Time: noon, Plugin: name, State: "swapping", Was: "running", Cause: "an operator restarts it"}},
				admin.OperationLine{Report: &report})
		},
	})
}

func TestOperationsTellWhatHappensAndWhatCameOfIt(t *testing.T) {
	var done []string
	address := operatedHost(t, &done)
	got := agenthost(t, "restart", "duckdb", "bigquery", "--admin", address)
	want := `12:00:00.000  duckdb  swapping, was running: an operator restarts it
duckdb: restarted after 1.2s, now running
12:00:00.000  bigquery  swapping, was running: an operator restarts it
bigquery: restarted after 1.2s, now running
`
	if got.code != 0 || got.stdout != want || got.stderr != "" {
		t.Errorf("got %+v", got)
	}
	got = agenthost(t, "rollback", "duckdb", "bigquery", "--admin", address)
	got.expect(t, exitFailed, "swapping", "agenthost: duckdb: the rollback FAILED after 1ms: plugin \"duckdb\" has no generation to roll back to\n  duckdb is running\n")
	agenthost(t, "start", "duckdb", "--admin", address).expect(t, 0, `duckdb: nothing to do: plugin "duckdb" is not stopped`, "")
	if want := "restart duckdb, restart bigquery, rollback duckdb, rollback bigquery, start duckdb"; strings.Join(done, ", ") != want {
		t.Errorf("done was %v", done)
	}

	got = agenthost(t, "rollback", "duckdb", "--admin", address, "-o", "json")
	var reports operationReports
	if err := json.Unmarshal([]byte(got.stdout), &reports); err != nil || got.code != exitFailed || len(reports.Plugins) != 1 || reports.Plugins[0].Error == "" || got.stderr != "" {
		t.Errorf("%v; got %+v", err, got)
	}
}

func TestAnOperationWithANameThatNoPluginHasDoesNothing(t *testing.T) {
	var done []string
	address := operatedHost(t, &done)
	for _, o := range operationCommands {
		got := agenthost(t, string(o.what), "bigquery", "dukdb", "--admin", address)
		got.expect(t, exitFailed, "", "no plugin of the host is called dukdb; did you mean duckdb?")
	}
	agenthost(t, "stop", "--admin", address).expect(t, exitUsage, "", "requires at least 1 arg")
	if len(done) > 0 {
		t.Errorf("done was %v", done)
	}
	got := agenthost(t, "__complete", "restart", "bigquery", "--admin", address, "")
	got.expect(t, 0, "duckdb\tstopped\n", "")
	if strings.Contains(got.stdout, "bigquery") {
		t.Errorf("it proposes a name twice:\n%s", got.stdout)
	}
}

func TestEveryOperationHasACommand(t *testing.T) {
	for _, what := range fleet.Operations {
		if !slices.ContainsFunc(operationCommands, func(o operationCommand) bool { return o.what == what }) {
			t.Errorf("%s has none", what)
		}
	}
}

// An operator's day: a new binary at its path, a stop, a host that is restarted, a plugin that is taken out.
func TestAnOperatorOperatesTheRealHost(t *testing.T) {
	program := filepath.Join(t.TempDir(), "echo.sh")
	install := func(version string) {
		t.Helper()
		replaceFile(t, program, fmt.Sprintf("#!/bin/sh\nexec '%s'\n", strings.Join(badplugin.Command("good", "-version", version), "' '")))
		if err := os.Chmod(program, 0o755); err != nil { //nolint:gosec // a program
			t.Fatal(err)
		}
	}
	install("1")
	file := writeFile(t, "host.yaml", fmt.Sprintf("listen: {grpc: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\nrun_dir: %s/r\nstate_dir: %s\nplugins: {echo: {command: [%s], sandbox: off}}\n",
		shortDir(t), filepath.Join(t.TempDir(), "state"), program))
	serve := func() *served {
		p := startAgenthost(t, "serve", "-c", file)
		p.stderr.await(t, "agenthost is ready", 1)
		ready := readyLine.FindStringSubmatch(p.stderr.String())
		return &served{p, ready[1], ready[2]}
	}
	host := serve()
	on := func(args ...string) outcome { t.Helper(); return agenthost(t, append(args, "--admin", host.admin)...) }

	install("2")
	on("status").expect(t, 0, "echo: "+program+" changed since it was started; take it up with: agenthost restart echo\n", "")
	on("restart", "echo").expect(t, 0, "now running\n", "")
	if got := host.status(t); got.Version != "2" || len(got.ChangedFiles) != 0 {
		t.Errorf("restarted it is %+v", got)
	}
	host.stderr.await(t, "msg=operation operation=restart outcome=done", 1)
	on("rollback", "echo").expect(t, exitFailed, "", `plugin "echo" has no generation to roll back to`)

	on("stop", "echo").expect(t, 0, "echo: stopped after", "")
	running := flyte(t, propeller.V1, host.grpc).Submit(echoTask(t, "echo_task", badplugin.Script{}))
	wait.Until(t, "its processes are gone", func() bool { return host.status(t).State == "stopped" })
	on("status").expect(t, 0, "echo is stopped: an operator stopped it\n", "")
	on("start", "echo").expect(t, 0, "echo: started after", "")
	if result := finish(t, running); result.Phase != propeller.Succeeded {
		t.Errorf("a task that came while it was stopped came to %+v", result.Final)
	}

	on("stop", "echo")
	host.signal(t, syscall.SIGTERM)
	host = serve()
	if got := host.status(t); got.State != "stopped" {
		t.Errorf("in the next host it is %+v", got)
	}
	on("disable", "echo").expect(t, 0, "echo: disabled after", "")
	wait.Until(t, "it is gone", func() bool { return on("status", "-o", "json").code == 0 && host.status(t).State == "disabled" })
	on("reload").expect(t, 0, "1 disabled", "")
	on("restart", "echo").expect(t, exitFailed, "", "agenthost enable echo")
	on("enable", "echo").expect(t, 0, "echo: enabled after", "")
	on("status").expect(t, 0, "running", "")
	host.signal(t, syscall.SIGTERM)
}

func TestWhatAnOperatorStoppedOrDisabledStaysSoOverAnUpgrade(t *testing.T) {
	file := writeFile(t, "host.yaml", fmt.Sprintf("listen: {grpc: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\nrun_dir: %s/r\nstate_dir: %s\nplugins: {one: {command: %s}, two: {command: %s}, three: {command: %s}}\n",
		shortDir(t), filepath.Join(t.TempDir(), "state"), jsonList(badplugin.Command("good", "-agents", "a:async:one")),
		jsonList(badplugin.Command("good", "-agents", "a:async:two")), jsonList(badplugin.Command("good", "-agents", "a:async:three"))))
	p := startAgenthost(t, "serve", "-c", file)
	p.stderr.await(t, "agenthost is ready", 1)
	address := readyLine.FindStringSubmatch(p.stderr.String())[2]
	on := func(args ...string) outcome { t.Helper(); return agenthost(t, append(args, "--admin", address)...) }
	on("stop", "one").expect(t, 0, "one: stopped", "")
	on("disable", "two").expect(t, 0, "two: disabled", "")
	out := on("upgrade")
	out.expect(t, 0, "upgraded after", "")
	wait.Until(t, "the old host has ended", func() bool { return hasEnded(p.cmd.Process.Pid) })
	pid := 0
	_, said, _ := strings.Cut(out.stdout, "process ")
	if _, err := fmt.Sscanf(said, "%d", &pid); err != nil {
		t.Fatalf("%v: %s", err, out.stdout)
	}
	t.Cleanup(func() {
		_ = syscall.Kill(pid, syscall.SIGKILL) // it has ended, unless the test failed
	})
	var status admin.Status
	if err := json.Unmarshal([]byte(on("status", "-o", "json").stdout), &status); err != nil {
		t.Fatal(err)
	}
	states := map[string]string{}
	for _, p := range status.Plugins {
		states[p.Name] = p.State
	}
	if want := map[string]string{"one": "stopped", "two": "disabled", "three": "running"}; !maps.Equal(states, want) || status.Host.PID != pid {
		t.Errorf("in the new host they are %v", states)
	}
	if err := syscall.Kill(pid, syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "the new host has ended", func() bool { return hasEnded(pid) })
	_ = p.cmd.Wait() // both wrote to its pipes
}
