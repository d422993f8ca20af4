package gateway

import (
	"bytes"
	"context"
	"errors"
	"io"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/prometheus/client_golang/prometheus"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/credentials"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/peer"
	"google.golang.org/grpc/reflection/grpc_reflection_v1"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/access"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/state"
	"github.com/agenthost/agenthost/proto/fields"
	"github.com/agenthost/agenthost/test/identity"
	"github.com/agenthost/agenthost/test/wait"
)

// guarded is a gateway on a socket with TLS, whose callers an issuer knows.
type guarded struct {
	*front
	guard     *access.Guard
	issuer    *identity.Issuer
	authority *identity.Authority
	keys      *record.Keys
	creation  Creation
}

// startGuarded starts one under rules, with plugins.
func startGuarded(t *testing.T, rules []config.AccessRule, change func(*Options), claims ...route.Claim) *guarded {
	t.Helper()
	g := &guarded{issuer: identity.NewIssuer(t), authority: identity.NewAuthority(t), keys: testKeys(t)()}
	g.guard = access.New(g.policy(rules), slog.New(slog.DiscardHandler))
	t.Cleanup(g.guard.Close)
	if err := g.guard.Tried(t.Context()); err != nil {
		t.Fatal(err)
	}
	cert, key := g.authority.Issue(t, time.Now().Add(time.Hour), "localhost").Write(t, t.TempDir())
	certificates, err := access.LoadCertificates(config.ListenTLS{Cert: cert, Key: key}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	g.creation = DefaultCreation()
	g.creation.OnRecord, g.creation.Keys = true, func() *record.Keys { return g.keys }
	g.front = &front{routes: &route.Current{}, registry: prometheus.NewRegistry()}
	g.publish(t, claims...)
	options := Options{
		Routes: g.routes, MaxMessageSize: 64 << 20, Log: slog.New(slog.DiscardHandler), Metrics: g.registry,
		Access: g.guard, Credentials: certificates.Credentials(), Creation: g.creation,
	}
	if change != nil {
		change(&options)
	}
	g.gateway = New(options)
	g.gateway.SetReady(true)
	t.Cleanup(func() { g.gateway.Shutdown(t.Context()) })
	g.address = serveOn(t, g.gateway.Server())
	g.conn = g.dial(t)
	return g
}

func (g *guarded) policy(rules []config.AccessRule) config.Access {
	return config.Access{Issuers: []config.Issuer{g.issuer.Settings("agenthost")}, Rules: rules, ClockSkew: time.Minute}
}

func (g *guarded) dial(t *testing.T, pairs ...identity.Pair) *grpc.ClientConn {
	t.Helper()
	settings := g.authority.Client(t, pairs...)
	settings.ServerName = "localhost"
	conn, err := grpc.NewClient(g.address, grpc.WithTransportCredentials(credentials.NewTLS(settings)))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = conn.Close() })
	return conn
}

// as is the context of calls of somebody; of nobody if empty.
func (g *guarded) as(t *testing.T, subject string) context.Context {
	t.Helper()
	if subject == "" {
		return soon(t)
	}
	return metadata.AppendToOutgoingContext(soon(t), "authorization", "Bearer "+g.issuer.Token(t, subject, "agenthost", nil))
}

func (g *guarded) createAs(t *testing.T, subject, service string, request *admin.CreateTaskRequest) ([]byte, error) {
	t.Helper()
	ctx, cancel := context.WithTimeout(g.as(t, subject), 3*time.Second)
	defer cancel()
	raw, err := g.call(ctx, service+"CreateTask", request)
	response := &admin.CreateTaskResponse{}
	if err == nil {
		err = proto.Unmarshal(raw, response)
	}
	return response.GetResourceMeta(), err
}

// in is an attempt in a project; each has one of another number.
func in(project string, retry uint32) *admin.CreateTaskRequest {
	request := attempt("x", retry)
	request.TaskExecutionMetadata.TaskExecutionId.NodeExecutionId.ExecutionId.Project = project
	return request
}

