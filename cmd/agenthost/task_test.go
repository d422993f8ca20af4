package main

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/tools/taskrun"
)

// program is an agenthost in a process of its own.
type program struct {
	cmd    *exec.Cmd
	stdout bytes.Buffer
	stderr *watched
}

func startAgenthost(t *testing.T, args ...string) *program {
	t.Helper()
	p := newProgram(t, args...)
	p.start(t)
	return p
}

func newProgram(t *testing.T, args ...string) *program {
	t.Helper()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	p := &program{cmd: exec.Command(self, args...), stderr: &watched{more: make(chan struct{}, 1)}}
	p.cmd.Env = append(os.Environ(), actAsAgenthost+"=1")
	p.cmd.Stdout, p.cmd.Stderr = &p.stdout, p.stderr
	return p
}

func (p *program) start(t *testing.T) {
	t.Helper()
	if err := p.cmd.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if p.cmd.ProcessState == nil {
			_ = p.cmd.Process.Kill()
			_ = p.cmd.Wait()
		}
	})
}

// signal asks the process to end, waits for it, and gives its exit code.
func (p *program) signal(t *testing.T, signal syscall.Signal) int {
	t.Helper()
	if err := p.cmd.Process.Signal(signal); err != nil {
		t.Fatal(err)
	}
	timer := time.AfterFunc(30*time.Second, func() { _ = p.cmd.Process.Kill() })
	defer timer.Stop()
	_ = p.cmd.Wait() // a code other than 0 is an answer too
	return p.cmd.ProcessState.ExitCode()
}

var readyAddress = regexp.MustCompile(`"agenthost is ready" grpc=(\S+)`)

// servedHost starts `agenthost serve` with the echo plugin and gives its address.
func servedHost(t *testing.T) (*program, string) {
	t.Helper()
	host := startAgenthost(t, "serve", "-c", pluginsFile(t, map[string][]string{"echo": badplugin.Command("good")}))
	host.stderr.await(t, "agenthost is ready", 1)
	return host, readyAddress.FindStringSubmatch(host.stderr.String())[1]
}

func TestTaskRunDrivesATaskThroughAHost(t *testing.T) {
	host, address := servedHost(t)

	for _, flyte := range []string{"1", "2"} {
		got := agenthost(t, "task", "run", "-a", address, "--flyte", flyte, "-t", "echo_task", "--custom", "polls=2", "-i", "n=3", "-i", "name=a b", "--want", "n:int")
		got.expect(t, 0, "n = 3\nname = \"a b\"\n", "RUNNING  poll 1 of 2\n")
		got.expect(t, 0, "", "SUCCEEDED after ")
	}

	got := agenthost(t, "task", "run", "-a", address, "-t", "echo_sync_task", "-i", "n=3", "-o", "json", "-q")
	var report taskrun.Report
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || !report.Sync || report.Outputs["n"] != 3.0 || got.stderr != "" {
		t.Errorf("%v: got %+v from %+v", err, report, got)
	}

	got = agenthost(t, "task", "run", "-a", address, "-t", "echo_task", "--custom", "phase=FAILED", "--custom", "message=no such table")
	got.expect(t, exitFailed, "", "agenthost: the task ended FAILED after ")
	got.expect(t, exitFailed, "", "no such table")

	got = agenthost(t, "task", "run", "-a", address, "-t", "echo_tsk")
	got.expect(t, exitFailed, "", `no agent serves task type "echo_tsk"; there are echo_sync_task, echo_task; did you mean echo_task?`)

	agenthost(t, "task", "run", "-a", address, "-t", "echo_task", "--custom", "log_lines=2", "--logs").expect(t, 0, "", "log  line 2 of 2\n")
	agenthost(t, "__complete", "task", "run", "-a", address, "--type", "").expect(t, 0, "echo_sync_task\necho_task\n", "")

	t.Setenv("AGENTHOST_ADDRESS", address)
	agenthostIn(t, t.Context(), "select 1", "task", "run", "-t", "echo_task", "--sql-file", "-").expect(t, 0, "(no outputs)", "")

	if code := host.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("serve ended with %d:\n%s", code, host.stderr)
	}
}

