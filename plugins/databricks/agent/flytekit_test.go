package agent_test

import (
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/plugins/databricks/agent"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

var category = sdk.Category{Name: agent.TaskType}

// What users write with flytekit reaches Databricks as flytekit's own connector would have sent it, and runs. The cases
// are in ../flytekit/cases.py.
func TestTasksOfRealFlytekitAreSubmittedAsItsConnectorWould(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	compiled := filepath.Join(t.TempDir(), "compiled")
	python(t, "", "compile.py", compiled)
	cases, err := os.ReadDir(compiled)
	if err != nil || len(cases) < 15 {
		t.Fatalf("compile.py wrote %d cases: %v", len(cases), err)
	}
	client, workspace := serve(t, nil)
	for _, c := range cases {
		t.Run(c.Name(), func(t *testing.T) {
			template := &core.TaskTemplate{}
			if err := proto.Unmarshal(read(t, filepath.Join(compiled, c.Name(), "template.pb")), template); err != nil {
				t.Fatal(err)
			}
			// The workspaces that the cases name are out of reach.
			if fields := template.GetCustom().GetFields(); fields["databricksInstance"] != nil {
				fields["databricksInstance"] = structpb.NewStringValue("https://" + workspace.Host + "/")
			}
			job := create(t, client, agenttest.Task{Type: template.GetType(), Change: func(request *admin.CreateTaskRequest) {
				request.Template = template
			}})
			want, err := os.ReadFile(filepath.Join(compiled, c.Name(), "body.json"))
			if errors.Is(err, fs.ErrNotExist) {
				wantRefused(t, job, "InvalidTask", "databricks_conf")
				return
			}
			got := workspace.Submitted()[runOf(t, job)]
			if token, _ := got["idempotency_token"].(string); len(token) != 64 {
				t.Errorf("the idempotency_token is %q", token)
			}
			delete(got, "idempotency_token")
			if diff := cmp.Diff(parse(t, want), got); diff != "" {
				t.Errorf("flytekit's connector submits something else (-), not (+):\n%s", diff)
			}
			result, err := job.Wait(t.Context())
			if err != nil || result.Phase != sdk.PhaseSucceeded {
				t.Errorf("it ended as %+v, %v", result, err)
			}
		})
	}
}

func TestFlytekitsConnectorCanReadOurMetadata(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	secret(t, "teams_token", bobsToken)
	secret(t, "robots", robotsSecret)
	client, workspace := serve(t, nil)
	var lines []string
	for _, custom := range []map[string]any{
		nil,
		{"databricksTokenSecret": "teams_token"},
		{"databricksAuthType": "oauth_m2m", "databricksClientId": "robot", "databricksOauthSecret": "robots"},
	} {
		lines = append(lines, string(create(t, client, task("swap", custom)).Meta))
	}
	var swapped struct {
		Read []map[string]any `json:"read"`
	}
	if err := json.Unmarshal(python(t, strings.Join(lines, "\n"), "meta.py"), &swapped); err != nil {
		t.Fatal(err)
	}
	if len(swapped.Read) != 3 {
		t.Fatalf("flytekit reads %v", swapped.Read)
	}
	for i, meta := range swapped.Read {
		if meta["databricks_instance"] != workspace.Host || meta["run_id"] == "" || meta["auth_token"] != nil {
			t.Errorf("flytekit reads %s as %v", lines[i], meta)
		}
	}
	// It finds its way back to the service principal, and takes its default token for the others.
	robot := swapped.Read[2]
	if robot["auth_type"] != "oauth_m2m" || robot["client_id"] != "robot" || robot["oauth_secret_name"] != "robots" || robot["namespace"] != "test-development" {
		t.Errorf("flytekit reads the service principal's as %v", robot)
	}
}

func TestTheMetadataOfFlytekitsConnectorIsTakenOn(t *testing.T) {
	var swapped struct {
		Written []string `json:"written"`
	}
	if err := json.Unmarshal(python(t, "", "meta.py"), &swapped); err != nil || len(swapped.Written) != 3 {
		t.Fatalf("%v: %v", swapped, err)
	}
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	secret(t, "databricks-oauth", `{"client_id": "robot", "client_secret": "`+robotsSecret+`"}`)
	client, workspace := serve(t, nil)
	for i, custom := range []map[string]any{nil, nil, {"databricksAuthType": "oauth_m2m", "databricksOauthSecret": "databricks-oauth"}} {
		job := create(t, client, task("swap", custom))
		meta := parse(t, []byte(swapped.Written[i])).(map[string]any)
		meta["databricks_instance"], meta["run_id"] = workspace.Host, metaOf(t, job)["run_id"]
		taken := client.Job(category, marshal(t, meta))
		if result, err := taken.Wait(t.Context()); err != nil || result.Phase != sdk.PhaseSucceeded {
			t.Errorf("%s: %+v, %v", swapped.Written[i], result, err)
		}
		if err := taken.Delete(t.Context()); err != nil {
			t.Error(err)
		}
	}
}

// flytekit keeps the token in the metadata. Ours goes first; theirs is for the runs that ours may not see.
func TestATokenInFlytekitsMetadataIsTheLastResort(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	secret(t, "bobs", bobsToken)
	client, workspace := serve(t, nil)
	foreign := func(run int64, token string) *agenttest.Job {
		return client.Job(category, marshal(t, map[string]any{
			"databricks_instance": workspace.Host, "run_id": strconv.FormatInt(run, 10), "auth_token": token, "auth_type": "pat",
			"oauth_secret_name": "databricks-oauth",
		}))
	}
	ours := runOf(t, create(t, client, task("ours", nil)))
	if _, err := foreign(ours, "dapi-long-expired").Get(t.Context()); err != nil {
		t.Error(err)
	}
	bobs := runOf(t, create(t, client, task("theirs", map[string]any{"databricksTokenSecret": "bobs"})))
	if result := get(t, foreign(bobs, bobsToken)); result.Phase != sdk.PhaseRunning {
		t.Errorf("got %+v", result)
	}
	_, err := foreign(bobs, "dapi-long-expired").Get(t.Context())
	if err == nil || strings.Contains(err.Error(), "dapi-long-expired") {
		t.Errorf("got %v", err)
	}
}

func read(t *testing.T, file string) []byte {
	t.Helper()
	data, err := os.ReadFile(file)
	if err != nil {
		t.Fatal(err)
	}
	return data
}

func parse(t *testing.T, data []byte) any {
	t.Helper()
	var value any
	if err := json.Unmarshal(data, &value); err != nil {
		t.Fatal(err)
	}
	return value
}

func marshal(t *testing.T, value any) []byte {
	t.Helper()
	data, err := json.Marshal(value)
	if err != nil {
		t.Fatal(err)
	}
	return data
}
