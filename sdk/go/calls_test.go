package agent_test

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/structpb"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// meta is the job metadata of the test agents.
type meta struct {
	ID   string `json:"id"`
	Step int    `json:"step,omitempty"`
}

// funcs is an asynchronous agent made of functions; what is missing does the simplest thing.
type funcs struct {
	create func(context.Context, *agent.Task) (meta, error)
	get    func(context.Context, agent.Job[meta]) (*agent.Resource, error)
	delete func(context.Context, agent.Job[meta]) error
}

func (f funcs) Create(ctx context.Context, task *agent.Task) (meta, error) {
	if f.create == nil {
		return meta{ID: "j1"}, nil
	}
	return f.create(ctx, task)
}

func (f funcs) Get(ctx context.Context, job agent.Job[meta]) (*agent.Resource, error) {
	if f.get == nil {
		return agent.Succeeded(agent.Outputs{"id": job.Meta.ID}), nil
	}
	return f.get(ctx, job)
}

func (f funcs) Delete(ctx context.Context, job agent.Job[meta]) error {
	if f.delete == nil {
		return nil
	}
	return f.delete(ctx, job)
}

// syncFunc is a synchronous agent.
type syncFunc func(context.Context, *agent.Task) (*agent.Resource, error)

func (f syncFunc) Execute(ctx context.Context, task *agent.Task) (*agent.Resource, error) {
	return f(ctx, task)
}

func wantStatus(t *testing.T, err error, code codes.Code, parts ...string) {
	t.Helper()
	if status.Code(err) != code {
		t.Errorf("error = %v, want code %s", err, code)
	}
	for _, part := range parts {
		if !strings.Contains(fmt.Sprint(err), part) {
			t.Errorf("error = %v, want it to say %q", err, part)
		}
	}
}

func TestAJobIsCreatedPolledAndDeletedByItsTypedMetadata(t *testing.T) {
	var deleted meta
	client := agenttest.Run(t, agent.Async("query", funcs{
		create: func(_ context.Context, task *agent.Task) (meta, error) {
			id, err := agent.Input[string](task, "id")
			return meta{ID: id, Step: 7}, err
		},
		get: func(_ context.Context, job agent.Job[meta]) (*agent.Resource, error) {
			return agent.Succeeded(agent.Outputs{"id": job.Meta.ID, "step": job.Meta.Step}).WithMessage("done").
				WithLink("Console", "https://example.org/1").WithInfo("rows", 3), nil
		},
		delete: func(_ context.Context, job agent.Job[meta]) error { deleted = job.Meta; return nil },
	}))
	job, err := client.Create(t.Context(), agenttest.Task{Type: "query", Inputs: map[string]any{"id": "a<b"}})
	if err != nil {
		t.Fatal(err)
	}
	result, err := job.Wait(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	if result.Phase != agent.PhaseSucceeded || result.Message != "done" || result.Outputs["id"] != "a<b" || result.Outputs["step"] != int64(7) {
		t.Errorf("result = %+v", result)
	}
	if link := result.Resource.GetLogLinks()[0]; link.GetName() != "Console" || link.GetUri() != "https://example.org/1" {
		t.Errorf("link = %v", link)
	}
	if rows := result.Resource.GetCustomInfo().GetFields()["rows"].GetNumberValue(); rows != 3 {
		t.Errorf("custom info = %v", result.Resource.GetCustomInfo())
	}
	if err := job.Delete(t.Context()); err != nil || deleted != (meta{ID: "a<b", Step: 7}) {
		t.Errorf("Delete got %+v, %v", deleted, err)
	}
}

func TestMetadataIsPlainJSONThatOtherVersionsAndLanguagesCanRead(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{}))
	job, err := client.Create(t.Context(), agenttest.Task{Type: "query"})
	if err != nil || string(job.Meta) != `{"id":"j1"}` {
		t.Errorf("metadata = %s, %v", job.Meta, err)
	}
	// As Python's json.dumps(asdict(…)) of a newer version writes it.
	newer := client.Job(agent.Category{Name: "query"}, []byte(`{"id": "j2", "step": 3, "added_later": {"x": [1]}}`))
	result, err := newer.Get(t.Context())
	if err != nil || result.Outputs["id"] != "j2" {
		t.Errorf("result = %+v, %v", result, err)
	}
}

