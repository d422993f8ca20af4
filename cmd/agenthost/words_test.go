package main

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"maps"
	"net"
	"os"
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
	"google.golang.org/grpc/status"

	hostadmin "github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

// listing is an agent server elsewhere that only lists.
type listing struct {
	service.UnimplementedAgentMetadataServiceServer
	service.UnimplementedAsyncAgentServiceServer
	service.UnimplementedSyncAgentServiceServer
}

func (listing) ListAgents(context.Context, *admin.ListAgentsRequest) (*admin.ListAgentsResponse, error) {
	return &admin.ListAgentsResponse{Agents: []*admin.Agent{
		{Name: "elsewhere", SupportedTaskCategories: []*admin.TaskCategory{{Name: "elsewhere_task"}}},
		{Name: "elsewhere sync", IsSync: true, SupportedTaskCategories: []*admin.TaskCategory{{Name: "elsewhere_sync"}}},
	}}, nil
}

// Whatever keeps a plugin from answering, every call says which plugin and why; and it says the same when it happens again, on
// another host: Flyte groups errors by their text.
func TestEveryErrorNamesThePluginAndTheReasonInTheSameWordsEachTime(t *testing.T) {
	socket, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	address := socket.Addr().String()
	first := errorsOf(t, socket)
	again, err := net.Listen("tcp", address)
	if err != nil {
		t.Fatal(err)
	}
	second := errorsOf(t, again)
	for _, call := range slices.Sorted(maps.Keys(first)) {
		if first[call] != second[call] {
			t.Errorf("%s\n  once:  %s\n  again: %s", call, first[call], second[call])
		} else {
			t.Logf("%s: %s", call, first[call])
		}
		name, method, _ := strings.Cut(call, " ")
		reasons := map[string]string{
			"looping": "no such library", "hung": "did not answer " + method, "full": "limits.concurrency", "gone": "taken out of the configuration",
			"elsewhere": "none of its servers can be reached",
		}
		if text := first[call]; !strings.Contains(text, fmt.Sprintf("plugin %q", name)) || !strings.Contains(text, reasons[name]) {
			t.Errorf("%s does not name the plugin and %q: %s", call, reasons[name], text)
		}
	}
}

