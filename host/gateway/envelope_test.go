package gateway

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/proto/fields"
	"github.com/agenthost/agenthost/test/propeller/traces"
)

func TestWhatIsPutIntoAnEnvelopeComesOutOfIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		in := envelope{
			plugin:     rapid.String().Draw(t, "plugin"),
			generation: rapid.String().Draw(t, "generation"),
			meta:       rapid.SliceOf(rapid.Byte()).Draw(t, "meta"),
		}
		sealedMeta := in.seal(nil)
		out, ok := open(sealedMeta, nil)
		if !ok || out.plugin != in.plugin || out.generation != in.generation || !bytes.Equal(out.meta, in.meta) {
			t.Fatalf("%+v came out as %+v (%v)", in, out, ok)
		}
		nested, ok := open(envelope{plugin: "outer", meta: sealedMeta}.seal(nil), nil)
		if !ok || !bytes.Equal(nested.meta, sealedMeta) {
			t.Fatal("an envelope in an envelope came out changed")
		}
		// Cut, extended or changed anywhere, it is none.
		broken := bytes.Clone(sealedMeta)
		broken[rapid.IntRange(0, len(broken)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		for _, other := range [][]byte{broken, sealedMeta[:rapid.IntRange(0, len(sealedMeta)-1).Draw(t, "length")], append(bytes.Clone(sealedMeta), 0)} {
			if e, ok := open(other, nil); ok {
				t.Fatalf("%x was opened as %+v", other, e)
			}
		}
	})
}

func TestWhatIsSignedIsGenuineForWhoHasTheKeyAndIsReadByAll(t *testing.T) {
	others := mustKeys(record.NewKey())
	rapid.Check(t, func(t *rapid.T) {
		in := envelope{
			plugin:     rapid.String().Draw(t, "plugin"),
			generation: rapid.String().Draw(t, "generation"),
			meta:       rapid.SliceOf(rapid.Byte()).Draw(t, "meta"),
		}
		signed := in.seal(sharedKeys)
		for keys, genuine := range map[*record.Keys]bool{sharedKeys: true, others: false, nil: false} {
			out, ok := open(signed, keys)
			if !ok || out.plugin != in.plugin || out.generation != in.generation || !bytes.Equal(out.meta, in.meta) || out.genuine != genuine {
				t.Fatalf("%+v came out as %+v (%v), genuine should be %v", in, out, ok, genuine)
			}
		}
		if again := in.seal(sharedKeys); !bytes.Equal(again, signed) {
			t.Fatal("it has another name each time")
		}
		broken := bytes.Clone(signed)
		broken[rapid.IntRange(0, len(broken)-1).Draw(t, "at")] ^= byte(rapid.IntRange(1, 255).Draw(t, "by"))
		for _, other := range [][]byte{broken, signed[:rapid.IntRange(0, len(signed)-1).Draw(t, "length")], append(bytes.Clone(signed), 0)} {
			if e, ok := open(other, sharedKeys); ok && e.genuine {
				t.Fatalf("%x counts as genuine: %+v", other, e)
			}
		}
	})
}

// A caller can make up an envelope. With keys that replicas share it chooses nothing: the call goes where it goes with the bytes
// in it alone, which anybody can send. Where no host could have signed for all, or for as long as the configuration says, it chooses a plugin,
// as project and domain do, and never a generation.
func TestAnEnvelopeThatACallerMakesUpChoosesNothing(t *testing.T) {
	category := &admin.TaskCategory{Name: "x"}
	foreign := mustKeys(record.NewKey())
	for name, test := range map[string]struct {
		creation Creation
		chooses  bool
	}{
		"replicas with keys": {Creation{}, false},
		"until yesterday":    {Creation{UnsignedPinsUntil: time.Now().Add(-time.Hour)}, false},
		"until tomorrow":     {Creation{UnsignedPinsUntil: time.Now().Add(time.Hour)}, true},
		"one host":           {Creation{Local: true}, true},
		"no keys":            {Creation{Keys: func() *record.Keys { return nil }}, true},
	} {
		t.Run(name, func(t *testing.T) {
			agents := map[string]*agentServer{}
			var claims []route.Claim
			for _, plugin := range []string{"usual", "victim"} {
				agent := startAgent(t, answering(running))
				agent.name = plugin
				agents[plugin] = agent
				claims = append(claims, agent.claims(usual, asyncAgent("x")))
			}
			table, conflicts := route.Rules{{Task: "x", Domain: "production", Plugin: "victim"}}.Table(claims...)
			if len(conflicts) > 0 {
				t.Fatal(conflicts)
			}
			f := startWith(t, Options{Creation: test.creation})
			f.routes.Publish(table)
			made := envelope{plugin: "victim", generation: "old", meta: []byte("job 1")}
			forged := made.seal(foreign)
			plain := made.seal(nil)
			for _, meta := range [][]byte{plain, forged} {
				for _, agent := range agents {
					agent.received, agent.wanted = nil, nil
				}
				for method, message := range map[string]proto.Message{
					"GetTask": &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: category}, "DeleteTask": &admin.DeleteTaskRequest{ResourceMeta: meta, TaskCategory: category},
					"GetTaskLogs": &admin.GetTaskLogsRequest{ResourceMeta: meta, TaskCategory: category},
				} {
					_, _ = f.callRaw(soon(t), async1+method, frameOf(message).bytes())
				}
				if got := len(agents["victim"].received) > 0; got != test.chooses || len(agents["usual"].received)+len(agents["victim"].received) != 3 {
					t.Errorf("the victim got %d calls, the usual plugin %d", len(agents["victim"].received), len(agents["usual"].received))
				}
				for _, agent := range agents {
					for i, call := range agent.received {
						if meta, _, err := fields.Take(call.frames[0], jobMeta); err != nil || string(meta) != "job 1" {
							t.Errorf("%s got %q, %v", agent.name, meta, err)
						}
						if agent.wanted[i].Generation != "" {
							t.Errorf("it chose generation %q", agent.wanted[i].Generation)
						}
					}
				}
			}
		})
	}
}

