package agent_test

import (
	"errors"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/plugins/databricks/agent"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

func TestThePluginsTokenIsTheDefault(t *testing.T) {
	client, workspace := serve(t, nil)
	_, err := client.Create(t.Context(), task("none", nil))
	wantCode(t, err, codes.FailedPrecondition, "FLYTE_DATABRICKS_ACCESS_TOKEN", "DATABRICKS_CLIENT_SECRET", "`secrets:`")
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	job := create(t, client, task("ada", nil))
	if owner(workspace) != "ada" {
		t.Errorf("the run is %s's", owner(workspace))
	}
	if meta := metaOf(t, job); len(meta) != 2 {
		t.Errorf("the metadata is %v", meta)
	}
}

// Or the plugin could not declare that it rereads them.
func TestASecretWhoseFileIsReplacedIsTheNextCalls(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("FLYTE_SECRETS_DEFAULT_DIR", folder)
	client, workspace := serve(t, nil)
	if promised := client.Describe().GetCapabilities(); !slices.Contains(promised, "rereads_secrets") {
		t.Errorf("its capabilities are %v", promised)
	}
	for name, token := range map[string]string{"ada": adasToken, "bob": bobsToken} { // in any order
		fresh, file := filepath.Join(folder, ".new"), filepath.Join(folder, "flyte_databricks_access_token")
		if err := errors.Join(os.WriteFile(fresh, []byte(token), 0o600), os.Rename(fresh, file)); err != nil {
			t.Fatal(err)
		}
		create(t, client, task(name, nil))
		if owner(workspace) != name {
			t.Errorf("the run is %s's, with %s's token in the file", owner(workspace), name)
		}
	}
}

func TestAServicePrincipalIsTheNextBest(t *testing.T) {
	secret(t, "DATABRICKS_CLIENT_SECRET", robotsSecret)
	client, workspace := serve(t, nil)
	_, err := client.Create(t.Context(), task("nobody", nil))
	wantCode(t, err, codes.FailedPrecondition, "there is no", "DATABRICKS_CLIENT_ID")
	secret(t, "DATABRICKS_CLIENT_ID", "robot")
	job := create(t, client, task("robot", nil))
	if result, err := job.Wait(t.Context()); err != nil || result.Phase != sdk.PhaseSucceeded || owner(workspace) != "robot" {
		t.Errorf("%s's run is %+v, %v", owner(workspace), result, err)
	}
	noSecretIn(t, "the metadata", string(job.Meta))
}

func TestAServicePrincipalsTokenIsRenewedWhenItIsRefused(t *testing.T) {
	secret(t, "robots", `{"client_id": "robot", "client_secret": "`+robotsSecret+`"}`)
	client, workspace := serve(t, map[string]any{"credentials": []any{map[string]any{"oauth_secret": "robots"}}})
	job := create(t, client, task("renewed", nil))
	for range 3 {
		workspace.Revoke()
		get(t, job)
	}
	asked := len(workspace.Requests())
	get(t, job)
	if more := len(workspace.Requests()) - asked; more != 1 {
		t.Errorf("a look with a good token takes %d requests", more)
	}
}

func TestAWrongSecretIsToldAndNotShown(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", "dapi-wrong")
	secret(t, "robots", "wrong-secret")
	client, _ := serve(t, nil)
	_, err := client.Create(t.Context(), task("wrong", nil))
	wantCode(t, err, codes.FailedPrecondition, "403", "Invalid access token")
	_, err = client.Create(t.Context(), task("wrong", map[string]any{
		"databricksAuthType": "oauth_m2m", "databricksClientId": "robot", "databricksOauthSecret": "robots",
	}))
	wantCode(t, err, codes.FailedPrecondition, "refused a token by OAuth", "invalid_client")
	if strings.Contains(err.Error(), "wrong-secret") {
		t.Error(err)
	}
}

func TestCredentialsGoByProjectAndDomain(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	secret(t, "bobs", bobsToken)
	secret(t, "robots", robotsSecret)
	client, workspace := serve(t, map[string]any{"credentials": []any{
		map[string]any{"project": "ml", "domain": "staging", "token_secret": "FLYTE_DATABRICKS_ACCESS_TOKEN"},
		map[string]any{"project": "ml", "oauth_secret": "robots", "client_id": "robot"},
		map[string]any{"project": "finance", "token_secret": "bobs"},
		map[string]any{"project": "elsewhere", "instance": "*.azuredatabricks.net", "token_secret": "bobs"},
	}})
	run := func(project string, custom map[string]any) *agenttest.Job {
		wanted := task(project, custom)
		wanted.ExecutionID = execution(project, t.Name(), 0)
		return create(t, client, wanted)
	}
	for project, user := range map[string]string{"ml": "robot", "finance": "bob", "marketing": "ada", "elsewhere": "ada"} {
		job := run(project, nil)
		if owner(workspace) != user {
			t.Errorf("%s's run is %s's", project, owner(workspace))
		}
		// Later calls are made as the same.
		if result, err := job.Wait(t.Context()); err != nil || result.Phase != sdk.PhaseSucceeded {
			t.Errorf("%s: %+v, %v", project, result, err)
		}
	}
	// A secret that is kept for one project is not another's to name.
	wantRefused(t, run("marketing", map[string]any{"databricksTokenSecret": "bobs"}), "InvalidCredential", `"bobs"`, `"marketing"`)
	wantRefused(t, run("marketing", map[string]any{"databricksTokenSecret": "BOBS"}), "InvalidCredential", `"BOBS"`)
	run("finance", map[string]any{"databricksTokenSecret": "bobs"})
	if owner(workspace) != "bob" {
		t.Errorf("the run is %s's", owner(workspace))
	}
}

func TestATaskNamesASecretOfThePlugin(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	secret(t, "teams_token", bobsToken)
	client, workspace := serve(t, nil)
	job := create(t, client, task("team", map[string]any{"databricksTokenSecret": "teams_token"}))
	if owner(workspace) != "bob" || metaOf(t, job)["oauth_secret_name"] != "teams_token" {
		t.Errorf("%s's run is %s", owner(workspace), job.Meta)
	}
	if result, err := job.Wait(t.Context()); err != nil || result.Phase != sdk.PhaseSucceeded {
		t.Errorf("got %+v, %v", result, err)
	}
	_, err := client.Create(t.Context(), task("team", map[string]any{"databricksTokenSecret": "nobodys_token"}))
	wantCode(t, err, codes.FailedPrecondition, `"nobodys_token"`)
	wantRefused(t, create(t, client, task("x", map[string]any{"databricksAuthType": "oidc_federation"})), "InvalidCredential", "oidc_federation")
}

func TestFlyte2sConnectionHasTheToken(t *testing.T) {
	client, workspace := serve(t, nil)
	wanted := task("connected", nil)
	wanted.Connection = &agenttest.Connection{TaskType: "databricks", Secrets: map[string]string{"FLYTE_DATABRICKS_ACCESS_TOKEN": bobsToken}}
	job := create(t, client, wanted)
	if result, err := job.Wait(t.Context()); err != nil || result.Phase != sdk.PhaseSucceeded || owner(workspace) != "bob" {
		t.Errorf("%s's run is %+v, %v", owner(workspace), result, err)
	}
	noSecretIn(t, "the metadata", string(job.Meta))
}

// Otherwise a task could have the token sent anywhere.
func TestTokensGoToAllowedInstancesOnly(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, map[string]any{"instance": "dbc-1.cloud.databricks.com"})
	for _, instance := range []string{
		workspace.Host, "https://" + workspace.Host, "evil.example.com", "cloud.databricks.com.example.com", "x.cloud.databricks.com:8443",
	} {
		wantRefused(t, create(t, client, task("x", map[string]any{"databricksInstance": instance})), "InvalidInstance", "allowed_instances")
	}
	for _, instance := range []string{
		"http://dbc-1.cloud.databricks.com", "user@dbc-1.cloud.databricks.com", "evil.example.com/.cloud.databricks.com",
		"evil.example.com#.cloud.databricks.com", "evil.example.com?.cloud.databricks.com", `evil.example.com\.cloud.databricks.com`, " ",
	} {
		wantRefused(t, create(t, client, task("x", map[string]any{"databricksInstance": instance})), "InvalidInstance", "must be a host")
	}
	// Metadata can be made up as well.
	stray := client.Job(category, []byte(`{"databricks_instance": "`+workspace.Host+`", "run_id": "7", "auth_token": "`+bobsToken+`"}`))
	_, err := stray.Get(t.Context())
	wantCode(t, err, codes.FailedPrecondition, "allowed_instances")
	wantCode(t, stray.Delete(t.Context()), codes.FailedPrecondition)
	if asked := workspace.Requests(); len(asked) != 0 {
		t.Errorf("the workspace was asked: %v", asked)
	}
}