// ofTwoTeams lets team one and two do anything, each in its project, and ops look at all.
var ofTwoTeams = []config.AccessRule{
	{Subject: "one", May: []string{"run", "poll", "delete"}, Projects: []string{"one"}},
	{Subject: "two", May: []string{"run", "poll", "delete"}, Projects: []string{"two*"}, Domains: []string{"d"}},
	{Subject: "*", May: []string{"list"}, TaskTypes: []string{"x"}},
	{Subject: "ops", May: []string{"poll", "list"}},
	{Subject: "any project", May: []string{"poll"}, Projects: []string{"*"}},
}

// aboutJob are the calls about a job.
func aboutJob(taskType string, meta []byte) map[string]proto.Message {
	category := &admin.TaskCategory{Name: taskType}
	return map[string]proto.Message{
		"GetTask":        &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: category},
		"GetTaskMetrics": &admin.GetTaskMetricsRequest{ResourceMeta: meta, TaskCategory: category},
		"GetTaskLogs":    &admin.GetTaskLogsRequest{ResourceMeta: meta, TaskCategory: category},
		"DeleteTask":     &admin.DeleteTaskRequest{ResourceMeta: meta, TaskCategory: category},
	}
}

// ask makes a call, of a stream its first message.
func (g *guarded) ask(ctx context.Context, method string, message proto.Message) error {
	if !strings.HasSuffix(method, "GetTaskLogs") {
		_, err := g.call(ctx, method, message)
		return err
	}
	stream, err := g.conn.NewStream(ctx, &grpc.StreamDesc{ServerStreams: true}, method, grpc.ForceCodecV2(frameCodec))
	if err == nil {
		err = errors.Join(stream.SendMsg(frameOf(message)), stream.CloseSend())
	}
	if err == nil {
		if err = stream.RecvMsg(&frame{}); errors.Is(err, io.EOF) {
			err = nil
		}
	}
	return err
}