func TestForeignMetadataIsAnInvalidArgumentThatSaysWhatIsWrong(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{}))
	for data, want := range map[string]string{
		"":                         "it is empty, not JSON",
		"null":                     "it is null, not a JSON object",
		"\x80\x04\x95":             "it is not JSON",
		`{"id": "x"`:               "it is not JSON: unexpected end",
		`{"id": 3}`:                "id must be a string, not number",
		`{"id": "x", "step": 1.5}`: "step must be an integer of 64 bits, not number 1.5",
		`[1]`:                      "it must be an object, not array",
	} {
		job := client.Job(agent.Category{Name: "query"}, []byte(data))
		_, err := job.Get(t.Context())
		wantStatus(t, err, codes.InvalidArgument, "agent query: Get: resource_meta is not a job that this agent made", want)
		wantStatus(t, job.Delete(t.Context()), codes.InvalidArgument, want)
	}
}

// pickled keeps its metadata in a format of its own.
type pickled struct{ funcs }

func (pickled) EncodeMeta(m meta) ([]byte, error) { return []byte("pickle:" + m.ID), nil }

func (pickled) DecodeMeta(data []byte) (meta, error) {
	id, ok := strings.CutPrefix(string(data), "pickle:")
	if !ok {
		return meta{}, errors.New("not a pickle")
	}
	return meta{ID: id}, nil
}

func TestAnAgentCanEncodeItsMetadataItself(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", pickled{}))
	job, err := client.Create(t.Context(), agenttest.Task{Type: "query"})
	if err != nil || string(job.Meta) != "pickle:j1" {
		t.Fatalf("metadata = %s, %v", job.Meta, err)
	}
	if result, err := job.Get(t.Context()); err != nil || result.Outputs["id"] != "j1" {
		t.Errorf("result = %+v, %v", result, err)
	}
	_, err = client.Job(job.Category, []byte("{}")).Get(t.Context())
	wantStatus(t, err, codes.InvalidArgument, "not a pickle")
}

func TestErrorsKeepTheirCodeAndNameTheAgent(t *testing.T) {
	for want, thrown := range map[codes.Code]error{
		codes.NotFound:           agent.NotFound("no job %d", 7),
		codes.InvalidArgument:    fmt.Errorf("wrapped: %w", agent.InvalidArgument("no job %d", 7)),
		codes.Unavailable:        agent.Unavailable("no job %d", 7),
		codes.FailedPrecondition: agent.FailedPrecondition("no job %d", 7),
		codes.ResourceExhausted:  status.Error(codes.ResourceExhausted, "no job 7"),
		codes.PermissionDenied:   fmt.Errorf("wrapped: %w", status.Error(codes.PermissionDenied, "no job 7")),
		codes.DeadlineExceeded:   fmt.Errorf("no job 7: %w", context.DeadlineExceeded),
		codes.Canceled:           fmt.Errorf("no job 7: %w", context.Canceled),
		codes.Internal:           errors.New("no job 7"),
	} {
		client := agenttest.Run(t, agent.Async("query", funcs{
			create: func(context.Context, *agent.Task) (meta, error) { return meta{}, thrown },
			get:    func(context.Context, agent.Job[meta]) (*agent.Resource, error) { return nil, thrown },
			delete: func(context.Context, agent.Job[meta]) error { return thrown },
		}, agent.Named("warehouse")))
		_, err := client.Create(t.Context(), agenttest.Task{Type: "query"})
		wantStatus(t, err, want, "agent warehouse: Create: ", "no job 7")
		job := client.Job(agent.Category{Name: "query"}, []byte("{}"))
		_, err = job.Get(t.Context())
		wantStatus(t, err, want, "agent warehouse: Get: ", "no job 7")
		if strings.Contains(err.Error()[len("rpc error:"):], "rpc error") && want != codes.PermissionDenied {
			t.Errorf("the message repeats the code: %v", err)
		}
		wantStatus(t, job.Delete(t.Context()), want, "agent warehouse: Delete: ", "no job 7")
	}
}

func TestAnErrorsMessageIsBoundedAndKeepsHeadAndTail(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{create: func(context.Context, *agent.Task) (meta, error) {
		return meta{}, errors.New("the head " + strings.Repeat("x", 1<<20) + " the tail")
	}}))
	_, err := client.Create(t.Context(), agenttest.Task{Type: "query"})
	wantStatus(t, err, codes.Internal, "the head", "the tail", "bytes cut")
	if len(err.Error()) > 8<<10 {
		t.Errorf("the message has %d bytes", len(err.Error()))
	}
}

