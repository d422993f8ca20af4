package alerts

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/wait"
)

// quietSeconds is how long all is well, which is twenty minutes by the clock of the rules.
const quietSeconds = 40

// echo configures a plugin whose jobs do as their tasks say. While the file away is there it ends as it starts.
func echo(away string) map[string]any {
	command := badplugin.Command("good", "-agents", "echo:async:echo_task")
	return map[string]any{"command": append([]string{"/bin/sh", "-c", `test ! -e "$0" && exec "$@"`, away}, command...)}
}

// scene is a host in which something happens.
type scene struct {
	name string
	seen *prometheus
	host *hosttest.Host
	away string // makes its plugin end as it starts
	live context.Context
	work *sync.WaitGroup
}

// incident is something that happens to a host, and what fires then: there, and nowhere else.
type incident struct {
	name     string
	settings func(*testing.T, *scene) map[string]any
	begin    func(*testing.T, *scene)
	fire     []string
}

func onePlugin(_ *testing.T, s *scene) map[string]any {
	return map[string]any{"plugins": map[string]any{"echo": echo(s.away)}}
}

var happening = []incident{
	{name: "quiet", settings: onePlugin, begin: func(*testing.T, *scene) {}},
	{
		// Its calls fail, too. The clock of crash loops is not hurried: so fewer ends make one.
		name: "crash loop", fire: []string{"AgenthostCallsFail", "AgenthostPluginCrashLoops"},
		settings: func(_ *testing.T, s *scene) map[string]any {
			plugin := echo(s.away)
			plugin["restart"] = map[string]any{"initial_backoff": "50ms", "crash_loop": map[string]any{"failures": 2}}
			return map[string]any{"plugins": map[string]any{"echo": plugin}}
		},
		begin: func(t *testing.T, s *scene) {
			s.takeAway(t)
			signal(t, s.pluginPID(t), syscall.SIGKILL)
		},
	},
	{
		// Its calls fail, too.
		name: "hang", settings: onePlugin, fire: []string{"AgenthostCallsFail", "AgenthostPluginHangs"},
		begin: func(t *testing.T, s *scene) { signal(t, s.pluginPID(t), syscall.SIGSTOP) },
	},
	{
		name: "failed swap", settings: onePlugin, fire: []string{"AgenthostSwapFailed"},
		begin: func(t *testing.T, s *scene) {
			s.host.Write(t, map[string]any{"echo": map[string]any{"command": badplugin.Command("dies")}})
		},
	},
	{
		name: "wrong config", settings: onePlugin, fire: []string{"AgenthostConfigurationIsNotInEffect"},
		begin: func(t *testing.T, s *scene) {
			s.host.Write(t, map[string]any{"echo": map[string]any{"comand": []string{"echo"}}})
		},
	},
	{
		name: "started with a wrong config", settings: onePlugin, fire: []string{"AgenthostRunsTheLastSoundConfiguration"},
		begin: func(t *testing.T, s *scene) {
			s.host.Kill(t)
			s.host.Write(t, map[string]any{"echo": map[string]any{"comand": []string{"echo"}}})
			s.host.Restart(t)
			s.seen.scrape(t, s.name, s.host.Admin()) // which is another address
		},
	},
	{
		name: "refused config", fire: []string{"AgenthostPluginIsRefused"},
		settings: onePlugin,
		begin: func(t *testing.T, s *scene) {
			s.host.Write(t, map[string]any{"echo": echo(s.away), "strict": map[string]any{"command": badplugin.Command("configure-errors"), "config": map[string]any{"limits": "lots"}}})
		},
	},
	{
		name: "masked polls", settings: onePlugin, fire: []string{"AgenthostPollsAreMasked"},
		begin: func(t *testing.T, s *scene) {
			flyte := s.flyte(t)
			s.poll(t, flyte, create(t, flyte, badplugin.Script{GetErrors: 1 << 20}))
		},
	},
	{
		// What the canary cannot tell Flyte is spared, too.
		name: "canary worse", settings: onePlugin, fire: []string{"AgenthostCanaryIsWorse", "AgenthostPollsAreMasked"},
		begin: func(t *testing.T, s *scene) {
			canary := badplugin.Command("good", "-agents", "echo:async:echo_task", "-script", `{"get_errors": 1000000}`)
			s.host.Write(t, map[string]any{"echo": map[string]any{"command": canary, "rollout": map[string]any{"percent": 50}}})
		},
	},
	{
		name: "waiting creations", fire: []string{"AgenthostTasksWaitOnRecord"},
		settings: func(t *testing.T, s *scene) map[string]any {
			settings := onePlugin(t, s)
			settings["create"] = map[string]any{"on_record": "on"}
			return settings
		},
		begin: func(t *testing.T, s *scene) {
			s.operate(t, "stop")
			create(t, s.flyte(t), badplugin.Script{})
		},
	},
	{
		// Their calls fail, too: of more than a tenth that is told by itself.
		name: "tasks that are turned away", settings: onePlugin, fire: []string{"AgenthostCallsFail", "AgenthostTasksAreTurnedAway"},
		begin: func(t *testing.T, s *scene) {
			s.operate(t, "stop")
			flyte := s.flyte(t)
			for range 8 { // of which five may wait
				s.again(t, func() { _, _ = flyte.CreateTask(s.live, task(t, badplugin.Script{})) })
			}
		},
	},
	{
		name: "host is gone", settings: onePlugin, fire: []string{"AgenthostIsNotScraped"},
		begin: func(t *testing.T, s *scene) { s.host.Kill(t) },
	},
}

