// Package questions_test holds the table of an operator's questions in docs/operating.md to what its commands say.
//
// It runs real hosts, two replicas, brings them into each situation, runs each row's command as the table has it, and looks for the
// fact in the answer that the question is about.
package questions_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	hostadmin "github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/replica"
	"github.com/agenthost/agenthost/test/wait"
)

func TestMain(m *testing.M) { hosttest.Main(m, "cmd/agenthost", "plugins/hello") }

// row is one of the table.
type row struct{ question, command string }

var tableRow = regexp.MustCompile("^\\| \\d+ \\| (.+?) \\| `(.+)` \\|")

// tableOf reads the table of the document.
func tableOf(t *testing.T) []row {
	t.Helper()
	text, err := os.ReadFile(hosttest.Root("docs", "operating.md"))
	if err != nil {
		t.Fatal(err)
	}
	_, section, ok := strings.Cut(string(text), "\n## Fifteen questions\n")
	if !ok {
		t.Fatal("docs/operating.md has no section \"Fifteen questions\"")
	}
	section, _, _ = strings.Cut(section, "\n## ")
	var rows []row
	for line := range strings.Lines(section) {
		if found := tableRow.FindStringSubmatch(line); found != nil {
			rows = append(rows, row{found[1], strings.ReplaceAll(found[2], `\|`, "|")})
		}
	}
	return rows
}

// facts are what the answer to each question has to hold, by the question; values of the situation stand for $names.
var facts = map[string][]string{
	"Who serves task type `hello` for project shop, domain development?": {"goes to plugin hello-dev", "route for task hello, domain development", "agenthost.json:", "would wait", "stopped"},
	"Whose is this `resource_meta`?":                                     {"pinned to plugin hello-dev, generation", "which does not run now", "attempt 0 of node n0 (hello)", "G5 last known status"},
	"What changed in the last hour?":                                     {"reloaded by a changed file: hello: swapped: env.GENERATION"},
	"How is the canary doing?":                                           {`"canary"`, `"current"`},
	"Does a new binary run?":                                             {"2 plugins started and stopped"},
	"Why does this task wait?":                                           {"on record, without a job", "an operator stopped it"},
	"How many descriptors and how much memory does this need?":           {"open files: ", "memory: the host up to ", "without a limit: "},
	"Is anything being masked?":                                          {`guarantee="G5",plugin="hello-dev"`},
	"Which plugin is slow?":                                              {"P95", "hello-dev"},
	"Why did it restart?":                                                {"SIGKILL"},
	"Who stopped this plugin?":                                           {"hello-dev  stop asked for by 127.0.0.1:", "with token \"of the host's user\""},
	"Which configuration runs on all replicas?":                          {"ok: 2 hosts run configuration $HASH"},
	"Which tasks have no job yet?":                                       {"$EXECUTION", "hello-dev", "1 accepted, without a job"},
	"Who answered a task's calls, and what was masked?":                  {"CreateTask OK: ", "plugin hello-dev generation", "GetTask OK: ", "masked Unavailable, G5 last known status", "DeleteTask"},
	"Which plugins run, in which version and generation?":                {"hello-dev is stopped: an operator stopped it", "1.0.0", "canary, 50% of new jobs", "current, 50% of new jobs"},
}

// operator is a shell of somebody who operates one of the hosts.
type operator struct {
	vars map[string]string
}

// run runs a command in it, and gives what it printed.
func (o operator) run(t *testing.T, command string) string {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 2*time.Minute)
	defer cancel()
	shell := exec.CommandContext(ctx, "bash", "-c", command)
	shell.Env = append(os.Environ(), "PATH="+hosttest.Bin()+":"+os.Getenv("PATH"))
	for name, value := range o.vars {
		shell.Env = append(shell.Env, name+"="+value)
	}
	said, err := shell.CombinedOutput()
	if err != nil {
		t.Logf("%s: %v", command, err)
	}
	return string(said)
}

// hello is a plugin, and in what another generation of it differs.
func hello(generation string) map[string]any {
	return map[string]any{
		"command": []string{hosttest.Program("hello")}, "env": map[string]string{"GENERATION": generation}, "rollout": map[string]any{"percent": 50},
		"sandbox": map[string]any{"read": []string{hosttest.Root()}},
	}
}