func TestAPanicIsInternalNamesAgentAndCategoryAndHidesItsStack(t *testing.T) {
	var log bytes.Buffer
	before := slog.Default()
	slog.SetDefault(slog.New(slog.NewTextHandler(&log, nil)))
	defer slog.SetDefault(before)
	client := agenttest.Run(t,
		agent.Async("query", funcs{create: func(context.Context, *agent.Task) (meta, error) { panic("out of luck") }}, agent.Named("warehouse")),
		agent.Sync("chat", syncFunc(func(context.Context, *agent.Task) (*agent.Resource, error) {
			var none *agent.Task
			return nil, errors.New(none.OutputPrefix)
		})))
	_, err := client.Create(t.Context(), agenttest.Task{Type: "query"})
	wantStatus(t, err, codes.Internal, "agent warehouse (task category query) panicked in Create: out of luck (calls_test.go:")
	_, syncErr := client.Execute(t.Context(), agenttest.Task{Type: "chat"})
	wantStatus(t, syncErr, codes.Internal, "agent chat (task category chat) panicked in Execute: runtime error")
	for _, said := range []string{err.Error(), syncErr.Error()} {
		if strings.Contains(said, "goroutine") || strings.Count(said, ".go:") > 1 { // the one is the place
			t.Errorf("the stack is in the answer: %s", said)
		}
	}
	if err := client.Stop(); err != nil {
		t.Fatal(err)
	}
	for _, part := range []string{"agent=warehouse", "task_category=query", "calls_test.go:", `panic="out of luck"`} {
		if !strings.Contains(log.String(), part) {
			t.Errorf("the log lacks %q:\n%s", part, &log)
		}
	}
}

func TestAnAgentServesOnAfterAPanic(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{create: func(context.Context, *agent.Task) (meta, error) { panic("once") }}))
	_, err := client.Create(t.Context(), agenttest.Task{Type: "query"})
	wantStatus(t, err, codes.Internal, "once")
	if _, err := client.Job(agent.Category{Name: "query"}, []byte("{}")).Get(t.Context()); err != nil {
		t.Errorf("after a panic the agent does not serve: %v", err)
	}
}

func TestAResourceWithoutPhaseOrNoResourceAtAllIsAnErrorNotAnAnswer(t *testing.T) {
	answers := map[string]*agent.Resource{"phaseless": {}, "nil": nil}
	for want, name := range map[string]string{"without a phase": "phaseless", "neither a resource nor an error": "nil"} {
		client := agenttest.Run(t, agent.Async("query", funcs{
			get: func(context.Context, agent.Job[meta]) (*agent.Resource, error) { return answers[name], nil },
		}))
		_, err := client.Job(agent.Category{Name: "query"}, []byte("{}")).Get(t.Context())
		wantStatus(t, err, codes.Internal, want)
	}
}

func answering(id string) funcs {
	return funcs{create: func(context.Context, *agent.Task) (meta, error) { return meta{ID: id}, nil }}
}

func TestCallsGoToTheVersionTheyNameOrElseToTheHighest(t *testing.T) {
	client := agenttest.Run(t,
		agent.Async("query", answering("nine"), agent.AtVersion(9), agent.Named("q9")),
		agent.Async("query", answering("zero"), agent.Named("q0")),
		agent.Async("query", answering("two"), agent.AtVersion(2), agent.Named("q2"), agent.Also(agent.Category{Name: "sql"})))
	for category, want := range map[agent.Category]string{
		{Name: "query"}: "zero", {Name: "query", Version: 2}: "two", {Name: "query", Version: 9}: "nine",
		{Name: "query", Version: 5}: "nine", {Name: "query", Version: 11}: "nine", {Name: "sql"}: "two", {Name: "sql", Version: 3}: "two",
	} {
		job, err := client.Create(t.Context(), agenttest.Task{Type: category.Name, Version: category.Version})
		if err != nil || string(job.Meta) != fmt.Sprintf(`{"id":%q}`, want) {
			t.Errorf("%v went to %s, %v; want %s", category, job.Meta, err, want)
		}
	}
}