func TestIncidentsFireWhatIsForThemAndNothingElse(t *testing.T) {
	t.Cleanup(client.CloseIdleConnections)
	p := startPrometheus(t)
	p.until(t, "it is told that there is no host", func() bool { return slices.Contains(p.fired(t)[""], "AgenthostAway") })
	live, end := context.WithCancel(t.Context())
	var work sync.WaitGroup
	t.Cleanup(func() { end(); work.Wait() })
	scenes := make([]*scene, len(happening))
	for i, what := range happening {
		s := &scene{name: what.name, seen: p, away: filepath.Join(t.TempDir(), "away"), live: live, work: &work}
		s.host = hosttest.Start(t, what.settings(t, s))
		s.usual(t)
		p.scrape(t, what.name, s.host.Admin())
		scenes[i] = s
	}
	p.until(t, "all is well", func() bool {
		return len(p.query(t, "agenthost_ready == 1")) == len(happening) && len(p.query(t, `ALERTS{alertstate="firing"}`)) == 0
	})
	p.since = time.Now()
	p.until(t, "nothing has happened for a while", func() bool {
		return len(p.query(t, fmt.Sprintf("count_over_time(agenthost_ready[%ds]) > %d", p.seconds(), quietSeconds))) == len(happening)
	})
	if fired := p.fired(t); len(fired) > 0 {
		t.Fatalf("nothing has happened, and %v fired", fired)
	}
	findsAll(t, p)

	for i, what := range happening {
		what.begin(t, scenes[i])
	}
	var fired map[string][]string
	defer func() {
		if t.Failed() {
			t.Logf("fired so far: %v", fired)
		}
	}()
	p.until(t, "each incident fires its alerts", func() bool {
		fired = p.fired(t)
		for _, what := range happening {
			for _, alert := range what.fire {
				if !slices.Contains(fired[what.name], alert) {
					return false
				}
			}
		}
		return true
	})
	for _, what := range happening {
		t.Run(what.name, func(t *testing.T) {
			if got := fired[what.name]; !slices.Equal(got, what.fire) {
				t.Errorf("%v fired, and %v should have", got, what.fire)
			}
			delete(fired, what.name)
		})
	}
	if len(fired) > 0 {
		t.Errorf("besides, %v fired", fired)
	}
}

// fired are the alerts that have fired since, by instance.
func (p *prometheus) fired(t *testing.T) map[string][]string {
	t.Helper()
	all := map[string]map[string]bool{}
	for _, alert := range p.query(t, fmt.Sprintf(`max_over_time(ALERTS{alertstate="firing"}[%ds])`, p.seconds())) {
		instance := alert.Metric["instance"]
		if all[instance] == nil {
			all[instance] = map[string]bool{}
		}
		all[instance][alert.Metric["alertname"]] = true
	}
	sorted := map[string][]string{}
	for instance, names := range all {
		sorted[instance] = slices.Sorted(maps.Keys(names))
	}
	return sorted
}

