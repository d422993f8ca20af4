package agent_test

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"log/slog"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// pluginMode makes a process of the test binary one of the plugins below.
const pluginMode = "SDK_TEST_PLUGIN"

func servePlugin(mode string) {
	plugin := agent.Plugin{Name: "probe", Version: "1"}
	switch mode {
	case "chatty":
		fmt.Println("printed by main before Serve")
		writeRaw("written to descriptor 1 before Serve\n")
		agent.Serve(plugin, agent.Async("chatty", funcs{create: chat}))
	case "slow":
		agent.Serve(plugin, agent.Async("slow", slowAgent{}, agent.Also(agent.Category{Name: "slow2"})),
			agent.OnClose(func(context.Context) error { slog.Info("plugin closed"); return nil }))
	case "stuck":
		agent.Serve(plugin, agent.Async("stuck", funcs{create: func(context.Context, *agent.Task) (meta, error) {
			slog.Info("create begins")
			select {}
		}}))
	case "contradictory":
		agent.Serve(plugin, agent.Async("a", funcs{}), agent.Async("a", funcs{}))
	case "panicking":
		agent.Serve(plugin, agent.Sync("panicking", syncFunc(func(context.Context, *agent.Task) (*agent.Resource, error) { panic("out of luck") })))
	}
}

func writeRaw(text string) {
	if _, err := syscall.Write(1, []byte(text)); err != nil {
		panic(err)
	}
}

// chat prints and logs in every way there is.
func chat(context.Context, *agent.Task) (meta, error) {
	fmt.Println("printed to os.Stdout")
	writeRaw("written to descriptor 1\n")
	fmt.Fprintln(os.Stderr, "printed to os.Stderr")
	fmt.Fprintln(os.Stderr, `{"@level":"warn","@message":"a log line of another library"}`)
	fmt.Println(strings.Repeat("a long line ", 20_000))
	slog.With("job", "j1").Warn("logged", slog.Group("query", "rows", 3))
	slog.Info(strings.Repeat("x", 200_000), "field", strings.Repeat("y", 200_000))
	return meta{ID: "chatted"}, nil
}

// slowAgent's Create ends when the file that its input names exists.
type slowAgent struct{ funcs }

func (slowAgent) Create(ctx context.Context, task *agent.Task) (meta, error) {
	slog.Info("create begins")
	gate, err := agent.Input[string](task, "gate")
	for err == nil {
		if _, statErr := os.Stat(gate); statErr == nil {
			return meta{ID: "slow"}, nil
		}
		select {
		case <-ctx.Done():
			return meta{}, ctx.Err()
		case <-time.After(time.Millisecond):
		}
	}
	return meta{}, err
}

func (slowAgent) Close(context.Context) error {
	slog.Info("agent closed")
	return nil
}

func startPlugin(t *testing.T, mode string) *agenttest.Client {
	t.Helper()
	return agenttest.Start(t, pluginCommand(mode))
}

func pluginCommand(mode string) *exec.Cmd {
	command := exec.Command(os.Args[0])
	command.Env = append(os.Environ(), pluginMode+"="+mode)
	return command
}

// eventually waits until a condition holds.
func eventually(t *testing.T, what string, condition func() bool) {
	t.Helper()
	deadline := time.Now().Add(20 * time.Second)
	for !condition() {
		if time.Now().After(deadline) {
			t.Fatalf("it never came that %s", what)
		}
		<-time.After(2 * time.Millisecond)
	}
}

