package gateway

import (
	"testing"
	"unicode/utf8"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/plugin"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/test/propeller/traces"
)

// Whatever bytes come, reading them ends without a panic; and where protobuf takes the bytes for a request, the host
// reads the same category and attempt from them as protobuf does.
func FuzzReadRequests(f *testing.F) {
	for _, flyte := range []int{1, 2} {
		for _, trace := range traces.Load(flyte) {
			for _, call := range trace.Calls {
				if len(call.Frames) > 0 {
					f.Add(call.Frames[0])
				}
			}
		}
	}
	f.Add([]byte{0x12, 2, 0x12, 0x7f})
	// A template in two parts, and a type that overrides an earlier one.
	f.Add([]byte{0x12, 3, 0x12, 1, 'a', 0x12, 5, 0x12, 1, 'b', 0x38, 7})
	f.Fuzz(func(t *testing.T, message []byte) {
		read, err := readCreate(message)
		var create admin.CreateTaskRequest
		if proto.Unmarshal(message, &create) == nil {
			want := plugin.Category{Name: create.GetTemplate().GetType(), Version: create.GetTemplate().GetTaskTypeVersion()}
			compare(t, read, err, want)
			if attempt := pluginv1.IdempotencyKey(create.GetTaskExecutionMetadata().GetTaskExecutionId(), create.GetOutputPrefix()); err == nil && read.attempt != attempt {
				t.Errorf("read attempt %q, protobuf reads %q", read.attempt, attempt)
			}
		}

		read, err = readSync(message)
		var sync admin.ExecuteTaskSyncRequest
		if proto.Unmarshal(message, &sync) == nil && sync.GetHeader() != nil {
			header := sync.GetHeader()
			compare(t, read, err, plugin.Category{Name: header.GetTemplate().GetType(), Version: header.GetTemplate().GetTaskTypeVersion()})
			if attempt := pluginv1.IdempotencyKey(header.GetTaskExecutionMetadata().GetTaskExecutionId(), header.GetOutputPrefix()); err == nil && read.attempt != attempt {
				t.Errorf("read attempt %q, protobuf reads %q", read.attempt, attempt)
			}
		}

		read, err = readJob(getTaskCategory)(message)
		var get admin.GetTaskRequest
		if proto.Unmarshal(message, &get) == nil {
			want := plugin.Category{Name: get.GetTaskCategory().GetName(), Version: get.GetTaskCategory().GetVersion()}
			if want.Name == "" {
				want.Name = get.GetTaskType()
			}
			compare(t, read, err, want)
		}

		checkNormalized(t, message)
	})
}

// checkNormalized holds a normalized answer to GetTask to what protobuf reads in it: there is a phase, and whatever the host
// has no business with is as it was.
func checkNormalized(t *testing.T, message []byte) {
	t.Helper()
	answer, err := normalizeGet(message, "p", guarantee.Every())
	normalized := answer.message
	var before, after admin.GetTaskResponse
	if err != nil || proto.Unmarshal(message, &before) != nil {
		return
	}
	if err := proto.Unmarshal(normalized, &after); err != nil {
		t.Fatalf("%x became %x: %v", message, normalized, err)
	}
	if after.GetResource().GetPhase() == core.TaskExecution_UNDEFINED {
		t.Errorf("%x became %x, without a phase", message, normalized)
	}
	for _, response := range []*admin.GetTaskResponse{&before, &after} {
		if response.Resource == nil {
			response.Resource = &admin.Resource{}
		}
		response.Resource.Phase, response.Resource.Message = 0, ""
	}
	if !proto.Equal(&before, &after) {
		t.Errorf("%x became %x: other fields changed", message, normalized)
	}
}

func compare(t *testing.T, read requestInfo, err error, want plugin.Category) {
	t.Helper()
	switch {
	case want.Name == "" && err == nil:
		t.Errorf("read %v where protobuf reads no name", read.category)
	case want.Name != "" && err != nil && utf8.ValidString(want.Name):
		t.Errorf("protobuf reads %v, the host says %v", want, err)
	case err == nil && read.category != want:
		t.Errorf("read %v, protobuf reads %v", read.category, want)
	}
}

// Flyte 1 before task categories sent task_type alone.
func TestTheDeprecatedTaskTypeRoutesWhereThereIsNoCategory(t *testing.T) {
	message, err := proto.Marshal(&admin.GetTaskRequest{TaskType: "spark"})
	if err != nil {
		t.Fatal(err)
	}
	read, err := readJob(getTaskCategory)(message)
	if err != nil || read.category.Name != "spark" || !read.hasTaskType {
		t.Errorf("read %+v, %v", read, err)
	}
}