// write writes the configuration in one piece: hosts watch it.
func write(t *testing.T, file, generation string) {
	t.Helper()
	settings := map[string]any{
		"listen":  map[string]any{"probe": "127.0.0.1:0"},
		"create":  map[string]any{"on_record": "on"},
		"plugins": map[string]any{"hello": hello(generation), "hello-dev": hello("1")},
		"routes":  []map[string]any{{"task": "hello", "domain": "development", "plugin": "hello-dev"}},
	}
	text, err := json.MarshalIndent(settings, "", "  ")
	if err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(file+".next", text, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := os.Rename(file+".next", file); err != nil {
		t.Fatal(err)
	}
}

// start starts a replica, which finds its run directory as one of a user does: the configuration is the same for all.
func start(t *testing.T, file, name string) (*replica.Replica, string) {
	t.Helper()
	run, err := os.MkdirTemp("/var/tmp", "agenthost-")
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(run) })
	logs := t.TempDir()
	r := &replica.Replica{Name: name, Program: hosttest.Program("agenthost"), Config: file, Logs: logs, Env: []string{"XDG_RUNTIME_DIR=" + run}}
	t.Cleanup(func() {
		_ = r.Signal(syscall.SIGTERM) // an error says that it has ended
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		if err := r.Wait(ctx); err != nil {
			t.Errorf("%s: %v", name, err)
			_ = r.Signal(syscall.SIGKILL)
		}
		if log, err := os.ReadFile(filepath.Join(logs, name+".log")); t.Failed() && err == nil {
			t.Logf("%s's log, at last:\n%s", name, log[max(0, len(log)-4096):])
		}
	})
	ctx, cancel := context.WithTimeout(t.Context(), 3*time.Minute)
	defer cancel()
	if err := r.Start(ctx); err != nil {
		t.Fatal(err)
	}
	return r, run
}

func statusOf(t *testing.T, r *replica.Replica) hostadmin.Status {
	t.Helper()
	text, err := r.Ask(t.Context(), "/status")
	if err != nil {
		t.Fatal(err)
	}
	var status hostadmin.Status
	if err := json.Unmarshal(text, &status); err != nil {
		t.Fatal(err)
	}
	return status
}

// plugin is the status of one, the zero value where there is none.
func pluginOf(s hostadmin.Status, name string) hostadmin.PluginStatus {
	for _, p := range s.Plugins {
		if p.Name == name {
			return p
		}
	}
	return hostadmin.PluginStatus{}
}

// creation is a task of an execution.
func creation(execution, domain string) *admin.CreateTaskRequest {
	name := &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: "Ada"}}}}}}
	return &admin.CreateTaskRequest{
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"name": name}}, Template: &core.TaskTemplate{Type: "hello"}, OutputPrefix: "s3://bucket/" + execution,
		TaskExecutionMetadata: &admin.TaskExecutionMetadata{TaskExecutionId: &core.TaskExecutionIdentifier{
			TaskId:          &core.Identifier{Name: "greet"},
			NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: "n0", ExecutionId: &core.WorkflowExecutionIdentifier{Project: "shop", Domain: domain, Name: execution}},
		}},
	}
}

func TestTheTableHasFifteenQuestionsAndEachOneIsTested(t *testing.T) {
	rows := tableOf(t)
	for _, r := range rows {
		if len(facts[r.question]) == 0 {
			t.Errorf("nothing is known of what the answer to %q has to hold", r.question)
		}
	}
	if len(rows) != 15 || len(facts) != 15 {
		t.Errorf("the table has %d questions, and %d are tested", len(rows), len(facts))
	}
}

