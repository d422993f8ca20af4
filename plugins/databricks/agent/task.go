package agent

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"

	"github.com/google/uuid"

	"github.com/agenthost/agenthost/plugins/databricks/submission"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// custom is what flytekit's Databricks and DatabricksV2 become in a task's template.
type custom struct {
	Conf               map[string]any `json:"databricksConf"`
	Instance           string         `json:"databricksInstance"`
	SparkConf          map[string]any `json:"sparkConf"`
	TokenSecret        string         `json:"databricksTokenSecret"`
	AuthType           string         `json:"databricksAuthType"`
	ClientID           string         `json:"databricksClientId"`
	OAuthSecret        string         `json:"databricksOauthSecret"`
	CredentialProvider string         `json:"databricksServiceCredentialProvider"`
	NotebookPath       string         `json:"notebookPath"`
	NotebookParameters map[string]any `json:"notebookBaseParameters"`
}

func (c custom) clientID(authType string) string {
	if authType == pat {
		return ""
	}
	return c.ClientID
}

// read reads what the template says.
func read(task *sdk.Task) (custom, error) {
	var c custom
	if err := task.Custom(&c); err != nil {
		return c, err
	}
	if len(c.Conf) == 0 {
		return c, fmt.Errorf("the task has no databricks_conf: it is none for Databricks")
	}
	return c, nil
}

// body returns the request that submits the task. A repetition of the attempt is the same run to Databricks; a token that
// the task brings along is left as it is.
func (c custom) body(task *sdk.Task, config *Config) ([]byte, error) {
	made := submission.Task{
		Conf: c.Conf, SparkConf: c.SparkConf, NotebookPath: c.NotebookPath, NotebookParameters: c.NotebookParameters,
		CredentialProvider: cmp.Or(c.CredentialProvider, os.Getenv("FLYTE_DATABRICKS_SERVICE_CREDENTIAL_PROVIDER"), config.ServiceCredentialProvider),
		Container:          task.Template.GetContainer(),
	}
	body, err := made.Body()
	if err != nil {
		return nil, err
	}
	if body["idempotency_token"] == nil {
		body["idempotency_token"] = idempotencyToken(task)
	}
	return json.Marshal(body)
}

func idempotencyToken(task *sdk.Task) string {
	const most = 64
	key := task.IdempotencyKey
	if key == "" {
		key = uuid.NewString() // Good for the repetitions of this call.
	}
	return key[:min(len(key), most)]
}
