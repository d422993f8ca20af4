package gateway

import (
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// polled is what Flyte reads when a plugin answers GetTask as given.
func polled(t *testing.T, answer func(*received, grpc.ServerStream) error) *admin.Resource {
	t.Helper()
	f := startGateway(t, startAgent(t, answer), asyncAgent("x"))
	raw, err := f.call(soon(t), async1+"GetTask", get("x"))
	if err != nil {
		t.Fatal(err)
	}
	response := &admin.GetTaskResponse{}
	if err := proto.Unmarshal(raw, response); err != nil {
		t.Fatal(err)
	}
	return response.GetResource()
}

func text(s string) *core.LiteralMap {
	return &core.LiteralMap{Literals: map[string]*core.Literal{"o0": {Value: &core.Literal_Scalar{Scalar: &core.Scalar{
		Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_StringValue{StringValue: s}}}}}}}}
}

func TestAJobThatThePluginDoesNotKnowHasFailed(t *testing.T) {
	got := polled(t, func(*received, grpc.ServerStream) error { return status.Error(codes.NotFound, "job 1 is gone") })
	if got.GetPhase() != core.TaskExecution_FAILED || !strings.Contains(got.GetMessage(), "job 1 is gone") || !strings.Contains(got.GetMessage(), `"echo"`) {
		t.Errorf("Flyte reads %v", got)
	}
}

func TestDeletingAJobThatThePluginDoesNotKnowSucceeds(t *testing.T) {
	agent := startAgent(t, func(*received, grpc.ServerStream) error { return status.Error(codes.NotFound, "which job?") })
	f := startGateway(t, agent, asyncAgent("x"))
	for _, service := range []string{async1, async2} {
		if _, err := f.call(soon(t), service+"DeleteTask", get("x")); err != nil {
			t.Errorf("%s: %v", service, err)
		}
	}
}

func TestARecoverableAgentErrorIsAPhaseAndItsCodeLeadsTheMessage(t *testing.T) {
	for kind, want := range map[admin.AgentError_Kind]core.TaskExecution_Phase{
		admin.AgentError_RECOVERABLE:     pluginv1.PhaseRetryableFailed,
		admin.AgentError_NON_RECOVERABLE: core.TaskExecution_FAILED,
	} {
		got := polled(t, answering(&admin.GetTaskResponse{Resource: &admin.Resource{
			Phase: core.TaskExecution_FAILED, Message: "no slots left", LogLinks: []*core.TaskLog{{Uri: "u"}},
			AgentError: &admin.AgentError{Code: "QuotaExceeded", Kind: kind},
		}}))
		if got.GetPhase() != want || got.GetMessage() != "QuotaExceeded: no slots left" || got.GetLogLinks()[0].GetUri() != "u" {
			t.Errorf("%v: Flyte reads %v", kind, got)
		}
	}
}

// An answer that Flyte could not read is one of the host's to read, as long as it is the message that is too long.
func TestAMessageThatAloneIsMoreThanFlyteReadsLeavesThePhase(t *testing.T) {
	got := polled(t, answering(&admin.GetTaskResponse{Resource: &admin.Resource{
		Phase: pluginv1.PhaseRetryableFailed, Message: "the service is busy" + strings.Repeat(".", 2*maxAnswer) + "the tail",
	}}))
	if got.GetPhase() != pluginv1.PhaseRetryableFailed || !strings.HasPrefix(got.GetMessage(), "the service is busy") || !strings.HasSuffix(got.GetMessage(), "the tail") {
		t.Errorf("%v: %.300s", got.GetPhase(), got.GetMessage())
	}
}

func TestAnOverlongMessageKeepsItsHeadAndItsTail(t *testing.T) {
	got := polled(t, answering(&admin.GetTaskResponse{Resource: &admin.Resource{
		Phase: core.TaskExecution_FAILED, Message: "Traceback: é" + strings.Repeat("é", 1<<20) + "é the cause",
	}})).GetMessage()
	if len(got) > maxMessage || !strings.HasPrefix(got, "Traceback: é") || !strings.HasSuffix(got, "é the cause") || !strings.Contains(got, "bytes cut") {
		t.Errorf("%d bytes: %.40q … %q", len(got), got, got[len(got)-40:])
	}
}

func TestInlineOutputsThatFlyteCannotReadAreAFailureThatSaysSo(t *testing.T) {
	got := polled(t, answering(&admin.GetTaskResponse{Resource: &admin.Resource{
		Phase: core.TaskExecution_SUCCEEDED, Outputs: text(strings.Repeat("x", 5<<20)),
	}}))
	if got.GetPhase() != core.TaskExecution_FAILED || got.GetOutputs() != nil || !strings.Contains(got.GetMessage(), "output_prefix") {
		t.Errorf("Flyte reads %.300v", got)
	}
	got = polled(t, answering(&admin.GetTaskResponse{Resource: &admin.Resource{
		Phase: pluginv1.PhaseRetryableFailed, Outputs: text(strings.Repeat("x", 5<<20)),
	}}))
	if !strings.Contains(got.GetMessage(), "the job ended RETRYABLE_FAILED") { // which flyteidl's Go types have no name for
		t.Errorf("Flyte reads %.300v", got)
	}
	got = polled(t, answering(&admin.GetTaskResponse{Resource: &admin.Resource{
		Phase: core.TaskExecution_SUCCEEDED, Outputs: text(strings.Repeat("x", 3900<<10)),
	}}))
	if got.GetPhase() != core.TaskExecution_SUCCEEDED || len(got.GetOutputs().GetLiterals()["o0"].GetScalar().GetPrimitive().GetStringValue()) != 3900<<10 {
		t.Errorf("3,900 KiB, which Flyte takes, became %.300v", got)
	}
}