func TestTheFormerNamesOfFlagsWorkAndTellTheNewOnes(t *testing.T) {
	run := func(flags ...string) outcome {
		line := append([]string{"task", "run", "-q", "-t", "echo_sync_task", "-i", "n=3"}, flags...)
		return agenthost(t, append(append(line, "--"), badplugin.Command("good")...)...)
	}
	former, now := run("--output", "n:int", "--format", "json"), run("--want", "n:int", "--output", "json")
	var was, is taskrun.Report
	if err := errors.Join(json.Unmarshal([]byte(former.stdout), &was), json.Unmarshal([]byte(now.stdout), &is)); err != nil || was.Outputs["n"] != 3.0 || is.Outputs["n"] != 3.0 {
		t.Errorf("%v: the former flags gave %+v, the new ones %+v", err, former, now)
	}
	want := "agenthost: warning: --output n:int: a wanted output is given with --want; --output is the form of the result\n" +
		"agenthost: warning: --format is called --output (-o) now\n"
	if former.stderr != want || now.stderr != "" {
		t.Errorf("the former flags said %q, want %q; the new ones %q", former.stderr, want, now.stderr)
	}
}

func TestCtrlCDeletesTheJobAndSaysSo(t *testing.T) {
	host, address := servedHost(t)
	for _, signal := range []syscall.Signal{syscall.SIGINT, syscall.SIGTERM} {
		task := startAgenthost(t, "task", "run", "-a", address, "-t", "echo_task", "--custom", "polls=100000")
		task.stderr.await(t, "RUNNING", 1)
		if code := task.signal(t, signal); code != exitInterrupted {
			t.Errorf("code %d", code)
		}
		if !strings.Contains(task.stderr.String(), "agenthost: interrupted; the job was deleted\n") {
			t.Errorf("got %s", task.stderr)
		}
	}
	host.signal(t, syscall.SIGTERM)
}

func TestTaskRunAgainstAPluginDirectlyStartsAndStopsIt(t *testing.T) {
	record := t.TempDir() + "/record"
	line := append([]string{"task", "run", "-t", "echo_task", "-i", "n=3", "--plugin-config", `{"threads": 2}`, "--"},
		badplugin.Command("good", "-schema", `{"type": "object"}`, "-record", record)...)
	agenthost(t, line...).expect(t, 0, "n = 3\n", "starting ")
	content, err := os.ReadFile(record)
	if err != nil || !bytes.Contains(content, []byte("Configure")) {
		t.Errorf("the plugin was not configured: %v in %s", err, content)
	}

	file := writeFile(t, "plugin.yaml", "threads: 2\n")
	line = append([]string{"task", "run", "-t", "echo_sync_task", "--plugin-config", file, "--"}, badplugin.Command("good", "-schema", `{"type": "object"}`)...)
	agenthost(t, line...).expect(t, 0, "(no outputs)", "SUCCEEDED")

	line = append([]string{"task", "run", "-t", "echo_task", "--"}, badplugin.Command("wrong-cookie")...)
	agenthost(t, line...).expect(t, exitFailed, "", "handshake")
}

