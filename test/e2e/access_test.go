package e2e_test

import (
	"os"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/test/identity"
	"github.com/agenthost/agenthost/test/wait"
)

// An upgrade hands over sockets, and callers who are known by their certificates stay known: jobs that the old host has sealed are polled
// by the new one.
func TestAnUpgradeUnderTLSRefusesNoConnectionAndForgetsNobody(t *testing.T) {
	authority := identity.NewAuthority(t)
	dir := t.TempDir()
	cert, key := authority.Issue(t, time.Now().Add(time.Hour), "127.0.0.1").Write(t, dir)
	u := startUpgradableWith(t, map[string]any{
		"listen": map[string]any{"tls": map[string]any{"cert": cert, "key": key, "client_ca": authority.File(t)}},
		"access": map[string]any{"rules": []any{
			map[string]any{"certificate": "spiffe://cluster/flyte", "may": []string{"run", "poll", "delete", "list"}, "projects": []string{"p", ""}},
			map[string]any{"certificate": "spiffe://cluster/other", "may": []string{"run", "poll"}, "projects": []string{"other"}},
		}},
	})
	known := func(name string) credentials.TransportCredentials {
		return credentials.NewTLS(authority.Client(t, authority.Issue(t, time.Now().Add(time.Hour), name)))
	}
	flyte := known("spiffe://cluster/flyte")
	clientOf := func(who credentials.TransportCredentials) service.AsyncAgentServiceClient {
		conn, err := grpc.NewClient(u.Endpoint(), grpc.WithTransportCredentials(who))
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return service.NewAsyncAgentServiceClient(conn)
	}
	before, err := clientOf(flyte).CreateTask(t.Context(), helloTask("before"))
	if err != nil {
		t.Fatal(err)
	}
	l := &load{stop: make(chan struct{})}
	l.run(t, 4, l.jobsBy(t.Context(), u.Endpoint(), flyte))
	lasting := clientOf(flyte)
	l.run(t, 2, func(client, round int) error { return l.job(t.Context(), lasting, "lasting") })
	more := func() {
		t.Helper()
		enough := l.calls.Load() + 200
		wait.Until(t, "the load goes on", func() bool { return t.Failed() || l.calls.Load() >= enough })
	}
	more()
	for range 2 {
		if _, worked := u.upgrade(t); !worked {
			t.Error("the upgrade failed")
		}
		authority.Issue(t, time.Now().Add(time.Hour), "127.0.0.1").Write(t, dir) // and its certificate rotates
		more()
	}
	close(l.stop)
	l.clients.Wait()
	poll := &admin.GetTaskRequest{TaskCategory: hello, ResourceMeta: before.GetResourceMeta()}
	if _, err := clientOf(flyte).GetTask(t.Context(), poll); err != nil {
		t.Errorf("a job of before the upgrades: %v", err)
	}
	if _, err := clientOf(known("spiffe://cluster/other")).GetTask(t.Context(), poll); status.Code(err) != codes.PermissionDenied {
		t.Errorf("by another: %v", err)
	}
	// A certificate that cannot be used keeps a new host from taking over.
	if err := os.WriteFile(key, []byte("half"), 0o600); err != nil {
		t.Fatal(err)
	}
	if out, worked := u.upgrade(t); worked {
		t.Errorf("the upgrade worked with half a pair: %s", out)
	}
	if _, err := clientOf(flyte).GetTask(t.Context(), poll); err != nil {
		t.Errorf("after an upgrade that failed: %v", err)
	}
}
