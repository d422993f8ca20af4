package agent

import (
	"os"
	"path/filepath"

	sdk "github.com/agenthost/agenthost/sdk/go"
)

// credentials are the secrets that the clouds' client libraries want as environment variables.
var credentials = map[string]string{
	"aws_access_key_id":       "AWS_ACCESS_KEY_ID",
	"aws_secret_access_key":   "AWS_SECRET_ACCESS_KEY",
	"aws_session_token":       "AWS_SESSION_TOKEN",
	"azure_storage_account":   "AZURE_STORAGE_ACCOUNT",
	"azure_storage_key":       "AZURE_STORAGE_KEY",
	"azure_storage_sas_token": "AZURE_STORAGE_SAS_TOKEN",
}

// credentialFiles are those that they want as files.
var credentialFiles = map[string]string{
	"aws_credentials":    "AWS_SHARED_CREDENTIALS_FILE",
	"google_credentials": "GOOGLE_APPLICATION_CREDENTIALS",
}

// useSecrets hands the plugin's own secrets to the client libraries, where the environment does not say otherwise
// already. A secret that changes starts a new process, so once is enough.
func useSecrets() error {
	for key, variable := range credentials {
		if os.Getenv(variable) != "" {
			continue
		}
		if secret, err := sdk.Secret(key); err == nil {
			if err := os.Setenv(variable, secret.Reveal()); err != nil {
				return err
			}
		}
	}
	for key, variable := range credentialFiles {
		file := filepath.Join(secretsDir(), key)
		if _, err := os.Stat(file); err != nil || os.Getenv(variable) != "" {
			continue
		}
		if err := os.Setenv(variable, file); err != nil {
			return err
		}
	}
	return nil
}

func secretsDir() string {
	if dir := os.Getenv("FLYTE_SECRETS_DEFAULT_DIR"); dir != "" {
		return dir
	}
	return "/etc/secrets"
}