// worker makes jobs and says that they run.
func worker(t *testing.T) *agentServer {
	t.Helper()
	return startAgent(t, func(call *received, stream grpc.ServerStream) error {
		switch {
		case strings.HasSuffix(call.method, "/CreateTask"):
			return stream.SendMsg(frameOf(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")}))
		case strings.HasSuffix(call.method, "/GetTask"):
			return stream.SendMsg(frameOf(running))
		}
		return stream.SendMsg(&frame{})
	})
}

func TestCallersMayWhatTheRulesSayByTheServicesOfBothFlytes(t *testing.T) {
	for generation, service := range map[string]string{"1": async1, "2": async2} {
		t.Run("Flyte "+generation, func(t *testing.T) {
			agent := worker(t)
			g := startGuarded(t, ofTwoTeams, nil, agent.claims(route.Policy{}, asyncAgent("x")))
			for subject, want := range map[string]codes.Code{"": codes.Unauthenticated, "two": codes.PermissionDenied, "ops": codes.PermissionDenied, "stranger": codes.PermissionDenied} {
				if _, err := g.createAs(t, subject, service, in("one", 0)); status.Code(err) != want {
					t.Errorf("%q creates in project one: %v", subject, err)
				}
			}
			if n := agent.calls("CreateTask"); n != 0 {
				t.Errorf("the plugin got %d creations that were refused", n)
			}
			meta, err := g.createAs(t, "one", service, in("one", 0))
			if err != nil || bytes.Contains(meta, []byte("job 1")) || !record.IsSealed(meta) {
				t.Fatalf("%q, %v", meta, err)
			}
			for subject, allowed := range map[string]string{"": "", "two": "", "stranger": "", "ops": "GetTask GetTaskMetrics GetTaskLogs", "one": "GetTask GetTaskMetrics GetTaskLogs DeleteTask"} {
				for method, request := range aboutJob("x", meta) {
					err := g.ask(g.as(t, subject), service+method, request)
					switch may := strings.Contains(" "+allowed+" ", " "+method+" "); {
					case may && err != nil, !may && subject == "" && status.Code(err) != codes.Unauthenticated, !may && subject != "" && status.Code(err) != codes.PermissionDenied:
						t.Errorf("%q, %s: %v", subject, method, err)
					}
				}
			}
			agent.mu.Lock()
			defer agent.mu.Unlock()
			for _, call := range agent.received {
				if !strings.HasSuffix(call.method, "/CreateTask") {
					if got, _, err := fields.Take(call.frames[0], jobMeta); err != nil || string(got) != "job 1" {
						t.Errorf("%s brought the plugin %q (%v), which it never gave", call.method, got, err)
					}
				}
				if shown := call.metadata.Get("authorization"); len(shown) > 0 {
					t.Errorf("%s brought the plugin its caller's token", call.method)
				}
			}
		})
	}
}

func TestDiscoveryTellsCallersWhatTheyMayKnowAndHealthTellsEverybody(t *testing.T) {
	agent := worker(t)
	g := startGuarded(t, ofTwoTeams, nil, agent.claims(route.Policy{}, asyncAgent("x"), asyncAgent("y")))
	if _, err := healthpb.NewHealthClient(g.conn).Check(soon(t), &healthpb.HealthCheckRequest{}); err != nil {
		t.Errorf("health: %v", err)
	}
	for subject, want := range map[string]string{"": "Unauthenticated", "one": "x", "ops": "x y"} {
		for _, method := range []string{"/flyteidl.service.AgentMetadataService/ListAgents", "/flyteidl2.connector.ConnectorMetadataService/ListConnectors"} {
			listed := &admin.ListAgentsResponse{}
			err := g.conn.Invoke(g.as(t, subject), method, &admin.ListAgentsRequest{}, listed)
			var names []string
			for _, a := range listed.GetAgents() {
				for _, category := range a.GetSupportedTaskCategories() {
					names = append(names, category.GetName())
				}
			}
			if err != nil {
				names = []string{status.Code(err).String()}
			}
			if got := strings.Join(names, " "); got != want {
				t.Errorf("%q, %s: %s, want %s", subject, method, got, want)
			}
		}
		for name, known := range map[string]bool{"x agent": true, "y agent": subject == "ops"} {
			err := g.conn.Invoke(g.as(t, subject), "/flyteidl.service.AgentMetadataService/GetAgent", &admin.GetAgentRequest{Name: name}, &admin.GetAgentResponse{})
			wanted := codes.OK
			if !known {
				wanted = codes.NotFound
			}
			if subject == "" {
				wanted = codes.Unauthenticated
			}
			if status.Code(err) != wanted {
				t.Errorf("%q asks for %s: %v", subject, name, err)
			}
		}
		reflected, err := grpc_reflection_v1.NewServerReflectionClient(g.conn).ServerReflectionInfo(g.as(t, subject))
		if err == nil {
			_ = reflected.Send(&grpc_reflection_v1.ServerReflectionRequest{MessageRequest: &grpc_reflection_v1.ServerReflectionRequest_ListServices{}})
			_, err = reflected.Recv()
		}
		if wanted := map[bool]codes.Code{true: codes.Unauthenticated, false: codes.OK}[subject == ""]; status.Code(err) != wanted {
			t.Errorf("%q reflects: %v", subject, err)
		}
	}
}

// sealedForms makes a job of each form that a resource_meta has, in project one.
func sealedForms(t *testing.T) map[string]struct {
	*guarded
	meta []byte
} {
	t.Helper()
	forms := map[string]struct {
		*guarded
		meta []byte
	}{}
	add := func(name string, change func(*Options), claim route.Claim) {
		g := startGuarded(t, ofTwoTeams, change, claim)
		meta, err := g.createAs(t, "one", async1, in("one", 0))
		if err != nil || !record.IsSealed(meta) {
			t.Fatalf("%s: %q, %v", name, meta, err)
		}
		inner, err := record.Unseal(g.keys, meta)
		if is := map[string]bool{
			"its own": string(inner.Meta) == "job 1", "pinned": bytes.HasPrefix(inner.Meta, signedMark), "on record": record.Is(inner.Meta), "ended": record.Is(inner.Meta), "for one host": record.Is(inner.Meta),
		}[name]; err != nil || !is {
			t.Fatalf("%s: %q is in the seal (%v)", name, inner.Meta, err)
		}
		forms[name] = struct {
			*guarded
			meta []byte
		}{g, meta}
	}
	add("its own", nil, worker(t).claims(usual, asyncAgent("x")))
	pinned := worker(t).claims(usual, asyncAgent("x"))
	pinned.Pinned = true
	add("pinned", nil, pinned)
	down := newLink(newCloud())
	down.set(false)
	add("on record", nil, route.Claim{Target: down, Policy: usual, Manifest: finding()})
	add("ended", nil, startAgent(t, answering(syncHeaderOf(&admin.Resource{Phase: core.TaskExecution_SUCCEEDED}))).claims(usual, syncAgent("x")))
	dir, err := state.Open(filepath.Join(t.TempDir(), "state"))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = dir.Close() })
	intents, err := record.OpenIntents(dir, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = intents.Close() })
	alone := newLink(newCloud())
	alone.set(false)
	add("for one host", func(options *Options) { options.Intents, options.Creation.Local = intents, true },
		route.Claim{Target: alone, Policy: usual, Manifest: plugin.Manifest{Agents: []plugin.Agent{asyncAgent("x")}}})
	return forms
}