func TestAnUnknownCategoryIsNotFoundAndNamed(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{}))
	_, err := client.Create(t.Context(), agenttest.Task{Type: "spark"})
	wantStatus(t, err, codes.NotFound, `no agent here serves task category "spark"`, `"query"`)
	_, err = client.Execute(t.Context(), agenttest.Task{Type: "spark"})
	wantStatus(t, err, codes.NotFound, `"spark"`)
	job := client.Job(agent.Category{Name: "spark"}, []byte("{}"))
	_, err = job.Get(t.Context())
	wantStatus(t, err, codes.NotFound, `"spark"`)
	wantStatus(t, job.Delete(t.Context()), codes.NotFound, `"spark"`)
	_, _, err = job.Logs(t.Context(), agent.LogQuery{})
	wantStatus(t, err, codes.NotFound, `"spark"`)
	_, err = job.Metrics(t.Context(), agent.MetricsQuery{})
	wantStatus(t, err, codes.NotFound, `"spark"`)
}

func TestACallOfTheWrongKindSaysWhichKindTheAgentIs(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{}), agent.Sync("chat", syncFunc(succeed)))
	_, err := client.Execute(t.Context(), agenttest.Task{Type: "query"})
	wantStatus(t, err, codes.FailedPrecondition, `"query" is served by the asynchronous agent "query"`, "CreateTask")
	_, err = client.Create(t.Context(), agenttest.Task{Type: "chat"})
	wantStatus(t, err, codes.FailedPrecondition, `"chat" is served by the synchronous agent "chat"`, "ExecuteTaskSync")
	_, err = client.Job(agent.Category{Name: "chat"}, nil).Get(t.Context())
	wantStatus(t, err, codes.FailedPrecondition, "synchronous")
}

func succeed(context.Context, *agent.Task) (*agent.Resource, error) {
	return agent.Succeeded(agent.Outputs{}), nil
}

func TestTheDeprecatedTaskTypeRoutesWhereThereIsNoCategory(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", funcs{}, agent.AtVersion(4)))
	old := service.NewAsyncAgentServiceClient(client.Conn())
	response, err := old.GetTask(t.Context(), &admin.GetTaskRequest{TaskType: "query", ResourceMeta: []byte(`{"id":"old"}`)})
	if err != nil || response.GetResource().GetPhase() != agent.PhaseSucceeded {
		t.Errorf("response = %v, %v", response, err)
	}
	_, err = old.DeleteTask(t.Context(), &admin.DeleteTaskRequest{TaskType: "gone", ResourceMeta: []byte(`{}`)})
	wantStatus(t, err, codes.NotFound, `"gone"`)
}

func TestAgentsAreListedWithCategoriesAndTaskTypes(t *testing.T) {
	client := agenttest.Run(t,
		agent.Async("databricks", funcs{}, agent.Named("Databricks"), agent.AtVersion(1), agent.Also(agent.Category{Name: "spark"})),
		agent.Async("databricks", funcs{}, agent.Named("Databricks")),
		agent.Sync("chat", syncFunc(succeed)))
	listed := client.Agents()
	if len(listed) != 2 {
		t.Fatalf("agents = %v", listed)
	}
	databricks, chat := listed[0], listed[1]
	if databricks.GetName() != "Databricks" || databricks.GetIsSync() || chat.GetName() != "chat" || !chat.GetIsSync() {
		t.Errorf("agents = %v", listed)
	}
	if got := fmt.Sprint(databricks.GetSupportedTaskTypes()); got != "[databricks spark]" {
		t.Errorf("task types = %s", got)
	}
	var categories []string
	for _, category := range databricks.GetSupportedTaskCategories() {
		categories = append(categories, fmt.Sprintf("%s:%d", category.GetName(), category.GetVersion()))
	}
	// Flyte 1 keeps the last version of a name that it reads.
	if got := fmt.Sprint(categories); got != "[databricks:0 databricks:1 spark:0]" {
		t.Errorf("categories = %s", got)
	}
	metadata := service.NewAgentMetadataServiceClient(client.Conn())
	one, err := metadata.GetAgent(t.Context(), &admin.GetAgentRequest{Name: "chat"})
	if err != nil || !one.GetAgent().GetIsSync() {
		t.Errorf("GetAgent = %v, %v", one, err)
	}
	_, err = metadata.GetAgent(t.Context(), &admin.GetAgentRequest{Name: "nobody"})
	wantStatus(t, err, codes.NotFound, `no agent "nobody"`)
}