// errorsOf runs a host whose plugins are each in a trouble of their own, and gives what every call on them comes to.
func errorsOf(t *testing.T, elsewhere net.Listener) map[string]string {
	t.Helper()
	server := grpc.NewServer()
	service.RegisterAgentMetadataServiceServer(server, listing{})
	service.RegisterAsyncAgentServiceServer(server, listing{})
	service.RegisterSyncAgentServiceServer(server, listing{})
	var serving sync.WaitGroup
	serving.Go(func() { _ = server.Serve(elsewhere) })

	marker := filepath.Join(t.TempDir(), "broken")
	plugins := map[string]any{"elsewhere": map[string]any{"address": []string{elsewhere.Addr().String()}, "tls": "off", "status": map[string]any{"max_stale": "0s"}}}
	for name, more := range map[string][]string{"looping": nil, "hung": nil, "full": {"-script", `{"create_delay": "30s"}`}, "gone": nil} {
		agents := fmt.Sprintf("%[1]s:async:%[1]s_task;%[1]s sync:sync:%[1]s_sync", name)
		command := badplugin.Command("good", append([]string{"-agents", agents}, more...)...)
		if name == "looping" {
			command = append([]string{"/bin/sh", "-c", `if [ -e "$0" ]; then echo no such library >&2; exit 7; fi; exec "$@"`, marker}, command...)
		}
		plugin := map[string]any{
			"command": command, "status": map[string]any{"max_stale": "0s"}, "drain_timeout": "0s", "stop_timeout": "1s",
			"restart": map[string]any{"initial_backoff": "10ms", "max_backoff": "10ms"},
		}
		if name == "full" {
			plugin["limits"] = map[string]any{"concurrency": 1}
		}
		plugins[name] = plugin
	}
	file := filepath.Join(t.TempDir(), "host.json")
	run := shortDir(t)
	configure := func() {
		t.Helper()
		content, err := json.Marshal(map[string]any{
			"listen": map[string]any{"grpc": "127.0.0.1:0", "admin": "127.0.0.1:0"}, "run_dir": run + "/r", "plugins": plugins,
		})
		if err == nil {
			err = os.WriteFile(file+".new", content, 0o600)
		}
		if err = errors.Join(err, os.Rename(file+".new", file)); err != nil {
			t.Fatal(err)
		}
	}
	configure()
	p := startAgenthost(t, "serve", "-c", file)
	p.stderr.await(t, "agenthost is ready", 1)
	addresses := readyLine.FindStringSubmatch(p.stderr.String())
	host := &served{p, addresses[1], addresses[2]}
	conn, err := grpc.NewClient(host.grpc, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()

	// Each into its trouble.
	state := func(name string) (found hostadmin.PluginStatus) {
		var all hostadmin.Status
		if err := json.Unmarshal([]byte(host.get(t, "/status")), &all); err != nil {
			t.Fatal(err)
		}
		for _, s := range all.Plugins {
			if s.Name == name {
				found = s
			}
		}
		return found
	}
	if err := os.WriteFile(marker, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	hung := state("hung").PID
	if err := errors.Join(syscall.Kill(state("looping").PID, syscall.SIGKILL), syscall.Kill(hung, syscall.SIGSTOP)); err != nil {
		t.Fatal(err)
	}
	defer func() { _ = syscall.Kill(hung, syscall.SIGKILL) }()
	delete(plugins, "gone")
	configure()
	wait.Until(t, "all are in trouble", func() bool { return state("looping").State == "crash-looping" && state("gone").Name == "" })
	busy, release := context.WithCancel(t.Context())
	defer release()
	go func() {
		_, _ = service.NewAsyncAgentServiceClient(conn).CreateTask(busy, &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: "full_task"}})
	}()
	wait.Until(t, "one is full", func() bool { return state("full").InFlight == 1 })

	server.Stop() // as the last one: the host gives it up after a while, and says so
	serving.Wait()
	p.stderr.await(t, "none of the plugin's servers can be reached", 1)

	texts := map[string]string{}
	var mu sync.Mutex
	var calls sync.WaitGroup
	for _, name := range []string{"looping", "hung", "gone", "elsewhere", "full"} {
		for method, call := range callsOn(conn, name) {
			if name == "full" && method != "CreateTask" {
				continue // which that limit does not concern
			}
			calls.Go(func() {
				ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // whose last 250 ms are for the words
				defer cancel()
				err := call(ctx)
				mu.Lock()
				defer mu.Unlock()
				texts[name+" "+method] = fmt.Sprintf("%s: %s", status.Code(err), status.Convert(err).Message())
			})
		}
	}
	calls.Wait()
	release()
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
	return texts
}

// callsOn are the calls on a plugin's agents.
func callsOn(conn *grpc.ClientConn, name string) map[string]func(context.Context) error {
	async, meta := service.NewAsyncAgentServiceClient(conn), []byte("{}")
	category := &admin.TaskCategory{Name: name + "_task"}
	return map[string]func(context.Context) error{
		"CreateTask": func(ctx context.Context) error {
			_, err := async.CreateTask(ctx, &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: category.GetName()}})
			return err
		},
		"GetTask": func(ctx context.Context) error {
			answer, err := async.GetTask(ctx, &admin.GetTaskRequest{TaskCategory: category, ResourceMeta: meta})
			if err == nil { // where nobody serves the category, memory answers
				return errors.New(answer.GetResource().GetMessage())
			}
			return err
		},
		"DeleteTask": func(ctx context.Context) error {
			_, err := async.DeleteTask(ctx, &admin.DeleteTaskRequest{TaskCategory: category, ResourceMeta: meta})
			return err
		},
		"GetTaskMetrics": func(ctx context.Context) error {
			_, err := async.GetTaskMetrics(ctx, &admin.GetTaskMetricsRequest{TaskCategory: category, ResourceMeta: meta})
			return err
		},
		"GetTaskLogs": func(ctx context.Context) error {
			logs, err := async.GetTaskLogs(ctx, &admin.GetTaskLogsRequest{TaskCategory: category, ResourceMeta: meta})
			if err == nil {
				_, err = logs.Recv()
			}
			return err
		},
		"ExecuteTaskSync": func(ctx context.Context) error {
			stream, err := service.NewSyncAgentServiceClient(conn).ExecuteTaskSync(ctx)
			if err != nil {
				return err
			}
			header := &admin.CreateRequestHeader{Template: &core.TaskTemplate{Type: name + "_sync"}}
			if err := stream.Send(&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{Header: header}}); err != nil && !errors.Is(err, io.EOF) {
				return err
			}
			_, err = stream.Recv()
			return err
		},
	}
}