func TestASealHoldsAJobOfAnyFormInItsProjectAndNobodyCanMakeOne(t *testing.T) {
	for name, form := range sealedForms(t) {
		t.Run(name, func(t *testing.T) {
			inner, err := record.Unseal(form.keys, form.meta)
			if err != nil {
				t.Fatal(err)
			}
			changed := bytes.Clone(form.meta)
			changed[len(changed)-1] ^= 1
			elsewhere := record.Seal{TaskType: "x", Project: "two", Domain: "d", Meta: inner.Meta}.Seal(testKeys(t)())
			foreign := append(bytes.Clone(form.meta[:len("\xffagenthost\x03")]), elsewhere[len("\xffagenthost\x03"):]...)
			poll := func(subject, taskType string, meta []byte) error {
				return form.ask(form.as(t, subject), async1+"GetTask", &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: taskType}})
			}
			for what, test := range map[string]struct {
				err  error
				want codes.Code
			}{
				"its own team":                 {poll("one", "x", form.meta), codes.OK},
				"ops":                          {poll("ops", "x", form.meta), codes.OK},
				"any project":                  {poll("any project", "x", form.meta), codes.OK},
				"the other team":               {poll("two", "x", form.meta), codes.PermissionDenied},
				"nobody":                       {poll("", "x", form.meta), codes.Unauthenticated},
				"another task type":            {poll("one", "z", form.meta), codes.PermissionDenied},
				"changed":                      {poll("one", "x", changed), codes.PermissionDenied},
				"changed, by ops":              {poll("ops", "x", changed), codes.PermissionDenied},
				"cut":                          {poll("one", "x", form.meta[:len(form.meta)-20]), codes.PermissionDenied},
				"the mark alone":               {poll("one", "x", form.meta[:len("\xffagenthost\x03")]), codes.PermissionDenied},
				"the other team by its delete": {form.ask(form.as(t, "two"), async2+"DeleteTask", &admin.DeleteTaskRequest{ResourceMeta: form.meta, TaskCategory: &admin.TaskCategory{Name: "x"}}), codes.PermissionDenied},
				// What other keys have sealed is told nothing of, but Flyte's count of failures is spared: this host may get them soon.
				"of other keys":           {poll("one", "x", foreign), codes.OK},
				"of other keys, stranger": {poll("stranger", "x", foreign), codes.PermissionDenied},
				"of other keys, deleted":  {form.ask(form.as(t, "one"), async1+"DeleteTask", &admin.DeleteTaskRequest{ResourceMeta: foreign, TaskCategory: &admin.TaskCategory{Name: "x"}}), codes.Unavailable},
			} {
				if status.Code(test.err) != test.want {
					t.Errorf("%s: %v, want %s", what, test.err, test.want)
				}
			}
			// Taken out of its seal, as a host without rules gave it to Flyte: only those who may do so everywhere, unless a record says where it is.
			wanted := codes.PermissionDenied
			if name == "on record" {
				wanted = codes.OK
			}
			if err := poll("one", "x", inner.Meta); status.Code(err) != wanted {
				t.Errorf("without its seal: %v, want %s", err, wanted)
			}
			if err := poll("any project", "x", inner.Meta); status.Code(err) != wanted {
				t.Errorf("without its seal, by one who may in any project: %v, want %s", err, wanted)
			}
			if err := poll("two", "x", inner.Meta); status.Code(err) != codes.PermissionDenied {
				t.Errorf("without its seal, by the other team: %v", err)
			}
			if err := poll("ops", "x", inner.Meta); err != nil {
				t.Errorf("without its seal, by ops: %v", err)
			}
		})
	}
}

