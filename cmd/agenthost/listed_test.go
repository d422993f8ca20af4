package main

import (
	"context"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"syscall"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/test/badplugin"
)

var startingLine = regexp.MustCompile(`"agenthost is starting" .*?grpc=(\S+)`)

// FlytePropeller hands the tasks of a type that is not listed to its container plugin, where they fail.
func TestAHostThatIsRestartedListsAtOnceWhatASlowPluginLastServed(t *testing.T) {
	marker := filepath.Join(t.TempDir(), "up")
	plugin := append([]string{"/bin/sh", "-c", `while [ ! -e "$0" ]; do sleep 0.01; done; exec "$@"`, marker}, badplugin.Command("good")...)
	file := writeFile(t, "host.yaml", fmt.Sprintf("listen: {grpc: \"127.0.0.1:0\", admin: \"127.0.0.1:0\"}\nrun_dir: %s/r\nstate_dir: %s\nplugins: {slow: {command: %s}}\n",
		shortDir(t), filepath.Join(t.TempDir(), "state"), jsonList(plugin)))
	touch := func() {
		t.Helper()
		if err := os.WriteFile(marker, nil, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	begin := func() (*program, *grpc.ClientConn) {
		t.Helper()
		p := startAgenthost(t, "serve", "-c", file)
		p.stderr.await(t, "agenthost is starting", 1)
		conn, err := grpc.NewClient(startingLine.FindStringSubmatch(p.stderr.String())[1], grpc.WithTransportCredentials(insecure.NewCredentials()))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { conn.Close() })
		return p, conn
	}
	list := func(conn *grpc.ClientConn) (types []string, took time.Duration) {
		t.Helper()
		ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second) // Flyte's own
		defer cancel()
		began := time.Now()
		listed, err := service.NewAgentMetadataServiceClient(conn).ListAgents(ctx, &admin.ListAgentsRequest{})
		if err != nil {
			t.Fatal(err)
		}
		for _, agent := range listed.GetAgents() {
			types = append(types, agent.GetSupportedTaskTypes()...)
		}
		return types, time.Since(began)
	}

	touch()
	p, conn := begin()
	p.stderr.await(t, "agenthost is ready", 1)
	before, _ := list(conn)
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}

	if err := os.Remove(marker); err != nil {
		t.Fatal(err)
	}
	p, conn = begin()
	types, took := list(conn)
	t.Logf("listed after %v", took)
	if fmt.Sprint(types) != fmt.Sprint(before) || len(types) == 0 || took > 5*time.Second {
		t.Errorf("after a restart %v is listed within %v, %v was before", types, took, before)
	}
	created := make(chan error, 1)
	go func() {
		ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
		defer cancel()
		_, err := service.NewAsyncAgentServiceClient(conn).CreateTask(ctx, &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: "echo_task"}})
		created <- err
	}()
	select {
	case err := <-created:
		t.Errorf("before its plugin is up a creation is answered: %v", err)
	case <-time.After(100 * time.Millisecond):
	}
	touch()
	if err := <-created; err != nil {
		t.Errorf("when its plugin is up: %v", err)
	}
	p.stderr.await(t, "agenthost is ready", 1)
	if code := p.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d", code)
	}
}