// usual is the traffic of a host on a quiet day: jobs that are made, polled and deleted.
func (s *scene) usual(t *testing.T) {
	flyte := s.flyte(t)
	s.again(t, func() {
		ctx, cancel := context.WithTimeout(s.live, 3*time.Second)
		defer cancel()
		made, err := flyte.CreateTask(ctx, task(t, badplugin.Script{}))
		if err != nil {
			return // which is what the incidents are about
		}
		category := &admin.TaskCategory{Name: "echo_task"}
		_, _ = flyte.GetTask(ctx, &admin.GetTaskRequest{TaskCategory: category, ResourceMeta: made.GetResourceMeta()})
		_, _ = flyte.DeleteTask(ctx, &admin.DeleteTaskRequest{TaskCategory: category, ResourceMeta: made.GetResourceMeta()})
	})
}

// again does something four times a second, until the test ends.
func (s *scene) again(t *testing.T, what func()) {
	t.Helper()
	s.work.Go(func() {
		for wait.For(s.live, 250*time.Millisecond) {
			what()
		}
	})
}

func (s *scene) flyte(t *testing.T) service.AsyncAgentServiceClient {
	t.Helper()
	connection, err := grpc.NewClient(s.host.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { connection.Close() })
	return service.NewAsyncAgentServiceClient(connection)
}

// tasks gives each its own name, since a repeated one gets the first one's answer.
var tasks struct {
	sync.Mutex
	made int
}

func task(t *testing.T, script badplugin.Script) *admin.CreateTaskRequest {
	content, err := json.Marshal(script)
	if err != nil {
		t.Error(err)
	}
	custom := &structpb.Struct{}
	if err := custom.UnmarshalJSON(content); err != nil {
		t.Error(err)
	}
	tasks.Lock()
	defer tasks.Unlock()
	tasks.made++
	return &admin.CreateTaskRequest{
		Template:              &core.TaskTemplate{Type: "echo_task", Custom: custom},
		TaskExecutionMetadata: &admin.TaskExecutionMetadata{TaskExecutionId: &core.TaskExecutionIdentifier{NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: fmt.Sprintf("n%d", tasks.made), ExecutionId: &core.WorkflowExecutionIdentifier{Project: "p", Domain: "d", Name: "alerts"}}}},
	}
}

func create(t *testing.T, flyte service.AsyncAgentServiceClient, script badplugin.Script) []byte {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	made, err := flyte.CreateTask(ctx, task(t, script))
	if err != nil {
		t.Fatal(err)
	}
	return made.GetResourceMeta()
}

func (s *scene) poll(t *testing.T, flyte service.AsyncAgentServiceClient, job []byte) {
	s.again(t, func() {
		_, _ = flyte.GetTask(s.live, &admin.GetTaskRequest{TaskCategory: &admin.TaskCategory{Name: "echo_task"}, ResourceMeta: job})
	})
}

func (s *scene) takeAway(t *testing.T) {
	t.Helper()
	if err := os.WriteFile(s.away, nil, 0o600); err != nil {
		t.Fatal(err)
	}
}

func (s *scene) pluginPID(t *testing.T) (pid int) {
	t.Helper()
	wait.Until(t, "the plugin runs", func() bool {
		var status struct{ Plugins []struct{ PID int } }
		if err := json.Unmarshal([]byte(s.host.Ask(t, "/status")), &status); err != nil {
			t.Fatal(err)
		}
		pid = status.Plugins[0].PID
		return pid != 0
	})
	return pid
}

// operate is a command about the plugin, as an operator gives it.
func (s *scene) operate(t *testing.T, command string) {
	t.Helper()
	if out, err := exec.Command(hosttest.Program("agenthost"), command, "echo", "--admin", s.host.Admin(), "--config", s.host.Config()).CombinedOutput(); err != nil {
		t.Fatalf("agenthost %s: %v\n%s", command, err, strings.TrimSpace(string(out)))
	}
}

func signal(t *testing.T, pid int, signal syscall.Signal) {
	t.Helper()
	if err := syscall.Kill(pid, signal); err != nil {
		t.Fatal(err)
	}
}