func TestTheInstanceIsTheTasksElseTheEnvironmentsElseTheConfigurations(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, map[string]any{"instance": "", "allowed_instances": []string{"127.0.0.1:*"}})
	wantRefused(t, create(t, client, task("x", nil)), "InvalidInstance", "FLYTE_DATABRICKS_INSTANCE")
	create(t, client, task("named", map[string]any{"databricksInstance": "https://" + workspace.Host + "/"}))
	t.Setenv("FLYTE_DATABRICKS_INSTANCE", workspace.Host)
	job := create(t, client, task("environment", nil))
	if len(workspace.Submitted()) != 2 || metaOf(t, job)["databricks_instance"] != workspace.Host {
		t.Errorf("%s; the runs are %v", job.Meta, workspace.Submitted())
	}
}

func TestMetadataThatIsNoJobsIsRefused(t *testing.T) {
	secret(t, "FLYTE_DATABRICKS_ACCESS_TOKEN", adasToken)
	client, workspace := serve(t, nil)
	for _, meta := range []string{
		`{}`, `{"databricks_instance": "` + workspace.Host + `", "run_id": "7}, {"}`, `{"databricks_instance": "a b", "run_id": "7"}`, `[]`,
	} {
		_, err := client.Job(category, []byte(meta)).Get(t.Context())
		wantCode(t, err, codes.InvalidArgument)
	}
}

func TestWrongConfigurationIsToldByKey(t *testing.T) {
	for want, config := range map[string]map[string]any{
		"instance":                  {"instance": "http://a"},
		"allowed_instances[1]":      {"allowed_instances": []string{"*", "https://*"}},
		"credentials[0]":            {"credentials": []any{map[string]any{"project": "p"}}},
		"credentials[0].client_id":  {"credentials": []any{map[string]any{"token_secret": "t", "client_id": "c"}}},
		"credentials[0].instance":   {"credentials": []any{map[string]any{"token_secret": "t", "instance": "a b"}}},
		"credentials[0].tokensecrt": {"credentials": []any{map[string]any{"tokensecrt": "t"}}},
		"ca_file":                   {"ca_file": "/nowhere/ca.pem"},
		"requests_per_second":       {"requests_per_second": 0},
		"request_timeout":           {"request_timeout": "0s"},
		"instanze":                  {"instanze": "a"},
	} {
		client := agenttest.Run(t, agent.Options()...)
		wrong := client.Configure(config)
		if len(wrong) != 1 || wrong[0].Key != want {
			t.Errorf("%v: %v", want, wrong)
		}
	}
}