func TestASealIsOpenedWhenThereAreNoRulesAnyMore(t *testing.T) {
	agent := worker(t)
	g := startGuarded(t, ofTwoTeams, nil, agent.claims(usual, asyncAgent("x")))
	meta, err := g.createAs(t, "one", async1, in("one", 0))
	if err != nil {
		t.Fatal(err)
	}
	again, err := g.createAs(t, "one", async2, in("one", 0)) // from memory, in a seal of its own
	if opened, unsealing := record.Unseal(g.keys, again); err != nil || unsealing != nil || string(opened.Meta) != "job 1" || bytes.Equal(again, meta) || agent.calls("CreateTask") != 1 {
		t.Errorf("repeated: %+v, %v, %v after %d creations", opened, err, unsealing, agent.calls("CreateTask"))
	}
	g.guard.Apply(config.Access{})
	if err := g.ask(soon(t), async1+"GetTask", aboutJob("x", meta)["GetTask"]); err != nil || agent.calls("GetTask") != 1 {
		t.Errorf("%v after %d polls", err, agent.calls("GetTask"))
	}
	if plain, err := g.createAs(t, "", async1, in("one", 1)); err != nil || string(plain) != "job 1" {
		t.Errorf("a new one: %q, %v", plain, err)
	}
}

func TestNothingIsBegunThatCannotBeSealed(t *testing.T) {
	agent := worker(t)
	g := startGuarded(t, ofTwoTeams, func(options *Options) { options.Creation.Keys = nil }, agent.claims(usual, asyncAgent("x")))
	if _, err := g.createAs(t, "one", async1, in("one", 0)); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "create.keys") || agent.calls("CreateTask") != 0 {
		t.Errorf("%v after %d creations", err, agent.calls("CreateTask"))
	}
}

