package main

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"slices"
	"strings"
	"syscall"
	"testing"
	"time"

	flyteidladmin "github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

// addressesOf are where a host listens that is not ready.
func addressesOf(t *testing.T, p *program) (grpc, admin, probe string) {
	t.Helper()
	p.stderr.await(t, "agenthost is starting", 1)
	field := func(name string) string {
		_, rest, _ := strings.Cut(p.stderr.String(), " "+name+"=")
		value, _, _ := strings.Cut(rest, " ")
		return value
	}
	return field("grpc"), field("admin"), field("probe")
}

// readyz is what the readiness probe hears.
func readyz(t *testing.T, address string) (int, string) {
	t.Helper()
	answer, err := http.Get("http://" + address + "/readyz")
	if err != nil {
		t.Fatal(err)
	}
	defer http.DefaultClient.CloseIdleConnections()
	defer answer.Body.Close()
	text, err := io.ReadAll(answer.Body)
	if err != nil {
		t.Fatal(err)
	}
	return answer.StatusCode, string(text)
}

// listed asks for the agents, as Flyte does.
func listed(t *testing.T, address string, within time.Duration) ([]string, error) {
	t.Helper()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(t.Context(), within)
	defer cancel()
	answer, err := service.NewAgentMetadataServiceClient(conn).ListAgents(ctx, &flyteidladmin.ListAgentsRequest{})
	var all []string
	for _, agent := range answer.GetAgents() {
		for _, category := range agent.GetSupportedTaskCategories() {
			all = append(all, category.GetName())
		}
	}
	slices.Sort(all)
	return all, err
}

// All pods are replaced, and one of two plugins is broken: a rollout would see that, and when nobody has acted on it the sound one serves.
func TestReadyAllWaitsForEveryPluginAndThenServesWithTheSoundOnes(t *testing.T) {
	file := pluginsFile(t, map[string][]string{"broken": badplugin.Command("configure-errors"), "echo": badplugin.Command("good")})
	p := startAgenthost(t, "serve", "-c", file, "--set", "listen.probe=127.0.0.1:0", "--set", "ready={plugins: all, give_up: 6s}")
	address, admin, probe := addressesOf(t, p)
	p.stderr.await(t, "the host is not ready: it waits for plugins", 1)
	if status, err := health(t.Context(), address); err != nil || status != healthpb.HealthCheckResponse_NOT_SERVING {
		t.Errorf("health: %v, %v", status, err)
	}
	for at, says := range map[string]string{admin: `config.limits.memory: must be a size such as 2GiB, got "lots"`, probe: `it does not start, at the step "configure"`} {
		if code, text := readyz(t, at); code != http.StatusServiceUnavailable || !strings.Contains(text, "not ready: it waits for all of its plugins (ready: all), until ") ||
			!strings.Contains(text, "plugin broken, which is refused: ") || !strings.Contains(text, says) || at == probe && strings.Contains(text, "lots") {
			t.Errorf("%d %s", code, text)
		}
	}
	if types, err := listed(t, address, time.Second); status.Code(err) != codes.Unavailable {
		t.Errorf("part of what is served is listed: %v, %v", types, err)
	}
	agenthost(t, "status", "--admin", admin).expect(t, 0, "NOT READY: it waits for all of its plugins", "")

	p.stderr.await(t, "agenthost is ready", 1)
	p.stderr.await(t, "level=ERROR msg=\"ready.give_up is over: the host is ready without plugins of its configuration\" plugins=\"broken is refused: ", 1)
	if types, err := listed(t, address, time.Minute); err != nil || !slices.Equal(types, []string{"echo_sync_task", "echo_task"}) {
		t.Errorf("listed: %v, %v", types, err)
	}
	if code, text := readyz(t, probe); code != http.StatusOK || !strings.HasPrefix(text, "ok\nready without plugin broken, which is ") {
		t.Errorf("%d %s", code, text)
	}
	agenthost(t, "status", "--admin", admin).expect(t, 0, "READY WITHOUT broken", "")
	host := &served{p, address, admin}
	if metrics := host.get(t, "/metrics"); !strings.Contains(metrics, "agenthost_ready_without_plugins 1\n") || !strings.Contains(metrics, `agenthost_plugin_standing{plugin="broken",standing="refused"} 1`) {
		t.Errorf("the metrics do not say so")
	}

	// From now on nothing that becomes of plugins takes the host out; and one that is mended is missing no longer.
	var shown struct {
		Plugins []struct {
			Name string
			PID  int
		}
	}
	if err := json.Unmarshal([]byte(host.get(t, "/status")), &shown); err != nil || shown.Plugins[1].PID == 0 {
		t.Fatalf("%v: %+v", err, shown)
	}
	if err := syscall.Kill(shown.Plugins[1].PID, syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	p.stderr.await(t, "plugin is restarting", 1)
	if code, text := readyz(t, probe); code != http.StatusOK {
		t.Errorf("%d %s", code, text)
	}
	agenthost(t, "disable", "broken", "--admin", admin).expect(t, 0, "", "")
	wait.Until(t, "nothing is missing", func() bool { _, text := readyz(t, probe); return text == "ok\n" })
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
}

func TestReadyAllDoesNotWaitForWhatAnOperatorTookOut(t *testing.T) {
	file := pluginsFile(t, map[string][]string{"broken": badplugin.Command("dies"), "echo": badplugin.Command("good")})
	p := startAgenthost(t, "serve", "-c", file, "--set", "ready=all")
	_, admin, _ := addressesOf(t, p)
	p.stderr.await(t, "the host is not ready: it waits for plugins", 1)
	agenthost(t, "disable", "broken", "--admin", admin).expect(t, 0, "", "")
	p.stderr.await(t, "agenthost is ready", 1)
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
}

// Whatever is said of readiness, a host that has nothing to list gets no calls; and a changed configuration helps.
func TestAHostNoneOfWhosePluginsRunsIsNotReadyBeforeOneDoes(t *testing.T) {
	a := &awaited{file: writeFile(t, "host.json", ""), run: shortDir(t) + "/r"}
	a.write(t, badplugin.Command("configure-errors"))
	a.program = startAgenthost(t, "serve", "-c", a.file)
	address, admin, probe := addressesOf(t, a.program)
	a.stderr.await(t, "the host is not ready: it waits for plugins", 1)
	if code, text := readyz(t, probe); code != http.StatusServiceUnavailable || !strings.Contains(text, "none of its plugins runs\nplugin echo, which is refused") {
		t.Errorf("%d %s", code, text)
	}
	if types, err := listed(t, address, time.Second); status.Code(err) != codes.Unavailable {
		t.Errorf("listed: %v, %v", types, err)
	}
	a.write(t, badplugin.Command("good"))
	agenthost(t, "reload", "--admin", admin).expect(t, 0, "reloaded", "")
	a.stderr.await(t, "agenthost is ready", 1)
	if types, err := listed(t, address, time.Minute); err != nil || len(types) != 2 {
		t.Errorf("listed: %v, %v", types, err)
	}
	if code := a.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
}