func TestWhateverAPluginPrintsEndsUpInItsLogAndBreaksNothing(t *testing.T) {
	client := startPlugin(t, "chatty")
	job, err := client.Create(t.Context(), agenttest.Task{Type: "chatty"})
	if err != nil || !strings.Contains(string(job.Meta), "chatted") {
		t.Fatalf("after its prints the plugin answers %v, %v", job, err)
	}
	for _, want := range []string{
		"printed by main before Serve\n", "written to descriptor 1 before Serve\n", "written to descriptor 1\n", "\nprinted to os.Stderr\n",
		"\n" + `{"@level":"warn","@message":"a log line of another library"}` + "\n",
		`"@message":"printed to os.Stdout","@timestamp":`, `"stream":"stdout"`, `"job":"j1","query.rows":3}`, `"@message":"xxxx`,
	} {
		eventually(t, "the log holds "+want, func() bool { return strings.Contains(client.Output(), want) })
	}
	if strings.Contains(client.Output(), " stream: ") {
		t.Error("prints also went over go-plugin's own stream")
	}
	if err := client.Stop(); err != nil {
		t.Error(err)
	}
	for line := range strings.Lines(client.Output()) {
		if len(line) > 64<<10 {
			t.Errorf("a line of %d bytes: %.80s…", len(line), line)
		}
		var fields map[string]any
		if json.Unmarshal([]byte(line), &fields) == nil && fields["@message"] == "logged" && fields["@level"] != "warn" {
			t.Errorf("a warning is logged as %v", fields["@level"])
		}
	}
}

func TestAPluginHasGoPluginsHealthServiceAndReflectsNothingElseWrong(t *testing.T) {
	client := startPlugin(t, "chatty")
	response, err := grpc_health_v1.NewHealthClient(client.Conn()).Check(t.Context(), &grpc_health_v1.HealthCheckRequest{Service: pluginv1.HealthService})
	if err != nil || response.GetStatus() != grpc_health_v1.HealthCheckResponse_SERVING {
		t.Errorf("health = %v, %v", response, err)
	}
	if name := client.Describe().GetName(); name != "probe" {
		t.Errorf("name = %s", name)
	}
}

// slowCreate begins a Create that ends when release is called.
func slowCreate(t *testing.T, client *agenttest.Client) (release func(), answer <-chan error) {
	t.Helper()
	gate := filepath.Join(t.TempDir(), "gate")
	ended := make(chan error, 1)
	go func() {
		job, err := client.Create(context.Background(), agenttest.Task{Type: "slow", Inputs: map[string]any{"gate": gate}, OutputPrefix: "p"})
		if err == nil && string(job.Meta) != `{"id":"slow"}` {
			err = fmt.Errorf("metadata = %s", job.Meta)
		}
		ended <- err
	}()
	eventually(t, "the create has begun", func() bool { return strings.Contains(client.Output(), "create begins") })
	return func() {
		if err := os.WriteFile(gate, nil, 0o600); err != nil {
			t.Error(err)
		}
	}, ended
}

func refuses(client *agenttest.Client) bool {
	_, err := client.Job(agent.Category{Name: "slow"}, []byte("{}")).Get(context.Background())
	return status.Code(err) == codes.Unavailable && strings.Contains(err.Error(), "plugin probe is stopping")
}

func TestShutdownLetsCallsInFlightEndThenClosesAgentsAndPlugin(t *testing.T) {
	client := startPlugin(t, "slow")
	release, answer := slowCreate(t, client)
	stopped := make(chan error, 1)
	go func() { stopped <- client.Stop() }()
	eventually(t, "new calls are refused", func() bool { return refuses(client) })
	if strings.Contains(client.Output(), "closed") {
		t.Error("agents are closed under a running call")
	}
	release()
	if err := <-answer; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	if err := <-stopped; err != nil {
		t.Error(err)
	}
	output := client.Output()
	agentAt, pluginAt := strings.Index(output, "agent closed"), strings.Index(output, "plugin closed")
	if strings.Count(output, "agent closed") != 1 || pluginAt < 0 || agentAt < 0 {
		t.Errorf("agent and plugin are not closed once:\n%s", output)
	}
}

func TestSIGTERMIsAsOrderlyAsShutdown(t *testing.T) {
	client := startPlugin(t, "slow")
	release, answer := slowCreate(t, client)
	if err := syscall.Kill(client.PID(), syscall.SIGTERM); err != nil {
		t.Fatal(err)
	}
	eventually(t, "new calls are refused", func() bool { return refuses(client) })
	release()
	if err := <-answer; err != nil {
		t.Errorf("the call in flight: %v", err)
	}
	eventually(t, "the plugin is closed", func() bool { return strings.Contains(client.Output(), "plugin closed") })
	if err := client.Stop(); err != nil {
		t.Error(err)
	}
}

