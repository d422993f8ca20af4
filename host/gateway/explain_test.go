package gateway

import (
	"bytes"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/jobs"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/host/route"
)

// executionOf is the execution of the requests of attempt.
func executionOf(request *admin.CreateTaskRequest) jobs.Execution {
	id := request.GetTaskExecutionMetadata().GetTaskExecutionId().GetNodeExecutionId().GetExecutionId()
	return jobs.Execution{Project: id.GetProject(), Domain: id.GetDomain(), Name: id.GetName()}
}

// rows are the calls about a task in short.
func rows(t Task) string {
	text := ""
	for _, c := range t.Calls {
		who := "nobody"
		if c.Generation != "" {
			who = c.Generation
		}
		text += fmt.Sprintf("%d %s %s by %s", c.Count, c.Method, codes.Code(c.Code), who)
		if c.Late {
			text += " late"
		}
		if c.Hidden != 0 {
			text += fmt.Sprintf(" hidden %s", codes.Code(c.Hidden))
		}
		guarantee.Set(c.Applied).Each(func(id guarantee.ID) { text += " " + id.String() })
		text += "; "
	}
	return text
}

func TestWhatBecameOfATaskIsRememberedCallByCall(t *testing.T) {
	agent := startAgent(t, script(
		answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")}),
		inPhase(core.TaskExecution_QUEUED, "in line"), inPhase(core.TaskExecution_RUNNING, "at it"),
		func(*received, grpc.ServerStream) error { return status.Error(codes.Unavailable, "quota") },
		inPhase(core.TaskExecution_SUCCEEDED, "done"),
		answering(&admin.DeleteTaskResponse{}),
	))
	f := startClaims(t, nil, agent.claims(usual, asyncAgent("x")))
	request := attempt("x", 2)
	meta := f.create(t, request)
	for range 4 {
		if _, err := f.poll(soon(t), pollOf(meta, request)); err != nil {
			t.Fatal(err)
		}
	}
	if _, err := f.call(soon(t), async1+"DeleteTask", &admin.DeleteTaskRequest{ResourceMeta: meta, TaskCategory: &admin.TaskCategory{Name: "x"}}); err != nil {
		t.Fatal(err)
	}

	found := f.gateway.TasksOf(executionOf(request))
	if len(found) != 1 {
		t.Fatalf("%d tasks are remembered of one", len(found))
	}
	task, g := found[0], "generation of echo"
	want := fmt.Sprintf("1 CreateTask OK by %[1]s; 3 GetTask OK by %[1]s; 1 GetTask OK by %[1]s hidden Unavailable G5; 1 DeleteTask OK by %[1]s; ", g)
	if got := rows(task); got != want {
		t.Errorf(" got %s\nwant %s", got, want)
	}
	if task.Retry != 2 || task.Type != "x" || !task.Ended || task.Status == nil || task.Status.Phase != core.TaskExecution_SUCCEEDED || !strings.Contains(task.Calls[2].Reason, "quota") {
		t.Errorf("%+v, status %+v", task.Remembered, task.Status)
	}
	if by := f.gateway.Asked(meta, ""); len(by.Tasks) != 1 || by.Tasks[0].Name != task.Name || by.Form != Bare || by.TaskType != "x" || !by.Served {
		t.Errorf("by its resource_meta: %+v", by)
	}
}

func TestJobsAreCountedWhileTheyRunWithWhatSavedThem(t *testing.T) {
	agent := startAgent(t, script(
		answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job 1")}), answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job 2")}),
		inPhase(core.TaskExecution_RUNNING, "at it"),
		func(*received, grpc.ServerStream) error { return status.Error(codes.Unavailable, "quota") },
		inPhase(core.TaskExecution_SUCCEEDED, "done"),
		answering(&admin.DeleteTaskResponse{}),
	))
	f := startClaims(t, nil, agent.claims(usual, asyncAgent("x")))
	counted := func() jobs.Count {
		all, full := f.gateway.Jobs()
		if len(all) != 1 || full || all[0].Owner != (jobs.Owner{Plugin: "echo", Generation: "generation of echo"}) {
			t.Fatalf("%+v, full: %v", all, full)
		}
		return all[0]
	}
	first, second := attempt("x", 0), attempt("x", 1)
	one, two := f.create(t, first), f.create(t, second)
	if got := counted(); got.Running != 2 || time.Since(got.Oldest) > 2*time.Minute {
		t.Errorf("two were made: %+v", got)
	}
	for range 2 {
		if _, err := f.poll(soon(t), pollOf(one, first)); err != nil {
			t.Fatal(err)
		}
	}
	if got := counted(); got.Running != 2 || got.Saved[guarantee.LastKnownStatus] != 1 {
		t.Errorf("one was polled in vain: %+v", got)
	}
	if _, err := f.poll(soon(t), pollOf(one, first)); err != nil {
		t.Fatal(err)
	}
	if got := counted(); got.Running != 1 || got.Saved[guarantee.LastKnownStatus] != 1 {
		t.Errorf("one has ended: %+v", got)
	}
	if _, err := f.call(soon(t), async1+"DeleteTask", &admin.DeleteTaskRequest{ResourceMeta: two, TaskCategory: &admin.TaskCategory{Name: "x"}}); err != nil {
		t.Fatal(err)
	}
	if got := counted(); got.Running != 0 || !got.Oldest.IsZero() {
		t.Errorf("the other was deleted: %+v", got)
	}
}

