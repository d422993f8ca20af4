package gateway

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/test/wait"
)

// callLines is a log that keeps the lines of calls.
type callLines struct {
	mu   sync.Mutex
	text bytes.Buffer
}

func (l *callLines) Write(line []byte) (int, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	return l.text.Write(line)
}

func (l *callLines) all(t *testing.T) []map[string]any {
	t.Helper()
	l.mu.Lock()
	defer l.mu.Unlock()
	var lines []map[string]any
	for line := range bytes.Lines(l.text.Bytes()) {
		var entry map[string]any
		if err := json.Unmarshal(line, &entry); err != nil {
			t.Fatal(err)
		}
		if entry["msg"] == "call" {
			lines = append(lines, entry)
		}
	}
	return lines
}

func TestRefusedFailedAndSlowCallsAreToldOfAndOthersAreNot(t *testing.T) {
	agent := startAgent(t, func(call *received, stream grpc.ServerStream) error {
		switch {
		case strings.HasSuffix(call.method, "DeleteTask"):
			return status.Error(codes.Internal, "the secret words of a plugin")
		case strings.HasSuffix(call.method, "CreateTask"):
			return stream.SendMsg(frameOf(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")}))
		}
		return stream.SendMsg(frameOf(running))
	})
	lines := &callLines{}
	log := slog.New(slog.NewJSONHandler(lines, nil))
	hasty := startWith(t, Options{Log: log, AccessLog: AccessLog{Slow: time.Nanosecond}}, agent.claims(usual, asyncAgent("x")))
	hasty.create(t, create("x"))
	wait.Until(t, "there is a line of it", func() bool { return len(lines.all(t)) == 1 })
	f := startWith(t, Options{Log: log, AccessLog: AccessLog{Slow: time.Hour}}, agent.claims(usual, asyncAgent("x")))
	if _, err := f.poll(soon(t), get("x")); err != nil {
		t.Fatal(err)
	}
	_, _ = f.call(soon(t), async1+"DeleteTask", &admin.DeleteTaskRequest{TaskCategory: &admin.TaskCategory{Name: "x"}, ResourceMeta: []byte("secret job")})
	_, _ = f.call(soon(t), async1+"CreateTask", create("strange\x1b[2J"+strings.Repeat("y", 1000)))
	_, _ = f.call(soon(t), "/flyteidl.service.AsyncAgentService/DropTable", create("x"))
	_, _ = f.call(soon(t), "/no.such/Method", create("x"))
	wait.Until(t, "there is a line of each", func() bool { return len(lines.all(t)) >= 5 })
	got := lines.all(t)
	for i, want := range []map[string]string{
		{"outcome": "slow", "method": "CreateTask", "code": "OK", "task_type": "x", "plugin": "echo"},
		{"outcome": "failed", "method": "DeleteTask", "code": "Internal", "task_type": "x", "plugin": "echo"},
		{"outcome": "refused", "method": "CreateTask", "code": "NotFound"},
		{"outcome": "refused", "method": "/flyteidl.service.AsyncAgentService/DropTable", "code": "Unimplemented"},
		{"outcome": "refused", "method": "/no.such/Method", "code": "Unimplemented"},
	} {
		for key, value := range want {
			if got[i][key] != value {
				t.Errorf("line %d: %s is %v, want %s", i, key, got[i][key], value)
			}
		}
		if from := fmt.Sprint(got[i]["caller"]); !strings.HasPrefix(from, "127.0.0.1:") {
			t.Errorf("line %d: the caller is %s", i, from)
		}
	}
	if len(got) != 5 {
		t.Errorf("%d lines: %v", len(got), got)
	}
	if text := lines.text.String(); strings.Contains(text, "secret") || strings.Contains(text, "\x1b") || len(text) > 5*600 {
		t.Errorf("the log has in it what callers and plugins say: %s", text)
	}
}

func TestAFloodOfCallsDoesNotFillTheLog(t *testing.T) {
	lines := &callLines{}
	log := newAccessLog(AccessLog{}, slog.New(slog.NewJSONHandler(lines, nil)))
	for range 10_000 {
		log.tell(t.Context(), "CreateTask", &noted{}, "", "", 0, status.Error(codes.NotFound, ""))
	}
	if got := len(lines.all(t)); got < accessBurst || got > 2*accessBurst {
		t.Errorf("%d lines of 10000 calls", got)
	}
	log.tell(t.Context(), "GetTask", &noted{}, "echo", "x", 0, status.Error(codes.Internal, "")) // which is another kind
	if got := lines.all(t); got[len(got)-1]["outcome"] != "failed" {
		t.Errorf("the flood hides what failed: %v", got[len(got)-1])
	}
}

type knownAs string

func (k knownAs) Identity() string { return string(k) }

// Who judges callers says who they are, so that the log can.
func TestTheLogNamesWhoeverTheCallerIsKnownAs(t *testing.T) {
	lines := &callLines{}
	log := newAccessLog(AccessLog{}, slog.New(slog.NewJSONHandler(lines, nil)))
	ctx, note := noting(context.Background(), nil)
	noteOf(ctx).caller = knownAs("spiffe://flyte/propeller")
	log.tell(ctx, "CreateTask", note, "", "x", 0, status.Error(codes.PermissionDenied, ""))
	if got := lines.all(t); len(got) != 1 || got[0]["identity"] != "spiffe://flyte/propeller" {
		t.Error(got)
	}
}
