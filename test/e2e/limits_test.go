package e2e_test

import (
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"github.com/prometheus/procfs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials/insecure"
	"google.golang.org/grpc/encoding"
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/proto/fields"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/wait"
)

// rawCodec lets bytes through as messages: many calls share one large request.
type rawCodec struct{ encoding.CodecV2 }

func (rawCodec) Name() string { return "" }

func (c rawCodec) Marshal(message any) (mem.BufferSlice, error) {
	if raw, ok := message.(*[]byte); ok {
		return mem.BufferSlice{mem.SliceBuffer(*raw)}, nil
	}
	return c.CodecV2.Marshal(message)
}

func (c rawCodec) Unmarshal(data mem.BufferSlice, message any) error {
	if raw, ok := message.(*[]byte); ok {
		*raw = data.Materialize()
		return nil
	}
	return c.CodecV2.Unmarshal(data, message)
}

func serveLarge(t *testing.T, size int) (address string) {
	t.Helper()
	codec := rawCodec{encoding.GetCodecV2("proto")}
	large := fields.Append(nil, 1, strings.Repeat("x", size))
	list, err := proto.Marshal(&admin.ListAgentsResponse{Agents: []*admin.Agent{
		{Name: "large", SupportedTaskCategories: []*admin.TaskCategory{{Name: "large"}}},
		{Name: "large-sync", IsSync: true, SupportedTaskCategories: []*admin.TaskCategory{{Name: "large_sync"}}},
	}})
	if err != nil {
		t.Fatal(err)
	}
	server := grpc.NewServer(grpc.ForceServerCodecV2(codec), grpc.UnknownServiceHandler(func(_ any, stream grpc.ServerStream) error {
		if method, _ := grpc.MethodFromServerStream(stream); strings.HasSuffix(method, "/ListAgents") {
			return stream.SendMsg(&list)
		}
		return stream.SendMsg(&large)
	}))
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	go func() { _ = server.Serve(listener) }()
	t.Cleanup(server.Stop)
	return listener.Addr().String()
}

// A host with little memory in the middle of fifty creations of 60 MB and a plugin that answers 50 MiB to everything.
func TestWhatOthersSendCostsTheHostNoMoreMemoryThanItsLimitAndNobodyElseACall(t *testing.T) {
	const limit = 128 << 20
	host := hosttest.Start(t, map[string]any{
		"limits":  map[string]any{"memory": limit},
		"plugins": map[string]any{"hello": hosttest.Plugin("hello"), "large": map[string]any{"address": []string{serveLarge(t, 50<<20)}, "tls": "off"}},
	})
	codec := grpc.WithDefaultCallOptions(grpc.ForceCodecV2(rawCodec{encoding.GetCodecV2("proto")}))
	dial := func() *grpc.ClientConn {
		conn, err := grpc.NewClient(host.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()), codec)
		if err != nil {
			t.Fatal(err)
		}
		t.Cleanup(func() { _ = conn.Close() })
		return conn
	}
	ctx, cancel := context.WithTimeout(t.Context(), 5*time.Minute)
	defer cancel()

	var trouble sync.WaitGroup
	over := make(chan struct{})
	request, err := proto.Marshal(&admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: "hello"}})
	if err != nil {
		t.Fatal(err)
	}
	request = fields.Append(request, 1000, strings.Repeat("x", 60_000_000))
	hostile := dial()
	var refused, taken, cut atomic.Int32
	for range 50 {
		trouble.Go(func() {
			calling, cancel := context.WithTimeout(ctx, 20*time.Second)
			defer cancel()
			var answer []byte
			switch err := hostile.Invoke(calling, service.AsyncAgentService_CreateTask_FullMethodName, &request, &answer); status.Code(err) {
			case codes.OK, codes.InvalidArgument: // hello wants a name
				taken.Add(1)
			case codes.ResourceExhausted, codes.DeadlineExceeded:
				refused.Add(1)
			default:
				t.Error(err)
			}
		})
	}
	for range 20 {
		trouble.Go(func() {
			client := service.NewAsyncAgentServiceClient(hostile)
			for {
				select {
				case <-over:
					return
				default:
				}
				answer, err := client.GetTask(ctx, &admin.GetTaskRequest{ResourceMeta: []byte("job"), TaskCategory: &admin.TaskCategory{Name: "large"}})
				if err != nil || answer.GetResource().GetPhase() != core.TaskExecution_FAILED {
					t.Errorf("a poll of 50 MiB: %v, %v", answer, err)
					return
				}
				_, err = client.CreateTask(ctx, &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: "large"}})
				if status.Code(err) != codes.Aborted {
					t.Errorf("a creation of 50 MiB: %v", err)
					return
				}
				cut.Add(1)
			}
		})
	}

	victim := service.NewAsyncAgentServiceClient(dial())
	var calls sync.WaitGroup
	for range 10 {
		calls.Go(func() {
			for range 1000 {
				calling, cancel := context.WithTimeout(ctx, 10*time.Second) // Flyte's
				_, err := victim.DeleteTask(calling, &admin.DeleteTaskRequest{ResourceMeta: []byte(`{}`), TaskCategory: &admin.TaskCategory{Name: "hello"}})
				cancel()
				if err != nil {
					t.Errorf("a call of another caller to another plugin: %v", err)
					return
				}
			}
		})
	}
	calls.Wait()
	close(over)
	trouble.Wait()
	peak := peakOf(t, host.PID())
	t.Logf("of 50 creations of 60 MB %d were taken and %d refused; %d rounds of 50 MiB were cut; the host took %d MiB at most", taken.Load(), refused.Load(), cut.Load(), peak>>20)
	if taken.Load() == 0 || cut.Load() == 0 {
		t.Error("none of the large creations was taken, or none of the large answers given")
	}
	if peak > 448<<20 {
		t.Errorf("the host took %d MiB", peak>>20)
	}
}

