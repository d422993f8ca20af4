package systems

import (
	"math"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/propeller"
)

// openai is a server of OpenAI's API, and either plugin for it.
func openai(t *testing.T) (s sides, system *held, api *inference) {
	t.Helper()
	api = infer(t)
	isPoll := func(r *http.Request) bool {
		return r.Method == http.MethodGet && strings.HasPrefix(r.URL.Path, "/v1/batches/")
	}
	system = hold(t, api.url, isPoll, `"status":"completed"`, `"status":"in_progress"`)
	secrets := map[string]any{"flyte_openai_api_key": secretFile(t, api.key)}
	s = sides{
		ours: map[string]any{
			"command": []string{hosttest.Rust(t, "openai")},
			"config":  map[string]any{"base_url": system.url + "/v1"},
			"secrets": secrets,
		},
		theirs: map[string]any{
			"command": []string{filepath.Join(venv(t, "connectors"), "agenthost-flytekit"), "--task-types", "chatgpt,openai-batch"},
			"env":     map[string]any{"OPENAI_BASE_URL": system.url + "/v1"},
			"secrets": secrets,
		},
		secrets:  []string{api.key},
		volatile: regexp.MustCompile(`batch_[0-9]+|file-[0-9]+|"(created|completed)_at":[0-9]+`),
		failing: map[string]string{
			"whole-number": "expected an integer, but got 64.0",
		},
		intended: map[string]string{
			"whole-number: phase":     "flytekit's connector sends 64.0 where the task says 64, which OpenAI refuses",
			"whole-number: outputs":   "likewise",
			"no-file: phase":          "as wrong-type",
			"wrong-type: phase":       "flytekit's connector raises, and Flyte repeats what can never succeed",
			"system-message: outputs": "flytekit's connector throws the messages of a chatgpt_config away",
		},
	}
	return s, system, api
}

// openaiTasks are the tasks of the types. The files that they are about are uploaded first, by flytekit's own task for it.
func openaiTasks(t *testing.T, api *inference, types ...string) []task {
	t.Helper()
	t.Setenv("OPENAI_BASE_URL", api.url+"/v1")
	t.Setenv("_FSEC_OPENAI_KEY", api.key)
	var tasks []task
	for _, k := range compile(t, venv(t, "connectors"), "openai_tasks") {
		if slices.Contains(types, k.template.GetType()) {
			tasks = append(tasks, k)
		}
	}
	return tasks
}

func TestOpenAITasksSeeNoDifference(t *testing.T) {
	s, system, api := openai(t)
	system.released.Store(true)
	s.compare(t, openaiTasks(t, api, "chatgpt", "openai-batch"))
}

func TestOpenAIBatchesOfFlytekitsConnectorAreFinishedByOurs(t *testing.T) {
	s, system, api := openai(t)
	s.swap(t, succeeding(openaiTasks(t, api, "openai-batch")), 5, system, api.made)
}

func TestCreateBatchGetsItsAnswersInBothFlytes(t *testing.T) {
	s, system, api := openai(t)
	system.released.Store(true)
	tasks := slices.DeleteFunc(openaiTasks(t, api, "openai-batch"), func(k task) bool { return k.Fails != "" })
	h := startHost(t, one("system", s.ours))
	want := `{"q-1": "The capital of France is Paris."}
{"e-1": 384, "e-2": 384}
{"q-1": "The capital of France is Paris."}`
	for _, flyte := range []propeller.Flyte{propeller.V1, propeller.V2} {
		results := runTasks(t, h, flyte, tasks)
		if t.Failed() {
			return
		}
		got := answers(t, results["batch"], results["batch-of-embeddings"], results["batch-of-bad-requests"])
		if got != want {
			t.Errorf("Flyte %d: flytekit's task that fetches the answers got\n%s\nwant\n%s", flyte, got, want)
		}
	}
}

// answers are those of batches, which flytekit's own task has fetched: a line for each batch.
func answers(t *testing.T, results ...propeller.Result) string {
	t.Helper()
	fetch := exec.Command(filepath.Join(venv(t, "connectors"), "python"), "flytekit/openai_answers.py")
	for _, result := range results {
		file := filepath.Join(t.TempDir(), "outputs.pb")
		content, err := proto.Marshal(result.Outputs)
		if err == nil {
			err = os.WriteFile(file, content, 0o600)
		}
		if err != nil {
			t.Fatal(err)
		}
		fetch.Args = append(fetch.Args, file)
	}
	return strings.TrimSpace(tool(t, fetch))
}

func TestEmbeddingsOfARealModelReachFlyte(t *testing.T) {
	s, _, api := openai(t)
	results := runTasks(t, startHost(t, one("system", s.ours)), propeller.V1, openaiTasks(t, api, "openai-embeddings"))
	if t.Failed() {
		return
	}
	var vectors [][]float64
	for _, vector := range results["texts"].Outputs.GetLiterals()["embeddings"].GetCollection().GetLiterals() {
		vectors = append(vectors, floats(vector))
	}
	if one := floats(results["text"].Outputs.GetLiterals()["embedding"]); len(vectors) != 3 || len(one) != 384 {
		t.Fatalf("%d vectors, and one of %d numbers", len(vectors), len(one))
	}
	cat, rates, kitten := vectors[0], vectors[1], vectors[2]
	if near, far := likeness(cat, kitten), likeness(cat, rates); near < far+0.02 {
		t.Errorf("what means the same is %f alike, and what does not %f", near, far)
	}
}

// floats reads a list[float].
func floats(list *core.Literal) []float64 {
	var values []float64
	for _, literal := range list.GetCollection().GetLiterals() {
		values = append(values, literal.GetScalar().GetPrimitive().GetFloatValue())
	}
	return values
}

// likeness is the cosine of the angle between two vectors.
func likeness(a, b []float64) float64 {
	var ab, aa, bb float64
	for i := range a {
		ab, aa, bb = ab+a[i]*b[i], aa+a[i]*a[i], bb+b[i]*b[i]
	}
	return ab / math.Sqrt(aa*bb)
}