func TestEachQuestionIsAnsweredByItsCommand(t *testing.T) {
	dir := t.TempDir()
	file := filepath.Join(dir, "agenthost.json")
	write(t, file, "1")
	one, run := start(t, file, "one")
	two, _ := start(t, file, "two")
	endpoint, address, _ := one.Ready()

	conn, err := grpc.NewClient(endpoint, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	flyte := service.NewAsyncAgentServiceClient(conn)
	call := func(what string, do func(context.Context) error) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 30*time.Second)
		defer cancel()
		if err := do(ctx); err != nil {
			t.Fatalf("%s: %v", what, err)
		}
	}
	create := func(request *admin.CreateTaskRequest) (meta []byte) {
		t.Helper()
		call("CreateTask", func(ctx context.Context) error {
			created, err := flyte.CreateTask(ctx, request)
			meta = created.GetResourceMeta()
			return err
		})
		return meta
	}
	poll := func(meta []byte) {
		t.Helper()
		call("GetTask", func(ctx context.Context) error {
			_, err := flyte.GetTask(ctx, &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "hello"}})
			return err
		})
	}

	// A task has been made and polled, and is deleted; then its plugin is stopped, and polled in vain. Another waits for that.
	done := creation("fdone", "development")
	meta := create(done)
	poll(meta)
	call("DeleteTask", func(ctx context.Context) error {
		_, err := flyte.DeleteTask(ctx, &admin.DeleteTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "hello"}})
		return err
	})
	shell := operator{vars: map[string]string{
		"AGENTHOST_CONFIG": file, "AGENTHOST_LISTEN__ADMIN": address, "AGENTHOST_LISTEN__GRPC": "127.0.0.1:0", "XDG_RUNTIME_DIR": run, "ADMIN": address,
		"META": base64.StdEncoding.EncodeToString(meta), "DONE": "fdone", "EXECUTION": "fwaits",
	}}
	shell.run(t, "agenthost stop hello-dev")
	poll(meta)
	create(creation("fwaits", "development")) // which goes on record

	// The other plugin is killed, and then gets a canary.
	killed := pluginOf(statusOf(t, one), "hello").PID
	if err := syscall.Kill(killed, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "the plugin that was killed runs again", func() bool {
		p := pluginOf(statusOf(t, one), "hello")
		return p.State == "running" && p.PID != killed
	})
	write(t, file, "2")
	canary := func(r *replica.Replica) bool {
		for _, g := range pluginOf(statusOf(t, r), "hello").Generations {
			if !g.Current && g.Percent == 50 && g.State == "running" {
				return true
			}
		}
		return false
	}
	wait.Until(t, "there is a canary at both replicas", func() bool { return canary(one) && canary(two) })
	for range 20 { // some by either
		create(creation(fmt.Sprint("f", time.Now().UnixNano()), "production"))
	}
	shell.vars["HASH"] = statusOf(t, one).Host.ConfigHash
	shell.vars["PROBES"] = statusOf(t, one).Host.Probe + "," + statusOf(t, two).Host.Probe

	for _, r := range tableOf(t) {
		t.Run(r.question, func(t *testing.T) {
			said := shell.run(t, r.command)
			for _, fact := range facts[r.question] {
				if fact = os.Expand(fact, func(name string) string { return shell.vars[name] }); !strings.Contains(said, fact) {
					t.Errorf("the answer to %q does not hold %q:\n$ %s\n%s", r.question, fact, r.command, said)
				}
			}
		})
	}

	t.Run("a replica that has not seen a task says so, and all are asked", func(t *testing.T) {
		_, other, _ := two.Ready()
		elsewhere := operator{vars: map[string]string{"AGENTHOST_CONFIG": file, "AGENTHOST_LISTEN__GRPC": "127.0.0.1:0", "AGENTHOST_LISTEN__ADMIN": other, "XDG_RUNTIME_DIR": run}}
		if said := elsewhere.run(t, "agenthost explain --task fdone"); !strings.Contains(said, "this replica") || !strings.Contains(said, "remembers no call about fdone") {
			t.Errorf("the other replica: %s", said)
		}
		said := elsewhere.run(t, "agenthost explain --task fdone --replicas "+address+","+other)
		if !strings.Contains(said, address+":") || !strings.Contains(said, other+":") || !strings.Contains(said, "CreateTask OK") || !strings.Contains(said, "remembers no call") {
			t.Errorf("both: %s", said)
		}
		said = elsewhere.run(t, "agenthost explain --task fdone -o json --replicas 127.0.0.1:1,"+address)
		if !strings.Contains(said, `"error": "no host answers at 127.0.0.1:1`) || !strings.Contains(said, `"method": "CreateTask"`) {
			t.Errorf("one that is not there: %s", said)
		}
		_, port, err := net.SplitHostPort(address)
		if err != nil {
			t.Fatal(err)
		}
		said = elsewhere.run(t, "agenthost explain --task fdone --replicas dns:///localhost:"+port)
		if !strings.Contains(said, address+":") || !strings.Contains(said, "CreateTask OK") {
			t.Errorf("those that a name leads to: %s", said)
		}
	})
	t.Run("a canary's share is told", func(t *testing.T) {
		said := shell.run(t, "agenthost explain --type hello --project shop --domain production")
		if strings.Count(said, "50 % of new jobs to generation") != 2 || !strings.Contains(said, "a new task would not wait now") {
			t.Errorf("%s", said)
		}
	})
	t.Run("a type that nobody serves has a nearest name", func(t *testing.T) {
		if said := shell.run(t, "agenthost explain --type helo"); !strings.Contains(said, "did you mean hello?") || !strings.Contains(said, "not listed for Flyte") {
			t.Errorf("%s", said)
		}
	})
	t.Run("nothing of a task's inputs is told", func(t *testing.T) {
		record := create(creation("fsecret", "development"))
		said := shell.run(t, "agenthost explain -o json --meta "+base64.StdEncoding.EncodeToString(record))
		if !strings.Contains(said, `"form": "record"`) || strings.Contains(said, "Ada") {
			t.Error(said)
		}
	})
}