func TestACallThatNeverEndsDelaysTheStopOnlyWithinItsBound(t *testing.T) {
	client := startPlugin(t, "stuck")
	answer := make(chan error, 1)
	go func() {
		_, err := client.Create(context.Background(), agenttest.Task{Type: "stuck", OutputPrefix: "p"})
		answer <- err
	}()
	eventually(t, "the create has begun", func() bool { return strings.Contains(client.Output(), "create begins") })
	began := time.Now()
	if err := client.Stop(); err != nil {
		t.Error(err)
	}
	if took := time.Since(began); took > 15*time.Second {
		t.Errorf("the stop took %s", took)
	}
	if err := <-answer; status.Code(err) != codes.Unavailable {
		t.Errorf("the stuck call ends with %v", err)
	}
	if !strings.Contains(client.Output(), "plugin probe stops with 1 calls in flight") {
		t.Errorf("the log does not tell of the stuck call:\n%s", client.Output())
	}
}

func TestAPanicsStackIsInTheSubprocessesLog(t *testing.T) {
	client := startPlugin(t, "panicking")
	_, err := client.Execute(t.Context(), agenttest.Task{Type: "panicking"})
	wantStatus(t, err, codes.Internal, "agent panicking (task category panicking) panicked in Execute: out of luck")
	eventually(t, "the stack is logged", func() bool {
		return strings.Contains(client.Output(), `"@message":"agent panicked"`) && strings.Contains(client.Output(), "serve_test.go:")
	})
}

func TestRunByHandAPluginExplainsItselfAndFails(t *testing.T) {
	command := pluginCommand("slow")
	said, err := command.CombinedOutput()
	wantExit(t, err, 1)
	for _, want := range []string{
		"probe 1 is a Flyte agent plugin: it is started by agenthost, not by hand", "task type slow2, version 0 (async)",
		"command: [" + os.Args[0], "agenthost check", "agenthost task run",
	} {
		if !strings.Contains(string(said), want) {
			t.Errorf("it does not say %q:\n%s", want, said)
		}
	}
}

func TestContradictingOptionsEndThePluginWithTheReason(t *testing.T) {
	command := pluginCommand("contradictory")
	command.Env = append(command.Env, pluginv1.MagicCookieKey+"="+pluginv1.MagicCookieValue)
	said, err := command.CombinedOutput()
	wantExit(t, err, 1)
	if !strings.Contains(string(said), `task category "a" version 0 has two agents`) {
		t.Errorf("it says: %s", said)
	}
}

func wantExit(t *testing.T, err error, code int) {
	t.Helper()
	var exit *exec.ExitError
	if !errors.As(err, &exit) || exit.ExitCode() != code {
		t.Errorf("it ends with %v, want exit code %d", err, code)
	}
}

// closing counts how often it is closed.
type closing struct {
	funcs
	closed *int
	err    error
}

func (c closing) Close(ctx context.Context) error {
	*c.closed++
	if _, bounded := ctx.Deadline(); !bounded {
		return errors.New("Close has no deadline")
	}
	return c.err
}

func TestAnAgentThatFailsToCloseIsNamedAndTheOthersAreClosed(t *testing.T) {
	var first, second int
	server, err := agent.NewServer(agent.Plugin{Name: "p"},
		agent.Async("a", &closing{closed: &first}),
		agent.Async("b", &closing{closed: &second, err: errors.New("disk full")}, agent.Named("bee")),
		agent.OnClose(func(context.Context) error { panic("hook") }))
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	err = server.Close(ctx)
	for _, want := range []string{"agent bee: Close: disk full", "panicked in Close: hook"} {
		if !strings.Contains(fmt.Sprint(err), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
	again := server.Close(ctx)
	if first != 1 || second != 1 || fmt.Sprint(again) != fmt.Sprint(err) {
		t.Errorf("closed %d and %d times, then %v", first, second, again)
	}
}

func TestAnAgentRegisteredTwiceIsClosedOnce(t *testing.T) {
	var closed int
	shared := &closing{closed: &closed}
	client := agenttest.Run(t, agent.Async("a", shared), agent.Async("b", shared))
	if err := client.Stop(); err != nil || closed != 1 {
		t.Errorf("closed %d times, %v", closed, err)
	}
}