func TestAPluginThatEndsInACallIsTheErrorWithItsExitCodeAndLastLines(t *testing.T) {
	for name, c := range map[string]struct {
		plugin []string
		says   string // in the error
	}{
		"at once":           {badplugin.Command("dies", "-code", "3"), "exited with code 3; last output: cannot find libduckdb.so"},
		"in its first call": {badplugin.Command("crashes", "-calls", "0", "-code", "3"), "creating the job: plugin "},
		"in a poll":         {badplugin.Command("crashes", "-calls", "1", "-code", "0"), "asking for the job: plugin "},
		"in a panic":        {badplugin.Command("panics", "-calls", "0", "-text", "index out of range"), "exited with code 2; last output: panic: index out of range"},
	} {
		t.Run(name, func(t *testing.T) {
			began := time.Now()
			line := append([]string{"task", "run", "-t", "echo_task", "--custom", "polls=3", "--"}, c.plugin...)
			got := agenthost(t, line...)
			got.expect(t, exitFailed, "", c.says)
			printed, failure, _ := strings.Cut(got.stderr, "agenthost: ")
			if text := "index out of range"; name == "in a panic" {
				got.expect(t, exitFailed, "", "plugin  ERROR panic: "+text)
			} else if !strings.Contains(printed, " plugin  cannot find libduckdb.so\n") || !strings.Contains(failure, "exited with code ") || !strings.Contains(failure, "last output: cannot find libduckdb.so") {
				t.Errorf("what it printed and died of is not told:\n%s", got.stderr)
			}
			if took := time.Since(began); took > 20*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
	t.Run("in a sync call", func(t *testing.T) {
		line := append([]string{"task", "run", "-t", "echo_sync_task", "--custom", "crash_in=sync", "--"}, badplugin.Command("good")...)
		agenthost(t, line...).expect(t, exitFailed, "", "exited with code 9; last output: crashing in sync as the script says")
	})
	t.Run("quietly", func(t *testing.T) {
		line := append([]string{"task", "run", "-q", "-t", "echo_task", "--"}, badplugin.Command("crashes", "-calls", "0")...)
		if got := agenthost(t, line...); strings.Contains(got.stderr, " plugin  ") {
			t.Errorf("with --quiet it shows %s", got.stderr)
		}
	})
}

func TestAPluginRunByHandGetsSecretsAndVariables(t *testing.T) {
	t.Setenv("MY_TOKEN", "s3cr3t-value")
	t.Setenv("PASSED_ON", "from the shell")
	script := `echo "$GREETING, $PASSED_ON" >&2; cat "$FLYTE_SECRETS_DEFAULT_DIR/token" >&2; exit 3`
	got := agenthost(t, "task", "run", "-t", "x", "--secret", "token=env:MY_TOKEN", "--env", "GREETING=Hello", "--env", "PASSED_ON", "--", "sh", "-c", script)
	got.expect(t, exitFailed, "", " plugin  Hello, from the shell\n")
	got.expect(t, exitFailed, "", " plugin  [secret token]\n")
	if strings.Contains(got.stderr, "s3cr3t-value") {
		t.Errorf("the secret is shown:\n%s", got.stderr)
	}
	agenthost(t, "task", "run", "-t", "x", "--secret", "token", "--", "x").expect(t, exitUsage, "", `--secret "token": expected name=uri`)
	agenthost(t, "task", "run", "-t", "x", "--env", "=x", "--", "x").expect(t, exitUsage, "", `--env "=x": expected NAME=value, or NAME`)
	agenthost(t, "task", "run", "-t", "x", "--env", "A=x").expect(t, exitUsage, "", "are for a plugin command after --")
}

func TestAPluginsConfigurationIsTakenInYAMLsFlowForm(t *testing.T) {
	strict := badplugin.Command("good", "-strict", "-schema", `{"type": "object"}`)
	with := func(config string) outcome {
		return agenthost(t, append([]string{"task", "run", "-q", "-t", "echo_sync_task", "--plugin-config", config, "--"}, strict...)...)
	}
	for _, right := range []string{`{threads: 2}`, `{"threads": 2}`, "{\n  threads: 2,\n}", `{}`} {
		with(right).expect(t, 0, "(no outputs)", "SUCCEEDED")
	}
	for wrong, says := range map[string]string{
		`{thraeds: 2}`:             "--plugin-config: thraeds: ",
		`{threads: 2, threads: 3}`: "--plugin-config:1: threads: ",
		`{threads: 2`:              "--plugin-config:1: ",
		`threads: 2`:               "there is no file threads: 2; text is in braces, such as '{threads: 2}'",
	} {
		if got := with(wrong); got.code == 0 || !strings.Contains(got.stderr, says) {
			t.Errorf("%s: want %q, got %+v", wrong, says, got)
		}
	}
}

func TestATimeoutDeletesTheJob(t *testing.T) {
	line := append([]string{"task", "run", "-t", "echo_task", "--custom", "polls=100000", "--timeout", "2s", "--"}, badplugin.Command("good")...)
	agenthost(t, line...).expect(t, exitFailed, "", "--timeout is over: interrupted; the job was deleted")
}

func TestInterruptedWhileTheAgentIsCreatingTheJob(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	out := &watched{more: make(chan struct{}, 1)}
	code := make(chan int)
	line := append([]string{"task", "run", "-t", "echo_task", "--custom", "create_delay=1m", "--"}, badplugin.Command("good")...)
	go func() { code <- run(ctx, line, strings.NewReader(""), out, out) }()
	out.await(t, "CREATING", 1)
	cancel()
	if got := <-code; got != exitInterrupted {
		t.Errorf("code %d", got)
	}
	out.await(t, "interrupted while the job was being created", 1)
}

// A JVM may need long for the archive of its classes, and is let: people are told, and need not wait.
func TestAPluginThatDoesNotEndIsToldOfAndAnInterruptionShortensTheWait(t *testing.T) {
	ctx, cancel := context.WithCancel(t.Context())
	defer cancel()
	out := &watched{more: make(chan struct{}, 1)}
	code := make(chan int)
	go func() {
		code <- run(ctx, append([]string{"task", "run", "-t", "echo_task", "--"}, badplugin.Command("stubborn")...), strings.NewReader(""), out, out)
	}()
	out.await(t, "the plugin is still ending; it is killed where that takes more than 1m0s, or 10s after an interruption", 1)
	cancel()
	began := time.Now()
	if got := <-code; got != 0 {
		t.Errorf("code %d of a task that had succeeded before", got)
	}
	if took := time.Since(began); took > taskStopTimeout/2 {
		t.Errorf("it was waited for %v more", took)
	}
	out.await(t, "SUCCEEDED", 1)
	out.await(t, "agenthost: stopping the plugin: ", 1)
}

// build builds one of the project's plugins.
func build(t *testing.T, name string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), name)
	if out, err := exec.Command("go", "build", "-o", path, "../../plugins/"+name).CombinedOutput(); err != nil {
		t.Fatalf("cannot build plugins/%s: %v\n%s", name, err, out)
	}
	return path
}

func TestTheProjectsOwnPlugins(t *testing.T) {
	hello, duckdb := build(t, "hello"), build(t, "duckdb")

	t.Run("hello greets", func(t *testing.T) {
		agenthost(t, "task", "run", "-t", "hello", "-i", "name=World", "--want", "greeting:str", "--", hello).
			expect(t, 0, "greeting = \"Hello, World\"\n", "SUCCEEDED")
	})

	t.Run("a dataset that duckdb made is shown with its first rows", func(t *testing.T) {
		settings := `{"state_dir": "` + t.TempDir() + `"}`
		got := agenthost(t, "task", "run", "--template", "../../demo/task.yaml", "--plugin-config", settings, "--output-prefix", t.TempDir(), "--show-rows", "2",
			"-i", "flights=../../demo/data/flights.parquet", "-i", "airlines=../../demo/data/airlines.csv", "-i", "min_flights=1000", "--", duckdb)
		got.expect(t, 0, "airline str", "RUNNING")
		got.expect(t, 0, "ExpressJet Airlines Inc.", "files at ")
		got.expect(t, 0, "2 of 11 rows", "")
	})

	t.Run("they take the configuration that is shipped for them", func(t *testing.T) {
		for _, name := range []string{"local", "production", "kubernetes"} {
			state := t.TempDir()
			line := []string{"check", "--start", "-c", "../../configs/" + name + ".yaml", "--set", "run_dir=" + shortDir(t) + "/r",
				"--set", "plugins.duckdb.command=" + duckdb, "--set", "plugins.duckdb.config.state_dir=" + state, "--set", "plugins.duckdb.sandbox.write=" + state}
			if name == "local" {
				line = append(line, "--set", "plugins.hello.command="+hello)
			}
			agenthost(t, line...).expect(t, 0, "agent         duckdb_query (async): duckdb_query", "")
		}
	})

	t.Run("a key that duckdb refuses is shown beside its file", func(t *testing.T) {
		file := writeFile(t, "host.yaml", "run_dir: "+shortDir(t)+"/r\nplugins:\n  duckdb:\n    command: ["+duckdb+"]\n    config:\n      state_dir: "+t.TempDir()+"\n      thraeds: 2\n")
		agenthost(t, "check", "--start", "-c", file).expect(t, exitFailed, file+":7: plugins.duckdb.config.thraeds: ", "1 of 1 plugin did not start")
	})
}

func TestCompletionOfSetKnowsTheKeysOfThePlugins(t *testing.T) {
	file := pluginsFile(t, map[string][]string{"echo": {"x"}})
	agenthost(t, "__complete", "check", "-c", file, "--set", "plugins.e").expect(t, 0, "plugins.echo.stop_timeout=\n", "")
}

func TestTaskRunWithoutAHostSaysWhatToDo(t *testing.T) {
	got := agenthost(t, "task", "run", "-t", "x", "-a", "127.0.0.1:1")
	got.expect(t, exitFailed, "", "no host answers at 127.0.0.1:1: dial tcp 127.0.0.1:1: connect: connection refused\nIs one running ('agenthost serve')?")
}

func TestAHostThatNeverAnswersEndsTheRunOfATask(t *testing.T) {
	silent := listenTCP(t)
	agenthost(t, "task", "run", "-t", "echo_task", "--address", silent.Addr().String()).
		expect(t, exitFailed, "", "what listens at "+silent.Addr().String()+" does not answer")
	for taskType, said := range map[string]string{"echo_task": "creating the job: DeadlineExceeded", "echo_sync_task": "running echo_sync_task: DeadlineExceeded"} {
		began := time.Now()
		line := []string{"task", "run", "-t", taskType, "--custom", "create_delay=1h", "--begin-timeout", "300ms", "--"}
		agenthost(t, append(line, badplugin.Command("good", "-script", `{"create_delay": "1h"}`)...)...).expect(t, exitFailed, "", said)
		if took := time.Since(began); took > 30*time.Second {
			t.Errorf("%s took %v", taskType, took)
		}
	}
}