func TestARequestThatCouldBeOfTwoTaskTypesIsRefused(t *testing.T) {
	rules := []config.AccessRule{{Subject: "one", May: []string{"run", "poll", "delete"}, TaskTypes: []string{"x"}}}
	agent := worker(t)
	syncs := startAgent(t, answering(syncHeaderOf(&admin.Resource{Phase: core.TaskExecution_SUCCEEDED})))
	syncs.name = "sync"
	g := startGuarded(t, rules, nil, agent.claims(usual, asyncAgent("y")), syncs.claims(usual, syncAgent("x")))
	request := &admin.GetTaskRequest{TaskType: "y", TaskCategory: &admin.TaskCategory{Name: "x"}, ResourceMeta: []byte("job 1")}
	if err := g.ask(g.as(t, "one"), async1+"GetTask", request); status.Code(err) != codes.InvalidArgument || !strings.Contains(err.Error(), "names two task types") {
		t.Errorf("a poll: %v", err)
	}
	header := func(taskType string) *frame {
		return frameOf(&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Header{Header: &admin.CreateRequestHeader{Template: &core.TaskTemplate{Type: taskType}}}})
	}
	inputs := frameOf(&admin.ExecuteTaskSyncRequest{Part: &admin.ExecuteTaskSyncRequest_Inputs{Inputs: &core.LiteralMap{}}})
	for _, test := range []struct {
		frames []*frame
		want   codes.Code
	}{
		{[]*frame{header("x"), inputs, inputs}, codes.OK},
		{[]*frame{header("x"), inputs, header("y")}, codes.InvalidArgument},
		{[]*frame{header("y")}, codes.PermissionDenied},
	} {
		stream, err := g.conn.NewStream(g.as(t, "one"), &grpc.StreamDesc{ServerStreams: true, ClientStreams: true}, syncCalls, grpc.ForceCodecV2(frameCodec))
		if err != nil {
			t.Fatal(err)
		}
		for _, f := range test.frames {
			_ = stream.SendMsg(f) // the answer says why, if it fails
		}
		_ = stream.CloseSend()
		if err := stream.RecvMsg(&frame{}); status.Code(err) != test.want {
			t.Errorf("%d messages: %v, want %s", len(test.frames), err, test.want)
		}
	}
}

func TestCallersAreKnownByTheirCertificates(t *testing.T) {
	authority, strangers := identity.NewAuthority(t), identity.NewAuthority(t)
	cert, key := authority.Issue(t, time.Now().Add(time.Hour), "localhost").Write(t, t.TempDir())
	own := authority.Issue(t, time.Now().Add(time.Hour), "spiffe://cluster/ns/flyte/sa/propeller")
	rules := config.Access{Rules: []config.AccessRule{
		{Certificate: "spiffe://cluster/ns/flyte/*", May: []string{"poll"}}, {Anyone: true, May: []string{"poll"}, TaskTypes: []string{"free"}},
	}}
	for name, test := range map[string]struct {
		asked string
		pairs []identity.Pair
		want  [2]codes.Code // of task types x and free
	}{
		"required, shown":       {config.Require, []identity.Pair{own}, [2]codes.Code{codes.OK, codes.OK}},
		"required, not shown":   {config.Require, nil, [2]codes.Code{codes.Unavailable, codes.Unavailable}},
		"required, foreign":     {config.Require, []identity.Pair{strangers.Issue(t, time.Now().Add(time.Hour), "spiffe://cluster/ns/flyte/sa/propeller")}, [2]codes.Code{codes.Unavailable, codes.Unavailable}},
		"required, expired":     {config.Require, []identity.Pair{authority.Issue(t, time.Now().Add(-time.Minute), "spiffe://cluster/ns/flyte/sa/propeller")}, [2]codes.Code{codes.Unavailable, codes.Unavailable}},
		"required, of another":  {config.Require, []identity.Pair{authority.Issue(t, time.Now().Add(time.Hour), "spiffe://cluster/ns/other/sa/x")}, [2]codes.Code{codes.PermissionDenied, codes.OK}},
		"optional, shown":       {config.Optional, []identity.Pair{own}, [2]codes.Code{codes.OK, codes.OK}},
		"optional, not shown":   {config.Optional, nil, [2]codes.Code{codes.Unauthenticated, codes.OK}},
		"optional, shown wrong": {config.Optional, []identity.Pair{strangers.Issue(t, time.Now().Add(time.Hour), "x")}, [2]codes.Code{codes.Unavailable, codes.Unavailable}},
	} {
		t.Run(name, func(t *testing.T) {
			certificates, err := access.LoadCertificates(config.ListenTLS{Cert: cert, Key: key, ClientCA: authority.File(t), ClientCertificates: test.asked}, slog.New(slog.DiscardHandler))
			if err != nil {
				t.Fatal(err)
			}
			guard := access.New(rules, slog.New(slog.DiscardHandler))
			t.Cleanup(guard.Close)
			g := startGuarded(t, nil, func(options *Options) { options.Access, options.Credentials = guard, certificates.Credentials() },
				worker(t).claims(route.Policy{}, asyncAgent("x"), asyncAgent("free")))
			g.authority = authority
			conn := g.dial(t, test.pairs...)
			for i, taskType := range []string{"x", "free"} {
				if err := conn.Invoke(soon(t), async1+"GetTask", aboutJob(taskType, []byte("job 1"))["GetTask"], &admin.GetTaskResponse{}); status.Code(err) != test.want[i] {
					t.Errorf("%s: %v, want %s", taskType, err, test.want[i])
				}
			}
		})
	}
}