func TestContradictingRegistrationsAreRefused(t *testing.T) {
	plugin := agent.Plugin{Name: "p"}
	for want, options := range map[string][]agent.Option{
		"plugin p has no agent": {},
		`task category "query" version 0 has two agents, "a" and "b"`: {
			agent.Async("query", funcs{}, agent.Named("a")), agent.Async("query", funcs{}, agent.Named("b")),
		},
		`task category "query" has agents of both kinds, the asynchronous "query" and the synchronous "s"`: {
			agent.Async("query", funcs{}), agent.Sync("query", syncFunc(succeed), agent.AtVersion(1), agent.Named("s")),
		},
		`the agent "x" is registered as asynchronous and as synchronous`: {
			agent.Async("query", funcs{}, agent.Named("x")), agent.Sync("chat", syncFunc(succeed), agent.Named("x")),
		},
		"needs a task category": {agent.Async("", funcs{}, agent.Named("x"))},
		"needs a name":          {agent.Async("query", funcs{}, agent.Named(""))},
		"is nil":                {agent.Sync("query", nil)},
		"two agent.Configure options": {
			agent.Async("query", funcs{}),
			agent.Configure(func(context.Context, struct{}) error { return nil }),
			agent.Configure(func(context.Context, struct{}) error { return nil }),
		},
	} {
		if _, err := agent.NewServer(plugin, options...); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("error = %v, want %q", err, want)
		}
	}
	if _, err := agent.NewServer(agent.Plugin{}, agent.Async("query", funcs{})); err == nil || !strings.Contains(err.Error(), "Name") {
		t.Errorf("a plugin without a name: %v", err)
	}
}

// capture is a synchronous agent that hands over the task it got.
func capture(into **agent.Task) agent.Option {
	return agent.Sync("capture", syncFunc(func(_ context.Context, task *agent.Task) (*agent.Resource, error) {
		*into = task
		return agent.Succeeded(agent.Outputs{}), nil
	}))
}

func TestATaskCarriesWhatTheCallerSent(t *testing.T) {
	var task *agent.Task
	client := agenttest.Run(t, capture(&task))
	id := &core.TaskExecutionIdentifier{
		NodeExecutionId: &core.NodeExecutionIdentifier{NodeId: "n1", ExecutionId: &core.WorkflowExecutionIdentifier{Name: "f1"}}, RetryAttempt: 2,
	}
	client.RunTask(t.Context(), agenttest.Task{
		Type: "capture", Version: 0, SQL: "SELECT 1", Config: map[string]string{"warehouse": "w"}, OutputPrefix: "s3://b/p",
		Custom: map[string]any{"ProjectID": "p1", "Limit": 5}, ExecutionID: id, Inputs: map[string]any{"n": 3},
		OutputTypes: agent.OutputTypes{},
		Change: func(request *admin.CreateTaskRequest) {
			request.TaskExecutionMetadata.Labels = map[string]string{"team": "a"}
		},
	})
	if task.Template.GetSql().GetStatement() != "SELECT 1" || task.Template.GetConfig()["warehouse"] != "w" || task.OutputPrefix != "s3://b/p" ||
		task.Metadata.GetLabels()["team"] != "a" || task.ExecutionID.GetRetryAttempt() != 2 || len(task.Inputs.GetLiterals()) != 1 {
		t.Errorf("task = %+v", task)
	}
	var custom struct {
		ProjectID string
		Limit     int
	}
	if err := task.Custom(&custom); err != nil || custom.ProjectID != "p1" || custom.Limit != 5 {
		t.Errorf("custom = %+v, %v", custom, err)
	}
	var wrong struct{ ProjectID int }
	wantStatus(t, task.Custom(&wrong), codes.InvalidArgument, "ProjectID must be an integer of 64 bits, not string")
	if task.IdempotencyKey != pluginv1.IdempotencyKey(id, "s3://b/p") || task.IdempotencyKey == "" {
		t.Errorf("the idempotency key is not derived from the execution id and the output prefix: %q", task.IdempotencyKey)
	}
	if former := task.FormerIdempotencyKey(); former != pluginv1.FormerIdempotencyKey(id) || former == task.IdempotencyKey {
		t.Errorf("the former key is %q", former)
	}
	client.RunTask(t.Context(), agenttest.Task{Type: "capture", ExecutionID: id, IdempotencyKey: "from-the-host"})
	if task.IdempotencyKey != "from-the-host" {
		t.Errorf("the host's idempotency key is ignored: %q", task.IdempotencyKey)
	}
}

