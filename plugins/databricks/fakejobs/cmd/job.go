package main

import (
	"encoding/json"
	"fmt"
	"net/http"
	"os"
	"path/filepath"
	"slices"
	"strconv"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/plugins/databricks/fakejobs"
)

// job is what a run is to do that was submitted with the arguments --output-prefix FOLDER --number N --text TEXT: it writes the outputs
// number, which is N*N+1, and text, which is TEXT backwards, as a task of flytekit's would. Other runs are none, and do nothing.
type job struct {
	folder string
	number int64
	text   string
}

func jobOf(body map[string]any) *job {
	program, _ := body["spark_python_task"].(map[string]any)
	parameters, _ := program["parameters"].([]any)
	given := map[string]string{}
	for pair := range slices.Chunk(parameters, 2) {
		if len(pair) == 2 {
			given[fmt.Sprint(pair[0])] = fmt.Sprint(pair[1])
		}
	}
	number, err := strconv.ParseInt(given["--number"], 10, 64)
	if err != nil || given["--output-prefix"] == "" {
		return nil
	}
	backwards := []rune(given["--text"])
	slices.Reverse(backwards)
	return &job{folder: given["--output-prefix"], number: number*number + 1, text: string(backwards)}
}

func (j *job) run() error {
	if j == nil {
		return nil
	}
	literal := func(primitive *core.Primitive) *core.Literal {
		return &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Primitive{Primitive: primitive}}}}
	}
	content, err := proto.Marshal(&core.LiteralMap{Literals: map[string]*core.Literal{
		"number": literal(&core.Primitive{Value: &core.Primitive_Integer{Integer: j.number}}),
		"text":   literal(&core.Primitive{Value: &core.Primitive_StringValue{StringValue: j.text}}),
	}})
	if err != nil {
		return err
	}
	if err := os.MkdirAll(j.folder, 0o700); err != nil {
		return err
	}
	return os.WriteFile(filepath.Join(j.folder, "outputs.pb"), content, 0o600)
}

// answering tells, besides being the workspace, what the jobs answered.
func answering(workspace *fakejobs.Server) http.Handler {
	mux := http.NewServeMux()
	mux.Handle("/", workspace)
	mux.HandleFunc("GET /answers", func(w http.ResponseWriter, _ *http.Request) {
		answers := map[string][]string{}
		for id, body := range workspace.Submitted() {
			if j := jobOf(body); j != nil {
				answers[strconv.FormatInt(id, 10)] = []string{strconv.FormatInt(j.number, 10), j.text}
			}
		}
		_ = json.NewEncoder(w).Encode(answers) // The caller may be gone.
	})
	return mux
}
