package traces_test

import (
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"slices"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/test/propeller/traces"
)

func TestEveryFileIsLoaded(t *testing.T) {
	for flyte, folder := range map[int]string{1: "flyte1", 2: "flyte2"} {
		files, err := filepath.Glob(filepath.Join(folder, "*.json"))
		if err != nil {
			t.Fatal(err)
		}
		loaded := traces.Load(flyte)
		want := len(files)
		if flyte == 2 {
			want-- // discovery, which is of another kind
		}
		if len(loaded) != want || want < 30 {
			t.Errorf("Flyte %d: %d traces are loaded of %d", flyte, len(loaded), want)
		}
		for _, trace := range loaded {
			if len(trace.Phases) == 0 || trace.ObservedFor == 0 || trace.TaskType == "" {
				t.Errorf("Flyte %d: %s is hollow: %+v", flyte, trace.Name, trace)
			}
		}
	}
	if discovery := traces.LoadDiscovery(); discovery.NumberOfCalls == 0 || len(discovery.Calls) == 0 {
		t.Errorf("discovery is hollow: %+v", discovery)
	}
}

func TestAFileIsReadAsItStands(t *testing.T) {
	seconds := func(s traces.Seconds) float64 { return s.Duration().Seconds() }
	raw := map[string]any{}
	data, err := os.ReadFile("flyte2/exec-retryable-delete-fails.json")
	if err != nil {
		t.Fatal(err)
	}
	if err := json.Unmarshal(data, &raw); err != nil {
		t.Fatal(err)
	}
	all := traces.Load(2)
	at := slices.IndexFunc(all, func(t traces.Trace) bool { return t.Name == "exec-retryable-delete-fails" })
	trace := all[at]
	calls := raw["calls"].([]any)
	if len(trace.Calls) != len(calls) {
		t.Fatalf("%d calls of %d", len(trace.Calls), len(calls))
	}
	for i, call := range trace.Calls {
		recorded := calls[i].(map[string]any)
		if call.Method != recorded["method"] || seconds(call.DeadlineLeft) != recorded["deadline_left_s"] {
			t.Errorf("call %d: %+v, recorded %v", i, call, recorded)
		}
		frames, _ := recorded["request_frames_base64"].([]any)
		if len(frames) != len(call.Frames) {
			t.Errorf("call %d: %d frames of %d", i, len(call.Frames), len(frames))
		}
		for j, frame := range frames {
			if base64.StdEncoding.EncodeToString(call.Frames[j]) != frame {
				t.Errorf("call %d: frame %d differs", i, j)
			}
		}
	}
	if trace.Retries != 1 || len(trace.DeleteReplies) != 3 || trace.DeleteReplies[0].GRPCCode != "UNAVAILABLE" {
		t.Errorf("%+v", trace)
	}
}

func TestRequestsDecodeInBothGenerations(t *testing.T) {
	requests := map[string]func() proto.Message{
		"CreateTask":      func() proto.Message { return &admin.CreateTaskRequest{} },
		"GetTask":         func() proto.Message { return &admin.GetTaskRequest{} },
		"DeleteTask":      func() proto.Message { return &admin.DeleteTaskRequest{} },
		"ExecuteTaskSync": func() proto.Message { return &admin.ExecuteTaskSyncRequest{} },
	}
	decoded := 0
	for flyte := 1; flyte <= 2; flyte++ {
		for _, trace := range traces.Load(flyte) {
			for method, empty := range requests {
				for _, frames := range trace.Requests(method) {
					for _, frame := range frames {
						if err := proto.Unmarshal(frame, empty()); err != nil {
							t.Errorf("Flyte %d: %s: %s: %v", flyte, trace.Name, method, err)
						}
						decoded++
					}
				}
			}
		}
	}
	if decoded < 150 {
		t.Errorf("only %d frames were recorded", decoded)
	}
}
