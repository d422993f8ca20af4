package fakejobs_test

import (
	"encoding/json"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"strconv"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/plugins/databricks/fakejobs"
)

type caller struct {
	*testing.T
	server *fakejobs.Server
}

func newCaller(t *testing.T) caller {
	return caller{t, fakejobs.New(fakejobs.Options{
		Tokens: map[string]string{"dapi-a": "ada", "dapi-b": "bob"}, Principals: map[string]string{"robot": "s3cret"},
	})}
}

// call calls an endpoint as somebody, and returns the status and the answer.
func (c caller) call(token, method, path, body string) (int, map[string]any) {
	c.Helper()
	request := httptest.NewRequest(method, path, strings.NewReader(body))
	if token != "" {
		request.Header.Set("Authorization", "Bearer "+token)
	}
	return c.do(request)
}

func (c caller) do(request *http.Request) (int, map[string]any) {
	c.Helper()
	recorder := httptest.NewRecorder()
	c.server.ServeHTTP(recorder, request)
	data, err := io.ReadAll(recorder.Body)
	var answer map[string]any
	if err != nil || json.Unmarshal(data, &answer) != nil {
		c.Fatalf("%s is no JSON: %v", data, err)
	}
	return recorder.Code, answer
}

func (c caller) submit(body string) (int, map[string]any) {
	return c.call("dapi-a", "POST", "/api/2.1/jobs/runs/submit", body)
}

const cluster = `{"spark_version": "15.4.x-scala2.12", "node_type_id": "n", "num_workers": 1}`

func TestWhatTheDocumentationAllowsIsTaken(t *testing.T) {
	for _, body := range []string{
		`{"existing_cluster_id": "1", "spark_python_task": {"python_file": "dbfs:/job.py", "parameters": ["a"]}}`,
		`{"new_cluster": ` + cluster + `, "notebook_task": {"notebook_path": "/Users/a/n"}, "timeout_seconds": 60.0}`,
		`{"tasks": [{"task_key": "a", "existing_cluster_id": "1", "notebook_task": {"notebook_path": "n"}}],
		  "git_source": {"git_url": "https://g", "git_provider": "gitHub", "git_branch": "main"}}`,
		`{"tasks": [{"task_key": "a", "environment_key": "e", "spark_python_task": {"python_file": "/job.py"}}],
		  "environments": [{"environment_key": "e", "spec": {"client": "1", "environment_vars": {"A": "b"}}}], "queue": {"enabled": true}}`,
		`{"tasks": [{"task_key": "a", "condition_task": {"op": "EQUAL_TO", "left": "1", "right": "1"}}]}`,
	} {
		if code, answer := newCaller(t).submit(body); code != 200 || answer["run_id"] == nil {
			t.Errorf("%s: %d %v", body, code, answer)
		}
	}
}