func TestWhatPluginsUseAsMetaIsNoEnvelope(t *testing.T) {
	metas := [][]byte{nil, {}, []byte(`{"job": 1}`), []byte("job 1"), {0x80, 4, 0x95}, {0x80, 5}, []byte("(dp0\n."), envelopeMark,
		{0xff}, {0xff, 0xfe, '{', 0}, frameOf(get("x")).bytes()}
	for _, flyte := range []int{1, 2} {
		for _, trace := range traces.Load(flyte) {
			metas = append(metas, trace.ResourceMeta)
			for _, calls := range trace.Requests("GetTask") {
				info, err := readPoll(calls[0])
				if err != nil {
					t.Fatal(err)
				}
				metas = append(metas, info.meta)
			}
		}
	}
	for _, meta := range metas {
		if e, ok := open(meta, sharedKeys); ok {
			t.Errorf("%x was opened as %+v", meta, e)
		}
	}
	// No protobuf message begins with the mark, whatever follows.
	if _, _, n := protowire.ConsumeTag(envelopeMark); n > 0 {
		if length := protowire.ConsumeFieldValue(1, protowire.Type(envelopeMark[0]&7), envelopeMark[n:]); length >= 0 {
			t.Error("the mark can be read as a field")
		}
	}
}

func FuzzOpen(f *testing.F) {
	f.Add(envelope{plugin: "bigquery", generation: "g1", meta: []byte("job 1")}.seal(nil))
	f.Add(envelope{}.seal(nil))
	f.Add(envelope{plugin: "bigquery", generation: "g1", meta: []byte("job 1")}.seal(mustKeys(record.NewKey())))
	f.Add(append(bytes.Clone(envelopeMark), 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 0x80, 1))
	f.Add([]byte(`{"job": 1}`))
	f.Fuzz(func(t *testing.T, meta []byte) {
		before := bytes.Clone(meta)
		e, ok := open(meta, sharedKeys)
		if ok && !bytes.Equal(e.seal(nil), meta) && !bytes.HasPrefix(meta, e.appendTo(signedMark, 0)) {
			t.Errorf("%x was opened as %+v, which is sealed as %x", meta, e, e.seal(nil))
		}
		if ok && e.genuine {
			t.Errorf("%x counts as genuine", meta)
		}
		if !bytes.Equal(meta, before) {
			t.Errorf("opening changed %x to %x", before, meta)
		}
		// Any meta at all survives the way to Flyte and back.
		if again, ok := open(envelope{plugin: "p", generation: "g", meta: meta}.seal(nil), nil); !ok || !bytes.Equal(again.meta, meta) {
			t.Errorf("%x came back as %x (%v)", meta, again.meta, ok)
		}
		// And a request with it keeps all else.
		request := append(frameOf(&admin.GetTaskRequest{TaskType: "t", TaskCategory: &admin.TaskCategory{Name: "x"}}).bytes(), 0xfa, 0x3f, 1, 'n')
		wrapped, err := fields.Set(request, jobMeta, meta)
		if err != nil {
			t.Fatal(err)
		}
		info, err := readPoll(wrapped)
		if err != nil || !bytes.Equal(info.meta, meta) || !bytes.HasPrefix(wrapped, request) {
			t.Errorf("%x became %x: %v", request, wrapped, err)
		}
	})
}