// syncAnswers is what FlytePropeller gets of a sync call that a plugin answers with these messages.
func syncAnswers(t *testing.T, answers ...*admin.ExecuteTaskSyncResponse) ([]*admin.ExecuteTaskSyncResponse, error) {
	t.Helper()
	agent := startAgent(t, func(_ *received, stream grpc.ServerStream) error {
		for _, answer := range answers {
			if err := stream.SendMsg(frameOf(answer)); err != nil {
				return err
			}
		}
		return nil
	})
	f := startGateway(t, agent, syncAgent("s"))
	return f.sync(soon(t), &admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{
		Header: &admin.CreateRequestHeader{Template: &core.TaskTemplate{Type: "s"}}}})
}

func syncHeaderOf(r *admin.Resource) *admin.ExecuteTaskSyncResponse {
	return &admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Header{Header: &admin.ExecuteTaskSyncResponseHeader{Resource: r}}}
}

func TestASyncAnswerInPartsBecomesTheOneMessageThatFlyteReads(t *testing.T) {
	answers, err := syncAnswers(t,
		syncHeaderOf(&admin.Resource{Phase: core.TaskExecution_SUCCEEDED, Message: "done"}),
		&admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Outputs{Outputs: text("first")}},
		&admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Outputs{Outputs: &core.LiteralMap{Literals: map[string]*core.Literal{"o1": {}}}}})
	if err != nil || len(answers) != 1 {
		t.Fatalf("%d messages, %v", len(answers), err)
	}
	got := answers[0].GetHeader().GetResource()
	if got.GetPhase() != core.TaskExecution_SUCCEEDED || got.GetMessage() != "done" || len(got.GetOutputs().GetLiterals()) != 2 {
		t.Errorf("FlytePropeller reads %v", got)
	}
}

func TestSyncOutputsThatAreTooLargeTogetherOnlyAreAFailureThatSaysSo(t *testing.T) {
	part := func() *admin.ExecuteTaskSyncResponse {
		return &admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Outputs{Outputs: text(strings.Repeat("x", 3<<20))}}
	}
	answers, err := syncAnswers(t, syncHeaderOf(&admin.Resource{Phase: core.TaskExecution_SUCCEEDED}), part(), part())
	if err != nil || len(answers) != 1 {
		t.Fatalf("%d messages, %v", len(answers), err)
	}
	got := answers[0].GetHeader().GetResource()
	if got.GetPhase() != core.TaskExecution_FAILED || got.GetOutputs() != nil || !strings.Contains(got.GetMessage(), "output_prefix") {
		t.Errorf("FlytePropeller reads %.300v", got)
	}
}

func TestASyncAnswerIsAlwaysTheEndOfATask(t *testing.T) {
	for phase := core.TaskExecution_UNDEFINED; phase <= pluginv1.PhaseRetryableFailed; phase++ {
		answers, err := syncAnswers(t, syncHeaderOf(&admin.Resource{Phase: phase, Message: "m"}))
		if err != nil || len(answers) != 1 {
			t.Fatalf("%v: %d messages, %v", phase, len(answers), err)
		}
		got := answers[0].GetHeader().GetResource()
		want := phase
		switch phase {
		case core.TaskExecution_UNDEFINED:
			want = pluginv1.PhaseRetryableFailed
		case core.TaskExecution_ABORTED: // of which Flyte drops the message
			want = core.TaskExecution_FAILED
		case core.TaskExecution_QUEUED, core.TaskExecution_RUNNING, core.TaskExecution_INITIALIZING, core.TaskExecution_WAITING_FOR_RESOURCES:
			want = core.TaskExecution_FAILED
		}
		if got.GetPhase() != want || !strings.Contains(got.GetMessage(), "m") {
			t.Errorf("%v: FlytePropeller reads %v", phase, got)
		}
		if want != phase && !strings.Contains(got.GetMessage(), `"echo"`) {
			t.Errorf("%v: %q does not name the plugin", phase, got.GetMessage())
		}
	}
}

func TestASyncAnswerWithoutAHeaderIsAnErrorThatSaysSo(t *testing.T) {
	for _, answers := range [][]*admin.ExecuteTaskSyncResponse{nil, {{Res: &admin.ExecuteTaskSyncResponse_Outputs{Outputs: text("x")}}}} {
		if _, err := syncAnswers(t, answers...); status.Code(err) != codes.Internal || !strings.Contains(err.Error(), "no header") || !strings.Contains(err.Error(), `"echo"`) {
			t.Errorf("%d messages: %v", len(answers), err)
		}
	}
}