func TestWhatTheDocumentationForbidsIsRefused(t *testing.T) {
	python := `"spark_python_task": {"python_file": "/job.py"}`
	for body, reason := range map[string]string{
		`{`:       "Could not parse",
		`[]`:      "Could not parse",
		`{}`:      "at least one task",
		`{"a":1}`: "unknown field a",
		`{"new_cluster": ` + cluster + `, "existing_cluster_id": "1", ` + python + `}`: "only one of existing_cluster_id, new_cluster",
		`{` + python + `}`:                                                                                                    "one of existing_cluster_id",
		`{"existing_cluster_id": 7, ` + python + `}`:                                                                          "existing_cluster_id must be a string",
		`{"existing_cluster_id": "1"}`:                                                                                        "exactly one kind of task",
		`{"existing_cluster_id": "1", "spark_python_task": {}}`:                                                               "python_file is required",
		`{"existing_cluster_id": "1", "timeout_seconds": 1.5, ` + python + `}`:                                                "timeout_seconds must be an integer",
		`{"new_cluster": {"node_type_id": "n", "num_workers": 1}, ` + python + `}`:                                            "spark_version is required",
		`{"new_cluster": {"spark_version": "15", "num_workers": 1}, ` + python + `}`:                                          "node_type_id",
		`{"new_cluster": {"spark_version": "15", "node_type_id": "n"}, ` + python + `}`:                                       "num_workers or autoscale",
		`{"new_cluster": {"spark_version": "15", "spark_conf": {"a": 1}}, ` + python + `}`:                                    "new_cluster.spark_conf.a must be a string",
		`{"new_cluster": {"spark_version": "15", "node": "n"}, ` + python + `}`:                                               "unknown field new_cluster.node",
		`{"existing_cluster_id": "1", "spark_python_task": {"python_file": "j.py", "source": "GIT"}}`:                         "there is no git_source",
		`{"existing_cluster_id": "1", "spark_python_task": {"python_file": "j.py"}}`:                                          "must be absolute",
		`{"existing_cluster_id": "1", "spark_python_task": {"python_file": "j.py", "source": "SVN"}}`:                         "source",
		`{"tasks": [{"existing_cluster_id": "1", ` + python + `}]}`:                                                           "task_key is required",
		`{"tasks": [{"task_key": "a b", "existing_cluster_id": "1", ` + python + `}]}`:                                        "task_key is required",
		`{"tasks": [{"task_key": "a", "existing_cluster_id": "1", ` + python + `}], "existing_cluster_id": "1"}`:              "must be in the tasks",
		`{"tasks": [{"task_key": "a", "environment_key": "e", ` + python + `}]}`:                                              "not one of the environments",
		`{"tasks": [{"task_key": "a", "condition_task": {"op": "EQUAL_TO", "left": "1"}}]}`:                                   "condition_task.right is required",
		`{"tasks": [{"task_key": "a", "condition_task": {"op": "IS", "left": "1", "right": "1"}}]}`:                           "condition_task.op",
		`{"environments": [{"environment_key": "e", "spec": {}}], "existing_cluster_id": "1", ` + python + `}`:                "client",
		`{"environments": [{"spec": {"client": "1"}}], "existing_cluster_id": "1", ` + python + `}`:                           "environment_key is required",
		`{"existing_cluster_id": "1", "idempotency_token": "` + strings.Repeat("x", 65) + `", ` + python + `}`:                "64 characters",
		`{"existing_cluster_id": "1", "git_source": {"git_url": "u", "git_provider": "gitHub"}, ` + python + `}`:              "exactly one of git_branch",
		`{"existing_cluster_id": "1", "git_source": {"git_url": "u", "git_branch": "b"}, ` + python + `}`:                     "git_provider is required",
		`{"existing_cluster_id": "1", "git_source": {"git_provider": "svn", "git_url": "u", "git_tag": "t"}, ` + python + `}`: "git_source.git_provider",
	} {
		server := newCaller(t)
		code, answer := server.submit(body)
		if code != 400 || !strings.Contains(answer["message"].(string), reason) {
			t.Errorf("%s: %d %v", body, code, answer)
		}
		if len(server.server.Submitted()) != 0 {
			t.Errorf("%s is refused and has made a run", body)
		}
	}
}

const good = `{"existing_cluster_id": "1", "notebook_task": {"notebook_path": "/n"}, "idempotency_token": "once"}`

func TestATokenMakesOneRunAndOutlivesIt(t *testing.T) {
	c := newCaller(t)
	_, first := c.submit(good)
	_, second := c.submit(good)
	if first["run_id"] != second["run_id"] {
		t.Errorf("%v and %v", first, second)
	}
	c.server.Forget(int64(first["run_id"].(float64)))
	if code, answer := c.submit(good); code != 400 || !strings.Contains(answer["message"].(string), "was deleted") {
		t.Errorf("%d %v", code, answer)
	}
}