func TestATaskThatNoPluginServesIsRemembered(t *testing.T) {
	agent := startAgent(t, answering(&admin.CreateTaskResponse{}))
	f := startClaims(t, nil, agent.claims(usual, asyncAgent("bigquery")))
	request := attempt("bigquerry", 0)
	if _, err := f.call(soon(t), async1+"CreateTask", request); status.Code(err) != codes.NotFound {
		t.Fatal(err)
	}
	found := f.gateway.TasksOf(executionOf(request))
	if len(found) != 1 || rows(found[0]) != "1 CreateTask NotFound by nobody; " {
		t.Errorf("%+v", found)
	}
	p := f.gateway.Prospect(Question{Category: plugin.Category{Name: "bigquerry"}})
	if p.Served || p.Nearest != "bigquery" || p.Starting || p.Removed != nil {
		t.Errorf("%+v", p)
	}
}

func TestATaskOnRecordSaysWhatItWaitsForAndWhoMadeItsJob(t *testing.T) {
	inBubble(t, nil, func(t *testing.T, _ *cloud, one, two *replica) {
		one.link.set(false)
		two.link.set(false)
		request := attempt("x", 0)
		meta, err := one.create(request)
		if err != nil {
			t.Fatal(err)
		}
		task := one.TasksOf(executionOf(request))[0]
		if !task.UnderWay || !task.OnRecord || !strings.Contains(task.Waits, "finder") || rows(task) != "1 CreateTask OK by nobody G15; " {
			t.Errorf("while it waits: %s, %+v", rows(task), task)
		}
		if p := one.Prospect(Question{Category: plugin.Category{Name: "x"}}); !p.OnRecord || p.HereOnly || len(p.Waits) != 1 || p.Waits[0].On != "plugin" || !p.Masked {
			t.Errorf("another one: %+v", p)
		}
		// The other replica has not seen its creation, and reads from the record which task it is.
		two.link.set(true)
		two.mustPoll(t, meta, request, core.TaskExecution_RUNNING, "")
		found := two.TasksOf(executionOf(request))
		if len(found) != 1 || !strings.Contains(rows(found[0]), "1 CreateTask OK by g1 late") {
			t.Errorf("at the other replica: %+v", found)
		}
		asked := two.Asked(meta, "")
		if asked.Form != Recorded || asked.Task == nil || asked.Task.Name != executionOf(request).Name || asked.Plugin != "finder" || len(asked.Tasks) != 1 {
			t.Errorf("by its resource_meta: %+v", asked)
		}
	})
}

func TestANewTaskWaitsForWhatCallsWaitFor(t *testing.T) {
	agent := startMaker(t)
	f := startClaims(t, nil, agent.claims(route.Policy{Concurrency: 1, Wait: time.Minute, Rate: 0.001, Burst: 1}, asyncAgent("x")))
	asked := Question{Category: plugin.Category{Name: "x"}}
	if p := f.gateway.Prospect(asked); len(p.Waits) != 0 || !p.Served || p.Refused != "" {
		t.Fatalf("nothing is under way: %+v", p)
	}
	done := make(chan struct{})
	go func() {
		defer close(done)
		f.create(t, attempt("x", 0))
	}()
	<-agent.reached
	p := f.gateway.Prospect(asked)
	if len(p.Waits) != 2 || p.Waits[0].On != "concurrency" || p.Waits[1].On != "rate" {
		t.Errorf("%+v", p.Waits)
	}
	task := f.gateway.TasksOf(executionOf(attempt("x", 0)))[0]
	if !task.UnderWay || task.OnRecord || len(task.Calls) != 0 {
		t.Errorf("the one that is under way: %+v", task)
	}
	agent.proceed <- struct{}{}
	<-done
	if p := f.gateway.Prospect(asked); len(p.Waits) != 1 || p.Waits[0].On != "rate" {
		t.Errorf("after it: %+v", p.Waits)
	}
}