func TestCertificatesRotateUnderLoadWithoutAFailedCall(t *testing.T) {
	authority := identity.NewAuthority(t)
	dir := t.TempDir()
	cert, key := authority.Issue(t, time.Now().Add(time.Hour), "localhost", "CN=0").Write(t, dir)
	certificates, err := access.LoadCertificates(config.ListenTLS{Cert: cert, Key: key}, slog.New(slog.DiscardHandler))
	if err != nil {
		t.Fatal(err)
	}
	agent := worker(t)
	agent.forgetful = true
	g := startGuarded(t, nil, func(options *Options) {
		options.Access, options.Credentials, options.MaxConnectionAge = nil, certificates.Credentials(), 300*time.Millisecond // and connections end all the time
	}, agent.claims(route.Policy{}, asyncAgent("x")))
	g.authority = authority
	stop := make(chan struct{})
	var calls atomic.Int64
	var all sync.WaitGroup
	call := func(conn *grpc.ClientConn) string {
		var from peer.Peer
		if err := conn.Invoke(soon(t), async1+"GetTask", get("x"), &admin.GetTaskResponse{}, grpc.Peer(&from)); err != nil {
			t.Errorf("after %d calls: %v", calls.Load(), err)
			return ""
		}
		calls.Add(1)
		info, ok := from.AuthInfo.(credentials.TLSInfo)
		if !ok {
			t.Error("the call was not over TLS")
			return ""
		}
		return info.State.PeerCertificates[0].Subject.CommonName
	}
	for range 4 {
		conn := g.dial(t)
		all.Go(func() {
			for {
				select {
				case <-stop:
					return
				default:
					call(conn)
				}
			}
		})
	}
	for round, write := range []func(identity.Pair){
		func(p identity.Pair) { p.Write(t, dir) },
		func(p identity.Pair) { // half of it first
			if err := os.WriteFile(cert, p.Cert, 0o600); err != nil {
				t.Error(err)
			}
			certificates.Reread()
			if certificates.Problem() == "" {
				t.Error("half a pair is taken for one")
			}
			call(g.dial(t))
			p.Write(t, dir)
		},
		func(p identity.Pair) { p.Write(t, dir) },
	} {
		name := string(rune('1' + round))
		write(authority.Issue(t, time.Now().Add(time.Hour), "localhost", "CN="+name))
		certificates.Reread()
		if got := call(g.dial(t)); got != name {
			t.Errorf("a new connection sees the certificate of %q, want %s", got, name)
		}
		before := calls.Load()
		wait.Until(t, "calls go on", func() bool { return calls.Load() > before+500 || t.Failed() })
	}
	close(stop)
	all.Wait()
}