func TestJobsWorkOnceAndRunsThatAreHeldStay(t *testing.T) {
	var worked []any
	held := true
	c := caller{t, fakejobs.New(fakejobs.Options{
		Tokens: map[string]string{"dapi-a": "ada"},
		Work:   func(body map[string]any) { worked = append(worked, body["idempotency_token"]) },
		Held:   func() bool { return held },
	})}
	_, made := c.submit(good)
	c.submit(good)
	c.submit(`{}`)
	if len(worked) != 1 || worked[0] != "once" {
		t.Errorf("these have worked: %v", worked)
	}
	state := func() any {
		_, answer := c.call("dapi-a", "GET", "/api/2.1/jobs/runs/get?run_id="+strconv.Itoa(int(made["run_id"].(float64))), "")
		return answer["state"].(map[string]any)["life_cycle_state"]
	}
	for range 3 {
		if seen := state(); seen != "PENDING" {
			t.Errorf("a run that is held is %v", seen)
		}
	}
	held = false
	for _, want := range []string{"PENDING", "RUNNING", "TERMINATED"} {
		if seen := state(); seen != want {
			t.Errorf("a run that is let go is %v, not %s", seen, want)
		}
	}
}

func TestCallersAreKnown(t *testing.T) {
	c := newCaller(t)
	_, made := c.submit(good)
	run := "/api/2.2/jobs/runs/get?run_id=" + strconv.Itoa(int(made["run_id"].(float64)))
	for token, want := range map[string]int{"": 401, "dapi-x": 403, "oauth-1": 401, "dapi-b": 403, "dapi-a": 200} {
		if code, answer := c.call(token, "GET", run, ""); code != want {
			t.Errorf("%q: %d %v", token, code, answer)
		}
	}
	for path, want := range map[string]int{
		"/api/2.1/jobs/runs/get?run_id=7": 400, "/api/2.1/jobs/runs/get": 400, "/api/2.1/jobs/runs/get?run_id=a": 400,
		"/api/2.1/jobs/runs/get-output?run_id=7": 400, "/api/2.1/jobs/get": 404,
	} {
		if code, answer := c.call("dapi-a", "GET", path, ""); code != want {
			t.Errorf("%s: %d %v", path, code, answer)
		}
	}
	for body, want := range map[string]int{`{}`: 400, `{"run_id": "x"}`: 400, `{"run_id": 7, "force": true}`: 400, `{"run_id": "7"}`: 400} {
		if code, answer := c.call("dapi-a", "POST", "/api/2.1/jobs/runs/cancel", body); code != want {
			t.Errorf("%s: %d %v", body, code, answer)
		}
	}
}

func TestTokensAreGrantedToServicePrincipals(t *testing.T) {
	c := newCaller(t)
	ask := func(form url.Values, id, secret string) (int, map[string]any) {
		request := httptest.NewRequest(http.MethodPost, "/oidc/v1/token", strings.NewReader(form.Encode()))
		request.Header.Set("Content-Type", "application/x-www-form-urlencoded")
		if id != "" {
			request.SetBasicAuth(id, secret)
		}
		return c.do(request)
	}
	form := url.Values{"grant_type": {"client_credentials"}, "scope": {"all-apis"}}
	if code, answer := ask(form, "robot", "wrong"); code != 401 || answer["error"] != "invalid_client" {
		t.Errorf("%d %v", code, answer)
	}
	if code, _ := ask(url.Values{"grant_type": {"password"}}, "robot", "s3cret"); code != 400 {
		t.Errorf("%d", code)
	}
	_, granted := ask(form, "robot", "s3cret")
	if code, answer := c.call(granted["access_token"].(string), "POST", "/api/2.1/jobs/runs/submit", good); code != 200 {
		t.Errorf("%d %v", code, answer)
	}
	// As flytekit's connector asks: in the form.
	form.Set("client_id", "robot")
	form.Set("client_secret", "s3cret")
	if code, answer := ask(form, "", ""); code != 200 {
		t.Errorf("%d %v", code, answer)
	}
}