// pinnedFront is a gateway in front of a plugin whose jobs are pinned.
func pinnedFront(t *testing.T, name string, answer func(*received, grpc.ServerStream) error, categories ...plugin.Category) (*front, *agentServer) {
	t.Helper()
	agent := startAgent(t, func(call *received, stream grpc.ServerStream) error {
		if strings.HasSuffix(call.method, "CreateTask") {
			return stream.SendMsg(frameOf(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")}))
		}
		return answer(call, stream)
	})
	agent.name = name
	claim := agent.claims(usual, plugin.Agent{Name: name, Categories: categories})
	claim.Pinned = true
	return startClaims(t, nil, claim), agent
}

// A rollout may begin between a call's look at the table and its lease.
func TestAJobThatACanaryMakesIsPinnedWhateverTheTableSaid(t *testing.T) {
	agent := startAgent(t, answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")}))
	target := restarting{leases: make(chan route.Lease, 1)}
	target.leases <- route.Lease{Generation: "canary", Pin: true, Conn: agent.conn, Release: func() {}}
	meta := startGateway(t, target, asyncAgent("x")).create(t, create("x"))
	if e, ok := open(meta, sharedKeys); !ok || e.plugin != "restarting" || e.generation != "canary" || string(e.meta) != "job 1" {
		t.Errorf("Flyte got %q", meta)
	}
}

func TestAPinnedJobIsPolledWhereItWasMadeByEveryMethod(t *testing.T) {
	x := plugin.Category{Name: "x"}
	f, made := pinnedFront(t, "maker", answering(running), x)
	meta := f.create(t, create("x"))
	if e, ok := open(meta, sharedKeys); !ok || e.plugin != "maker" || e.generation != "generation of maker" || string(e.meta) != "job 1" {
		t.Fatalf("Flyte got %q", meta)
	}
	if len(meta) > 70 {
		t.Errorf("%d bytes for 5", len(meta))
	}

	// Another plugin serves the category now, and the maker another version of it.
	other := startAgent(t, answering(running))
	other.name = "other"
	f.publishBy(t, route.Rules{{Task: "x", Domain: "elsewhere", Plugin: "maker"}}, other.claims(usual, asyncAgent("x")),
		made.claims(usual, plugin.Agent{Name: "old", Categories: []plugin.Category{{Name: "x", Version: -1}}}))
	category := &admin.TaskCategory{Name: "x"}
	unknown := []byte{0xfa, 0x3f, 3, 'n', 'e', 'w'}
	for _, service := range []string{async1, async2} {
		for method, message := range map[string]proto.Message{
			"GetTask":        &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: category},
			"DeleteTask":     &admin.DeleteTaskRequest{ResourceMeta: meta, TaskCategory: category},
			"GetTaskMetrics": &admin.GetTaskMetricsRequest{ResourceMeta: meta, TaskCategory: category, Queries: []string{"q"}},
			"GetTaskLogs":    &admin.GetTaskLogsRequest{ResourceMeta: meta, TaskCategory: category, Lines: 7, Token: "tok"},
		} {
			made.received, made.wanted = nil, nil
			request := append(frameOf(message).bytes(), unknown...)
			if _, err := f.callRaw(soon(t), service+method, request); err != nil {
				t.Errorf("%s%s: %v", service, method, err)
				continue
			}
			got := made.only(t).frames[0]
			if want := made.wanted; len(want) != 1 || want[0].Generation != "generation of maker" || want[0].New {
				t.Errorf("%s%s wanted %+v", service, method, want)
			}
			gotMeta, gotRest, err := fields.Take(got, jobMeta)
			_, sentRest, sentErr := fields.Take(request, jobMeta)
			if err := errors.Join(err, sentErr); err != nil || string(gotMeta) != "job 1" || !bytes.Equal(gotRest, sentRest) {
				t.Errorf("%s%s: %x arrived as %x, %v", service, method, request, got, err)
			}
		}
	}
	if len(other.received) > 0 {
		t.Errorf("the other plugin got %d calls", len(other.received))
	}
}

func TestAPinnedJobWhosePluginIsGoneGoesByItsCategory(t *testing.T) {
	f, _ := pinnedFront(t, "maker", answering(running), plugin.Category{Name: "x"})
	meta := f.create(t, create("x"))
	heir := startAgent(t, answering(running))
	heir.name = "heir"
	f.publish(t, heir.claims(route.Policy{}, asyncAgent("x"))) // which does not pin
	if _, err := f.poll(soon(t), &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "x"}}); err != nil {
		t.Fatal(err)
	}
	got := &admin.GetTaskRequest{}
	if err := proto.Unmarshal(heir.only(t).frames[0], got); err != nil || string(got.GetResourceMeta()) != "job 1" {
		t.Errorf("the heir got %v, %v", got, err)
	}
	if want := heir.wanted[0]; want.Generation != "" {
		t.Errorf("it was asked for another plugin's generation %q", want.Generation)
	}
}

