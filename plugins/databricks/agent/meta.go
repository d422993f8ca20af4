package agent

import (
	"encoding/json"
	"regexp"

	sdk "github.com/agenthost/agenthost/sdk/go"
)

// Meta is how Flyte remembers a run. Its fields are those of flytekit's connector, which refuses any other, so that each can
// go on with the other's runs. The one exception, Refused, is of no run.
type Meta struct {
	Instance string `json:"databricks_instance"`
	RunID    string `json:"run_id"`
	// AuthType is "oauth_m2m", or "pat" or empty for a token.
	AuthType string `json:"auth_type,omitempty"`
	ClientID string `json:"client_id,omitempty"`
	// Secret names the plugin's secret that the run was made with, unless it is the default one.
	Secret string `json:"oauth_secret_name,omitempty"`
	// Namespace is where flytekit's connector looks for that secret.
	Namespace string `json:"namespace,omitempty"`
	// AuthToken is the token itself, which flytekit writes. It is read, never written.
	AuthToken foreignToken `json:"auth_token,omitzero"`
	// Refused says why there is no run.
	Refused *refusal `json:"refused,omitempty"`
}

// refusal is why a task cannot run, which is for its author to mend. An error from Create would instead be repeated by
// Flyte for as many retries as the task has, to the same end.
type refusal struct {
	Code    string `json:"code"`
	Message string `json:"message"`
}

var runID = regexp.MustCompile(`^[1-9][0-9]*$`)

func (m *Meta) check() error {
	if !runID.MatchString(m.RunID) {
		return sdk.InvalidArgument("the job's metadata has no run_id: %q", m.RunID)
	}
	return nil
}

// identity is whom the run was made as.
func (m *Meta) identity() identity {
	who := identity{authType: m.AuthType, clientID: m.ClientID, secret: m.Secret}
	if m.AuthToken.set() && who.authType != oauthM2M {
		who.secret = "" // flytekit names a secret there whether it used it or not.
	}
	return who
}

// foreignToken is a token in flytekit's metadata. It cannot be written.
type foreignToken struct{ sdk.SecretValue }

// UnmarshalJSON reads a string or null.
func (f *foreignToken) UnmarshalJSON(data []byte) error {
	var token string
	if err := json.Unmarshal(data, &token); err != nil {
		return err
	}
	if token != "" {
		f.SecretValue = sdk.NewSecretValue(token)
	}
	return nil
}

func (f foreignToken) set() bool { return f.Reveal() != "" }
