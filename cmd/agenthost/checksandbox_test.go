package main

import (
	"encoding/json"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/sandbox"
	"github.com/agenthost/agenthost/test/badplugin"
)

func TestACheckSaysWhatThisMachineGrantsOfEachSandbox(t *testing.T) {
	command, err := json.Marshal(badplugin.Command("good"))
	if err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, "host.yaml", "run_dir: "+shortDir(t)+"/r\nplugins:\n  a: {command: "+string(command)+"}\n"+
		"  b: {command: "+string(command)+", sandbox: off}\n  c: {command: "+string(command)+", sandbox: {user: nobody-of-this-name}}\n  d: {address: [\"127.0.0.1:1\"]}\n")
	machine := sandbox.Machine()
	got := agenthost(t, "check", "-c", file)
	got.expect(t, 0, "a: sandbox: "+machine.String(), "")
	got.expect(t, 0, "b: sandbox: OFF: it may do whatever user ", "")
	got.expect(t, 0, "MISSING: "+strings.Join(append(machine.Missing, "sandbox.user: "), "; "), "")
	if strings.Contains(got.stdout, "d: sandbox") {
		t.Errorf("a plugin elsewhere has a sandbox:\n%s", got.stdout)
	}
	var report checkReport
	if err := json.Unmarshal([]byte(agenthost(t, "check", "-c", file, "-o", "json").stdout), &report); err != nil {
		t.Fatal(err)
	}
	for i, mode := range []string{"on", "off", "on"} {
		if s := report.Plugins[i].Sandbox; s == nil || s.Mode != mode || (s.Landlock > 0) != (mode == "on" && machine.Landlock > 0) {
			t.Errorf("plugin %d: %+v", i, s)
		}
	}
}

func TestACheckSaysWhatHoldsALimitOfMemory(t *testing.T) {
	command, err := json.Marshal(badplugin.Command("good"))
	if err != nil {
		t.Fatal(err)
	}
	file := writeFile(t, "host.yaml", "run_dir: "+shortDir(t)+"/r\nplugins:\n  a: {command: "+string(command)+", sandbox: {memory: 512MiB}}\n  b: {command: "+string(command)+"}\n")
	got := agenthost(t, "check", "-c", file)
	by := "cgroup\n"
	if strings.Contains(got.stdout, "plugins' cgroups: none") {
		by = "watching; no cgroup can hold it: "
	}
	got.expect(t, 0, "a: memory: limit 512MiB, by "+by, "")
	if strings.Contains(got.stdout, "b: memory") {
		t.Errorf("a plugin without a limit has one:\n%s", got.stdout)
	}
	limited := config.DefaultPlugin()
	limited.Command, limited.Sandbox.Memory = []string{"x"}, 512*config.MiB
	report := sandboxOf("a", limited, nil)
	if report.MemoryBy != "watching" || strings.Contains(strings.Join(report.Missing, " "), "memory") || report.memoryLine() != "limit 512MiB, by watching; no cgroup can hold it: the host makes no cgroups" {
		t.Errorf("without cgroups: %+v, %s", report, report.memoryLine())
	}
	limited.Sandbox.Require = true
	if report := sandboxOf("a", limited, nil); !strings.Contains(strings.Join(report.Missing, " "), "sandbox.memory is not limited") {
		t.Errorf("required, and without cgroups: %+v", report)
	}
}

func TestStatusIsLoudAboutASandboxThatIsLess(t *testing.T) {
	status := admin.Status{Plugins: []admin.PluginStatus{
		{Name: "whole", State: "running", Sandbox: &admin.SandboxStatus{Landlock: 7, Seccomp: true}},
		{Name: "half", State: "running", Sandbox: &admin.SandboxStatus{Seccomp: true, Missing: []string{"files are not kept apart", "x"}}},
		{Name: "off", State: "running"},
	}}
	got := renderStatus(status, nil)
	if !strings.Contains(got, "half's SANDBOX IS DEGRADED: files are not kept apart; x\n") || strings.Count(got, "SANDBOX") != 1 {
		t.Errorf("it says:\n%s", got)
	}
}
