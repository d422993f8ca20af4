package e2e_test

import (
	"encoding/json"
	"os"
	"path/filepath"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// A plugin that is killed and stays away for longer than Flyte waits for a CreateTask costs no attempt, and each task has one job.
func TestTasksForAPluginThatIsAwaySucceedAtTheFirstAttempt(t *testing.T) {
	const (
		tasks = 10
		polls = 20 // of each task, once a second
	)
	state, away := t.TempDir(), filepath.Join(t.TempDir(), "away")
	plugin := map[string]any{
		"command": []string{"/bin/sh", "-c", `test ! -e "$0" && exec "$1"`, away, hosttest.Program("duckdb")},
		"config":  map[string]any{"state_dir": state},
		"restart": map[string]any{"max_backoff": "1s"},
	}
	h := hosttest.Start(t, map[string]any{"create": map[string]any{"on_record": "on"}, "plugins": map[string]any{"duckdb": plugin}})
	flyte := startFlyte(t, propeller.V1, h)

	if err := os.WriteFile(away, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(pluginPID(t, h), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	var executions []*propeller.Execution
	for n := range tasks {
		executions = append(executions, flyte.Submit(sqlTask("select $n as n", n)))
	}
	awaitPolls(t, executions, tasks*polls)
	if jobs, err := os.ReadDir(filepath.Join(state, "jobs")); err != nil || len(jobs) != 0 {
		t.Fatalf("while the plugin is away there are the jobs %v, %v", jobs, err)
	}
	if err := os.Remove(away); err != nil {
		t.Fatal(err)
	}
	for n, execution := range executions {
		result := ended(t, execution)
		got := result.Outputs.GetLiterals()["n"].GetScalar().GetPrimitive().GetInteger()
		if result.Phase != propeller.Succeeded || result.Attempts != 1 || got != int64(n) {
			t.Errorf("task %d answers %d at attempt %d: %s, %s", n, got, result.Attempts, result.Phase, result.Final.Reason)
		}
	}
	if jobs, err := os.ReadDir(filepath.Join(state, "jobs")); err != nil || len(jobs) != tasks {
		t.Errorf("%d tasks have the jobs %v, %v", tasks, jobs, err)
	}
}

// pluginPID is the process of a host's only plugin, once it runs.
func pluginPID(t *testing.T, h *hosttest.Host) (pid int) {
	t.Helper()
	wait.Until(t, "the plugin runs", func() bool {
		var status struct{ Plugins []struct{ PID int } }
		if err := json.Unmarshal([]byte(h.Ask(t, "/status")), &status); err != nil {
			t.Fatal(err)
		}
		if len(status.Plugins) == 1 {
			pid = status.Plugins[0].PID
		}
		return pid != 0
	})
	return pid
}