func TestABareRequestLeavesNothingNil(t *testing.T) {
	var task *agent.Task
	client := agenttest.Run(t, capture(&task))
	client.RunTask(t.Context(), agenttest.Task{Type: "capture", Change: func(request *admin.CreateTaskRequest) {
		request.TaskExecutionMetadata, request.Inputs = nil, nil
	}})
	if task.Template == nil || task.Inputs == nil || task.Metadata == nil || task.IdempotencyKey != "" || task.Connection != nil {
		t.Errorf("task = %+v", task)
	}
	var custom struct{ A int }
	if err := task.Custom(&custom); err != nil {
		t.Errorf("no custom part: %v", err)
	}
	async := service.NewAsyncAgentServiceClient(client.Conn())
	_, err := async.CreateTask(t.Context(), &admin.CreateTaskRequest{})
	wantStatus(t, err, codes.NotFound, `task category ""`)
	stream, err := service.NewSyncAgentServiceClient(client.Conn()).ExecuteTaskSync(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	stream.CloseSend()
	_, err = stream.Recv()
	wantStatus(t, err, codes.InvalidArgument, "needs a header")
}

func TestASyncAgentAnswersWithOneMessageInItsTasksTypes(t *testing.T) {
	client := agenttest.Run(t, agent.Sync("chat", syncFunc(func(_ context.Context, task *agent.Task) (*agent.Resource, error) {
		n, err := agent.Input[int](task, "n")
		return agent.Succeeded(agent.Outputs{"half": n / 2}), err
	})))
	task := agenttest.Task{
		Type: "chat", Inputs: map[string]any{"n": 6},
		OutputTypes: agent.OutputTypes{"half": {Type: &core.LiteralType_Simple{Simple: core.SimpleType_FLOAT}}},
	}
	if result := client.RunTask(t.Context(), task); result.Outputs["half"] != 3.0 {
		t.Errorf("half = %#v, want the declared float", result.Outputs["half"])
	}
	task.OutputTypes["other"] = task.OutputTypes["half"]
	_, err := client.Execute(t.Context(), task)
	wantStatus(t, err, codes.Internal, "output other is declared but missing")
	task.OutputTypes = agent.OutputTypes{"other": task.OutputTypes["half"], "half": {Type: &core.LiteralType_Simple{Simple: core.SimpleType_BOOLEAN}}}
	delete(task.OutputTypes, "other")
	_, err = client.Execute(t.Context(), task)
	wantStatus(t, err, codes.Internal, "output half: a Go int cannot be written as boolean")
}

func TestASyncAgentThatIsNotDoneIsAnError(t *testing.T) {
	client := agenttest.Run(t, agent.Sync("chat", syncFunc(func(context.Context, *agent.Task) (*agent.Resource, error) {
		return agent.Running("still at it"), nil
	})))
	_, err := client.Execute(t.Context(), agenttest.Task{Type: "chat"})
	wantStatus(t, err, codes.FailedPrecondition, "must end with a terminal phase, not RUNNING")
}

func TestFailuresCarryPhaseCodeAndOrigin(t *testing.T) {
	bad := agent.UserError("BadSQL", errors.New("no such table"))
	for name, c := range map[string]struct {
		resource *agent.Resource
		phase    agent.Phase
		message  string
		want     *admin.AgentError
	}{
		"failed":     {agent.Failed(fmt.Errorf("line 3: %w", bad)), agent.PhaseFailed, "line 3: no such table", &admin.AgentError{Code: "BadSQL", Origin: core.ExecutionError_USER}},
		"failedf":    {agent.Failedf("no %s", "luck"), agent.PhaseFailed, "no luck", nil},
		"nil":        {agent.Failed(nil), agent.PhaseFailed, "the agent gave no reason", nil},
		"retryable":  {agent.RetryableFailed(agent.SystemError("Quota", errors.New("full"))), agent.PhaseRetryableFailed, "full", &admin.AgentError{Code: "Quota", Origin: core.ExecutionError_SYSTEM, Kind: admin.AgentError_RECOVERABLE}},
		"retryablef": {agent.RetryableFailedf("no %s", "luck"), agent.PhaseRetryableFailed, "no luck", nil},
		"aborted":    {agent.Aborted("stopped"), agent.PhaseAborted, "stopped", nil},
		"queued":     {agent.Queued("third in line"), agent.PhaseQueued, "third in line", nil},
		"waiting":    {agent.WaitingForResources("quota"), agent.PhaseWaitingForResources, "quota", nil},
		"starting":   {agent.Initializing("boot"), agent.PhaseInitializing, "boot", nil},
	} {
		client := agenttest.Run(t, agent.Async("query", funcs{
			get: func(context.Context, agent.Job[meta]) (*agent.Resource, error) { return c.resource, nil },
		}))
		result, err := client.Job(agent.Category{Name: "query"}, []byte("{}")).Get(t.Context())
		if err != nil || result.Phase != c.phase || result.Message != c.message || result.Outputs != nil {
			t.Errorf("%s: %+v, %v", name, result, err)
			continue
		}
		got := result.Resource.GetAgentError()
		if got.GetCode() != c.want.GetCode() || got.GetKind() != c.want.GetKind() || got.GetOrigin() != c.want.GetOrigin() {
			t.Errorf("%s: agent error = %v, want %v", name, got, c.want)
		}
	}
}

// typedOutputs keeps its task's output types in its metadata.
type typedOutputs struct{}

type typedMeta struct {
	Types agent.OutputTypes `json:"types"`
}

func (typedOutputs) Create(_ context.Context, task *agent.Task) (typedMeta, error) {
	return typedMeta{task.OutputTypes()}, nil
}

func (typedOutputs) Get(_ context.Context, job agent.Job[typedMeta]) (*agent.Resource, error) {
	return agent.Succeeded(agent.Outputs{"rows": []int{1, 2}}).WithOutputTypes(job.Meta.Types), nil
}

func (typedOutputs) Delete(context.Context, agent.Job[typedMeta]) error { return nil }

func TestAnAsyncAgentCanKeepItsTasksOutputTypes(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", typedOutputs{}))
	floats := &core.LiteralType{Type: &core.LiteralType_CollectionType{
		CollectionType: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_FLOAT}},
	}}
	result := client.RunTask(t.Context(), agenttest.Task{Type: "query", OutputTypes: agent.OutputTypes{"rows": floats}})
	if got := fmt.Sprintf("%#v", result.Outputs["rows"]); got != "[]interface {}{1, 2}" || result.Outputs["rows"].([]any)[0] != 1.0 {
		t.Errorf("rows = %s", got)
	}
	untyped := client.RunTask(t.Context(), agenttest.Task{Type: "query"})
	if untyped.Outputs["rows"].([]any)[0] != int64(1) {
		t.Errorf("without an interface rows = %#v", untyped.Outputs["rows"])
	}
	wrong := client.Job(agent.Category{Name: "query"}, []byte(`{"types": {"other": {"simple": "FLOAT", "newField": 1}}}`))
	ended, err := wrong.Get(t.Context())
	if err != nil || ended.Phase != agent.PhaseFailed || ended.Message != "output other is declared but missing" || ended.Resource.GetAgentError().GetCode() != "BadOutputs" {
		t.Errorf("outputs that do not fit are %+v, %v: at the next poll they would be the same", ended, err)
	}
}