func TestTheBytesOfAMetaSayWhoseItIs(t *testing.T) {
	keys, others := sharedKeys, mustKeys(record.NewKey())
	enveloped := envelope{plugin: "bigquery", generation: "g7", meta: []byte("own")}
	sealed := record.Seal{TaskType: "sql", Project: "shop", Domain: "production", Meta: enveloped.seal(keys)}
	onRecord := record.Record{Plugin: "bigquery", Accepted: time.UnixMilli(1_700_000_000_000), Request: frameOf(attempt("sql", 3)).bytes()}
	for promise, c := range map[string]struct {
		meta []byte
		keys *record.Keys
		want string
	}{
		"a plugin's own":                    {[]byte(`{"job": 1}`), keys, "bare  "},
		"nothing":                           {nil, keys, "bare  "},
		"signed":                            {enveloped.seal(keys), keys, "envelope bigquery g7 genuine own"},
		"signed by another":                 {enveloped.seal(others), keys, "envelope bigquery g7 own"},
		"signed, and there are no keys":     {enveloped.seal(keys), nil, "envelope bigquery g7 own"},
		"not signed":                        {enveloped.seal(nil), keys, "envelope bigquery g7 own"},
		"sealed":                            {sealed.Seal(keys), keys, "envelope bigquery g7 genuine sql/shop/production own"},
		"sealed with another key":           {sealed.Seal(others), keys, "sealed   " + record.ErrForeign.Error()},
		"sealed, and there are no keys":     {sealed.Seal(keys), nil, "sealed   " + errNoKeys.Error()},
		"a record":                          {onRecord.Seal(keys), keys, "record bigquery  sql/p/d e 3"},
		"a record of another key":           {onRecord.Seal(others), keys, "record   " + record.ErrForeign.Error()},
		"a record that was changed":         {append(onRecord.Seal(keys), 0), keys, "record   " + record.ErrBroken.Error()},
		"a record in a seal":                {record.Seal{TaskType: "sql", Project: "p", Domain: "d", Meta: onRecord.Seal(keys)}.Seal(keys), keys, "record bigquery  sql/p/d e 3"},
		"an envelope of a newer host":       {[]byte("\xffagenthost\x09…"), keys, "newer   " + record.ErrNewer.Error()},
		"an envelope that was cut is bytes": {enveloped.seal(keys)[:20], keys, "bare  "},
	} {
		t.Run(promise, func(t *testing.T) {
			m := ReadMeta(c.keys, c.meta)
			got := fmt.Sprint(m.Form, " ", m.Plugin, " ", m.Generation)
			if m.Genuine {
				got += " genuine"
			}
			if m.TaskType != "" {
				got += fmt.Sprintf(" %s/%s/%s", m.TaskType, m.Project, m.Domain)
			}
			if m.Task != nil {
				got += fmt.Sprintf(" %s %d", m.Task.Name, m.Task.Retry)
			}
			if m.Unreadable != nil {
				got += " " + m.Unreadable.Error()
			}
			if m.Form == Enveloped {
				got += " " + string(m.Own)
			}
			if got != c.want {
				t.Errorf(" got %q\nwant %q", got, c.want)
			}
		})
	}
}

// Nobody knows what people find and ask about.
func FuzzReadMeta(f *testing.F) {
	keys := sharedKeys
	e := envelope{plugin: "p", generation: "g", meta: []byte("own")}
	f.Add(e.seal(keys))
	f.Add(e.seal(nil))
	f.Add(record.Seal{TaskType: "x", Meta: e.seal(keys)}.Seal(keys))
	f.Add(record.Record{Plugin: "p", Request: frameOf(attempt("x", 0)).bytes()}.Seal(keys))
	f.Add([]byte("job 1"))
	f.Fuzz(func(t *testing.T, meta []byte) {
		before := bytes.Clone(meta)
		for _, with := range []*record.Keys{keys, nil} {
			m := ReadMeta(with, meta)
			if (m.Form == Newer || m.Form == Closed) != (m.Unreadable != nil && m.Form != Recorded) {
				t.Errorf("%s with %v", m.Form, m.Unreadable)
			}
			if m.Genuine && with == nil {
				t.Error("without keys nothing is known to be genuine")
			}
			if m.Form == Bare && !bytes.Equal(m.Own, meta) && !m.Sealed {
				t.Errorf("bare bytes %q are read as %q", meta, m.Own)
			}
		}
		if !bytes.Equal(before, meta) {
			t.Error("reading has changed the bytes")
		}
	})
}
