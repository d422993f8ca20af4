package agent_test

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"google.golang.org/grpc/codes"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

func writeSecret(t *testing.T, folder, name, value string) {
	t.Helper()
	if err := os.WriteFile(filepath.Join(folder, name), []byte(value), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestSecretsFollowFlytekitsConvention(t *testing.T) {
	folder := t.TempDir()
	t.Setenv("FLYTE_SECRETS_DEFAULT_DIR", folder)
	writeSecret(t, folder, "api_key", " from-file\n")
	writeSecret(t, folder, "both", "from-file")
	t.Setenv("_FSEC_BOTH", "from-env")
	for key, want := range map[string]string{"API_KEY": "from-file", "api_key": "from-file", "Both": "from-env"} {
		if secret, err := agent.Secret(key); err != nil || secret.Reveal() != want {
			t.Errorf("%s = %q, %v; want %q", key, secret.Reveal(), err, want)
		}
	}
	t.Setenv("FLYTE_SECRETS_ENV_PREFIX", "MY_")
	t.Setenv("FLYTE_SECRETS_FILE_PREFIX", "pre-")
	writeSecret(t, folder, "pre-both", "from-prefixed-file")
	t.Setenv("MY_TOKEN", "from-prefixed-env")
	for key, want := range map[string]string{"both": "from-prefixed-file", "token": "from-prefixed-env"} {
		if secret, err := agent.Secret(key); err != nil || secret.Reveal() != want {
			t.Errorf("with prefixes %s = %q, %v; want %q", key, secret.Reveal(), err, want)
		}
	}
}

func TestAMissingSecretSaysWhereItWasLookedFor(t *testing.T) {
	t.Setenv("FLYTE_SECRETS_DEFAULT_DIR", "/nowhere")
	_, err := agent.Secret("Api_Key")
	wantStatus(t, err, codes.FailedPrecondition, `no secret "Api_Key"`, "_FSEC_API_KEY", "/nowhere/api_key")
	folder := t.TempDir()
	t.Setenv("FLYTE_SECRETS_DEFAULT_DIR", folder)
	if err := os.Mkdir(filepath.Join(folder, "folder"), 0o700); err != nil {
		t.Fatal(err)
	}
	_, err = agent.Secret("folder")
	wantStatus(t, err, codes.FailedPrecondition, `secret "folder" cannot be read`)
	for _, key := range []string{"", "../passwd", `a\b`} {
		_, err := agent.Secret(key)
		wantStatus(t, err, codes.InvalidArgument, "plain name")
	}
}

func TestASecretShowsItselfOnlyToReveal(t *testing.T) {
	secret := agent.NewSecretValue("hunter2")
	holder := struct {
		Public agent.SecretValue
		hidden agent.SecretValue
	}{secret, secret}
	var logged bytes.Buffer
	logger := slog.New(slog.NewJSONHandler(&logged, nil))
	logger.Info("x", "secret", secret, "holder", holder, "pointer", &holder)
	shown := []string{
		logged.String(), secret.String(), fmt.Sprint(secret), fmt.Sprintf("%v %+v %#v %s %q %x %d", secret, secret, secret, secret, secret, secret, secret),
		fmt.Sprintf("%v %+v %#v", holder, holder, &holder),
	}
	for _, text := range shown {
		if strings.Contains(text, "hunter2") || strings.Contains(text, "68756e74657232") {
			t.Errorf("the secret is shown: %s", text)
		}
	}
	if _, err := json.Marshal(holder); err == nil || !strings.Contains(err.Error(), "cannot be written") {
		t.Errorf("as JSON: %v", err)
	}
	if secret.Reveal() != "hunter2" || (agent.SecretValue{}).Reveal() != "" {
		t.Error("Reveal does not reveal")
	}
}

func TestFlyte2sConnectionReachesTheAgentWithItsSecretsHidden(t *testing.T) {
	t.Setenv("_FSEC_OWN", "own-secret")
	var seen []string
	look := func(taskType string, region string, lookup func(string) (agent.SecretValue, error)) error {
		for _, key := range []string{"token", "own"} {
			secret, err := lookup(key)
			if err != nil {
				return err
			}
			seen = append(seen, secret.Reveal())
		}
		seen = append(seen, taskType, region)
		return nil
	}
	var printed string
	client := agenttest.Run(t,
		agent.Async("query", funcs{
			create: func(_ context.Context, task *agent.Task) (meta, error) {
				printed = fmt.Sprintf("%v %+v %#v", task.Connection, *task.Connection, *task) + task.Connection.LogValue().String()
				return meta{}, look(task.Connection.TaskType, task.Connection.Configs["region"], task.Secret)
			},
			get: func(_ context.Context, job agent.Job[meta]) (*agent.Resource, error) {
				return agent.Succeeded(nil), look(job.Connection.TaskType, job.Connection.Configs["region"], job.Secret)
			},
			delete: func(_ context.Context, job agent.Job[meta]) error {
				return look(job.Connection.TaskType, job.Connection.Configs["region"], job.Secret)
			},
		}),
		agent.Sync("chat", syncFunc(func(_ context.Context, task *agent.Task) (*agent.Resource, error) {
			return agent.Succeeded(nil), look(task.Connection.TaskType, task.Connection.Configs["region"], task.Secret)
		})))
	task := agenttest.Task{Connection: &agenttest.Connection{
		TaskType: "kind", Secrets: map[string]string{"token": "connection-secret"}, Configs: map[string]string{"region": "eu"},
	}}
	for _, kind := range []string{"query", "chat"} {
		task.Type = kind
		client.RunTask(t.Context(), task)
	}
	want := strings.Repeat("connection-secret own-secret kind eu ", 4)
	if got := strings.Join(seen, " ") + " "; got != want {
		t.Errorf("seen = %s, want %s", got, want)
	}
	if strings.Contains(printed, "connection-secret") || !strings.Contains(printed, "token") {
		t.Errorf("printed = %s", printed)
	}
}