// observed is an agent with logs and metrics.
type observed struct {
	funcs
	gate chan struct{}
}

func (o observed) Logs(ctx context.Context, job agent.Job[meta], query agent.LogQuery, out *agent.LogStream) error {
	if query.Token == "boom" {
		panic("no log")
	}
	if err := out.Send(agent.LogLine{Time: time.Unix(1, 2000), Message: job.Meta.ID + " begins", Originator: agent.OriginatorSystem}); err != nil {
		return err
	}
	select {
	case <-o.gate:
	case <-ctx.Done():
		return ctx.Err()
	}
	if err := out.Send(agent.LogLine{Message: "one"}, agent.LogLine{Message: "two"}); err != nil {
		return err
	}
	return out.NextToken("page2")
}

func (observed) Metrics(_ context.Context, _ agent.Job[meta], query agent.MetricsQuery) ([]*core.ExecutionMetricResult, error) {
	data, err := structpb.NewStruct(map[string]any{"step": query.Step.String(), "start": query.Start.Unix(), "open": query.End.IsZero()})
	return []*core.ExecutionMetricResult{{Metric: query.Queries[0], Data: data}}, err
}

func TestLogLinesReachTheCallerWhileTheJobStillWritesThem(t *testing.T) {
	gate := make(chan struct{})
	client := agenttest.Run(t, agent.Async("query", observed{gate: gate}))
	job := client.Job(agent.Category{Name: "query"}, []byte(`{"id":"j1"}`))
	var lines []agent.LogLine
	var token string
	err := job.FollowLogs(t.Context(), agent.LogQuery{}, func(sent []agent.LogLine, next string) bool {
		if lines == nil {
			close(gate) // Only the first line, already here, lets the agent go on.
		}
		lines, token = append(lines, sent...), next
		return true
	})
	if err != nil || len(lines) != 3 || token != "page2" {
		t.Fatalf("lines = %v, token %q, %v", lines, token, err)
	}
	first := lines[0]
	if first.Message != "j1 begins" || first.Originator != agent.OriginatorSystem || !first.Time.Equal(time.Unix(1, 2000)) {
		t.Errorf("first line = %+v", first)
	}
	if lines[2].Message != "two" || !lines[2].Time.IsZero() {
		t.Errorf("last line = %+v", lines[2])
	}
}

