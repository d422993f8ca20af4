package agent

import (
	"cmp"
	"fmt"
	"os"

	"github.com/google/uuid"

	"github.com/agenthost/agenthost/plugins/databricks/submission"
	sdk "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/literal"
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
	if err := literal.CheckTemplate(task.Template.GetCustom()); err != nil {
		return c, fmt.Errorf("the custom part of the task: %w", err)
	}
	if err := task.Custom(&c); err != nil {
		return c, err
	}
	if len(c.Conf) == 0 {
		return c, fmt.Errorf("the task has no databricks_conf: it is none for Databricks")
	}
	return c, nil
}

// body returns the request that submits the task, without a token unless the task brings one along.
func (c custom) body(task *sdk.Task, config *Config) (map[string]any, error) {
	made := submission.Task{
		Conf: c.Conf, SparkConf: c.SparkConf, NotebookPath: c.NotebookPath, NotebookParameters: c.NotebookParameters,
		CredentialProvider: cmp.Or(c.CredentialProvider, os.Getenv("FLYTE_DATABRICKS_SERVICE_CREDENTIAL_PROVIDER"), config.ServiceCredentialProvider),
		Container:          task.Template.GetContainer(),
	}
	return made.Body()
}

// idempotencyToken is what a repetition of the attempt is the same run to Databricks by.
func idempotencyToken(task *sdk.Task) string {
	const most = 64
	key := task.IdempotencyKey
	if key == "" {
		key = uuid.NewString() // Good for the repetitions of this call.
	}
	return key[:min(len(key), most)]
}