func TestAPinnedPluginTakesMetasFromBeforeItWasPinned(t *testing.T) {
	f, agent := pinnedFront(t, "maker", answering(running), plugin.Category{Name: "x"})
	request := frameOf(get("x")).bytes()
	if _, err := f.callRaw(soon(t), async1+"GetTask", request); err != nil {
		t.Fatal(err)
	}
	if got := agent.only(t).frames[0]; !bytes.Equal(got, request) {
		t.Errorf("%x arrived as %x", request, got)
	}
}

// Another replica of the host, or this one after its restart, knows of the job only what Flyte brings.
func TestAPinnedJobIsFoundThroughAnyReplica(t *testing.T) {
	f, agent := pinnedFront(t, "maker", answering(running), plugin.Category{Name: "x"})
	meta := f.create(t, create("x"))
	replica := startClaims(t, nil, agent.claims(usual, asyncAgent("x")))
	agent.received = nil
	if _, err := replica.poll(soon(t), &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "x"}}); err != nil {
		t.Fatal(err)
	}
	if info, err := readPoll(agent.only(t).frames[0]); err != nil || string(info.meta) != "job 1" {
		t.Errorf("%+v, %v", info, err)
	}
}

// A host behind a host: what the inner one pinned is the outer one's to carry, not to open.
func TestAPluginThatIsAHostGetsItsOwnEnvelopesBack(t *testing.T) {
	inner := envelope{plugin: "outer's plugin, by chance", generation: "g", meta: []byte("job 1")}.seal(nil)
	agent := startAgent(t, func(call *received, stream grpc.ServerStream) error {
		if strings.HasSuffix(call.method, "CreateTask") {
			return stream.SendMsg(frameOf(&admin.CreateTaskResponse{ResourceMeta: inner}))
		}
		return stream.SendMsg(frameOf(running))
	})
	f := startClaims(t, nil, agent.claims(usual, asyncAgent("x"))) // not pinned
	meta := f.create(t, create("x"))
	agent.received = nil
	if _, err := f.poll(soon(t), &admin.GetTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "x"}}); err != nil {
		t.Fatal(err)
	}
	if info, err := readPoll(agent.only(t).frames[0]); err != nil || !bytes.Equal(info.meta, inner) {
		t.Errorf("%q came back as %q, %v", inner, info.meta, err)
	}
}

func TestRulesSendNewJobsByProjectAndDomainAndTheirPollsFollow(t *testing.T) {
	claims := map[string]*agentServer{}
	var all []route.Claim
	for _, name := range []string{"prod", "dev"} {
		agent := startAgent(t, func(call *received, stream grpc.ServerStream) error {
			if strings.HasSuffix(call.method, "CreateTask") {
				return stream.SendMsg(frameOf(&admin.CreateTaskResponse{ResourceMeta: []byte("job of " + name)}))
			}
			return stream.SendMsg(frameOf(running))
		})
		agent.name = name
		claims[name] = agent
		all = append(all, agent.claims(usual, asyncAgent("x")))
	}
	table, conflicts := route.Rules{{Task: "x", Domain: "development", Plugin: "dev"}}.Table(all...)
	if len(conflicts) > 0 {
		t.Fatal(conflicts)
	}
	f := startClaims(t, nil)
	f.routes.Publish(table)
	for domain, name := range map[string]string{"development": "dev", "production": "prod"} {
		request := attempt("x", 0)
		request.TaskExecutionMetadata.TaskExecutionId.NodeExecutionId.ExecutionId.Domain = domain
		meta := f.create(t, request)
		if _, err := f.call(soon(t), async2+"DeleteTask", &admin.DeleteTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "x"}}); err != nil {
			t.Error(err)
		}
		agent := claims[name]
		if agent.calls("CreateTask") != 1 || agent.calls("DeleteTask") != 1 {
			t.Errorf("%s: %s got %d and %d calls", domain, name, agent.calls("CreateTask"), agent.calls("DeleteTask"))
		}
	}
}

func TestAnUnroutableTaskNamesItsProjectAndDomain(t *testing.T) {
	dev := startAgent(t, failing(codes.Internal))
	dev.name = "dev"
	table, _ := route.Rules{{Task: "x", Domain: "development", Plugin: "dev"}}.Table(dev.claims(usual, asyncAgent("x")))
	f := startClaims(t, nil)
	f.routes.Publish(table)
	if _, err := f.call(soon(t), async1+"CreateTask", attempt("x", 0)); err == nil || !strings.Contains(err.Error(), `domain "d"`) {
		t.Errorf("got %v", err)
	}
}