func TestLogsAlsoComeInTheDeprecatedForm(t *testing.T) {
	gate := make(chan struct{})
	close(gate)
	client := agenttest.Run(t, agent.Async("query", observed{gate: gate}))
	stream, err := service.NewAsyncAgentServiceClient(client.Conn()).GetTaskLogs(t.Context(),
		&admin.GetTaskLogsRequest{TaskType: "query", ResourceMeta: []byte(`{"id":"j1"}`)})
	if err != nil {
		t.Fatal(err)
	}
	part, err := stream.Recv()
	if err != nil || fmt.Sprint(part.GetBody().GetResults()) != "[j1 begins]" {
		t.Errorf("part = %v, %v", part, err)
	}
	for err == nil {
		_, err = stream.Recv()
	}
}

func TestALogThatNobodyReadsAnyMoreEnds(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", observed{gate: make(chan struct{})}))
	job := client.Job(agent.Category{Name: "query"}, []byte(`{"id":"j1"}`))
	if err := job.FollowLogs(t.Context(), agent.LogQuery{}, func([]agent.LogLine, string) bool { return false }); err != nil {
		t.Error(err)
	}
	// The test's end stops the plugin, which waits for the call, and goleak sees what is left.
}

func TestLogsAndMetricsAreGuardedAndOptional(t *testing.T) {
	client := agenttest.Run(t, agent.Async("query", observed{}), agent.Async("plain", funcs{}))
	job := client.Job(agent.Category{Name: "query"}, []byte(`{"id":"j1"}`))
	_, _, err := job.Logs(t.Context(), agent.LogQuery{Token: "boom"})
	wantStatus(t, err, codes.Internal, "agent query (task category query) panicked in Logs: no log")
	results, err := job.Metrics(t.Context(), agent.MetricsQuery{Queries: []string{"CPU"}, Start: time.Unix(5, 0), Step: time.Minute})
	if err != nil || results[0].GetMetric() != "CPU" || results[0].GetData().GetFields()["step"].GetStringValue() != "1m0s" ||
		results[0].GetData().GetFields()["start"].GetNumberValue() != 5 || !results[0].GetData().GetFields()["open"].GetBoolValue() {
		t.Errorf("metrics = %v, %v", results, err)
	}
	plain := client.Job(agent.Category{Name: "plain"}, []byte("{}"))
	_, _, err = plain.Logs(t.Context(), agent.LogQuery{})
	wantStatus(t, err, codes.Unimplemented, "agent plain", "no logs")
	_, err = plain.Metrics(t.Context(), agent.MetricsQuery{})
	wantStatus(t, err, codes.Unimplemented, "agent plain", "no metrics")
}

func TestGetCarriesTheOutputPrefixThatNewerFlytesSend(t *testing.T) {
	var got agent.Job[meta]
	client := agenttest.Run(t, agent.Async("query", funcs{get: func(_ context.Context, job agent.Job[meta]) (*agent.Resource, error) {
		got = job
		return agent.Succeeded(nil), nil
	}}))
	job := client.Job(agent.Category{Name: "query", Version: 3}, []byte("{}"))
	job.OutputPrefix = "s3://b/out"
	result, err := job.Get(t.Context())
	if err != nil || got.OutputPrefix != "s3://b/out" || got.Category != (agent.Category{Name: "query", Version: 3}) || got.Connection != nil {
		t.Errorf("job = %+v, %v", got, err)
	}
	if result.Outputs != nil {
		t.Errorf("outputs that the job wrote itself are sent: %v", result.Outputs)
	}
}

func TestLargeMessagesPassBothWays(t *testing.T) {
	large := strings.Repeat("x", 20<<20)
	client := agenttest.Run(t, agent.Sync("echo", syncFunc(func(_ context.Context, task *agent.Task) (*agent.Resource, error) {
		text, err := agent.Input[string](task, "text")
		return agent.Succeeded(agent.Outputs{"text": text}), err
	})))
	result := client.RunTask(t.Context(), agenttest.Task{Type: "echo", Inputs: map[string]any{"text": large}})
	if result.Outputs["text"] != large {
		t.Error("20 MiB came back different")
	}
}