// peakOf is the most memory that a process has had.
func peakOf(t *testing.T, pid int) uint64 {
	t.Helper()
	process, err := procfs.NewProc(pid)
	if err != nil {
		t.Fatal(err)
	}
	now, err := process.NewStatus()
	if err != nil {
		t.Fatal(err)
	}
	return now.VmHWM
}

// limitedProgram is the host's program as a shell starts it that may have so many open files.
func limitedProgram(t *testing.T, files int) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "agenthost")
	script := fmt.Sprintf("#!/bin/sh\nulimit -n %d\nexec %s \"$@\"\n", files, hosttest.Program("agenthost"))
	if err := os.WriteFile(path, []byte(script), 0o700); err != nil { //nolint:gosec // it is to be run
		t.Fatal(err)
	}
	return path
}

func TestSixHundredSilentConnectionsKeepNobodyOut(t *testing.T) {
	host := hosttest.StartProgram(t, limitedProgram(t, 512), map[string]any{"plugins": map[string]any{"hello": hosttest.Plugin("hello")}})
	for _, address := range []string{host.Endpoint(), host.Admin()} {
		for range 600 {
			conn, err := net.DialTimeout("tcp", address, 10*time.Second)
			if err != nil {
				t.Fatal(err)
			}
			t.Cleanup(func() { _ = conn.Close() })
		}
	}
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	conn, err := grpc.NewClient(host.Endpoint(), grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		t.Fatal(err)
	}
	defer conn.Close()
	wait.Until(t, "a caller finds a connection", func() bool { // once those that are silent have been so for a while
		_, err := service.NewAgentMetadataServiceClient(conn).ListAgents(ctx, &admin.ListAgentsRequest{}, grpc.WaitForReady(true))
		return err == nil
	})
	wait.Until(t, "an operator finds one", func() bool { // whose silent ones came later
		answer, err := http.Get("http://" + host.Admin() + "/readyz")
		if err != nil {
			return false
		}
		defer answer.Body.Close()
		return answer.StatusCode == http.StatusOK
	})
	if strings.Contains(host.Log(t), "too many open files") {
		t.Error("the host ran out of descriptors")
	}
	host.Reload(t, map[string]any{"hello": map[string]any{"command": []string{hosttest.Program("hello")}, "env": map[string]string{"SWAPPED": "1"}}})
}

func TestAHostThatLacksDescriptorsForItsPluginsSaysSo(t *testing.T) {
	plugins := map[string]any{}
	for i := range 30 {
		plugins[fmt.Sprint("hello-", i)] = hosttest.Plugin("hello")
	}
	config := filepath.Join(t.TempDir(), "agenthost.yaml")
	content := "listen: {grpc: 127.0.0.1:0, admin: 127.0.0.1:0}\nplugins:\n"
	for name := range plugins {
		content += fmt.Sprintf("  %s: {command: [%s]}\n", name, hosttest.Program("hello"))
	}
	if err := os.WriteFile(config, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	for _, command := range []string{"serve", "check"} {
		ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
		out, err := exec.CommandContext(ctx, limitedProgram(t, 128), command, "-c", config).CombinedOutput()
		cancel()
		var failed *exec.ExitError
		if !errors.As(err, &failed) || !strings.Contains(string(out), "the limit of open files (ulimit -n) is 128") || !strings.Contains(string(out), "raise it to") {
			t.Errorf("%s: %v\n%s", command, err, out)
		}
	}
}
