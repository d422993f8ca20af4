package agent

import (
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"strings"
)

// Secret returns one of the plugin's own secrets, by flytekit's convention: the environment variable _FSEC_<KEY>, in
// upper case, or else the file /etc/secrets/<key>, in lower case, without surrounding white space. The host fills one of
// them from the plugin's `secrets:`. FLYTE_SECRETS_ENV_PREFIX, FLYTE_SECRETS_DEFAULT_DIR and FLYTE_SECRETS_FILE_PREFIX
// replace "_FSEC_", "/etc/secrets" and the file name's empty prefix. It is read anew each time, so that secrets can
// rotate. The error, a FAILED_PRECONDITION, says where it looked.
func Secret(key string) (SecretValue, error) {
	if key == "" || strings.ContainsAny(key, `/\`) {
		return SecretValue{}, InvalidArgument("a secret's key must be a plain name, got %q", key)
	}
	variable := environmentOr("FLYTE_SECRETS_ENV_PREFIX", "_FSEC_") + strings.ToUpper(key)
	if value, set := os.LookupEnv(variable); set {
		return NewSecretValue(value), nil
	}
	file := filepath.Join(environmentOr("FLYTE_SECRETS_DEFAULT_DIR", "/etc/secrets"),
		os.Getenv("FLYTE_SECRETS_FILE_PREFIX")+strings.ToLower(key))
	data, err := os.ReadFile(file)
	switch {
	case errors.Is(err, fs.ErrNotExist):
		return SecretValue{}, FailedPrecondition(
			"there is no secret %q: neither the environment variable %s nor the file %s exists; "+
				"add it to the plugin's `secrets:` in the host's configuration", key, variable, file)
	case err != nil:
		return SecretValue{}, FailedPrecondition("secret %q cannot be read: %w", key, err)
	}
	return NewSecretValue(strings.TrimSpace(string(data))), nil
}

func environmentOr(name, fallback string) string {
	if value := os.Getenv(name); value != "" {
		return value
	}
	return fallback
}

// SecretValue is a secret that shows itself only to Reveal: printed, logged or formatted it is "[secret]", and it
// refuses to become JSON, so that it cannot end up in a job's metadata.
type SecretValue struct {
	// A function instead of a string, so that even printing a struct that holds the value in an unexported field, where
	// fmt calls no methods, shows an address.
	reveal func() string
}

// NewSecretValue hides a value.
func NewSecretValue(value string) SecretValue {
	return SecretValue{func() string { return value }}
}

// Reveal returns the secret itself.
func (s SecretValue) Reveal() string {
	if s.reveal == nil {
		return ""
	}
	return s.reveal()
}

const redacted = "[secret]"

// String returns "[secret]".
func (s SecretValue) String() string { return redacted }

// Format writes "[secret]" for every verb.
func (s SecretValue) Format(f fmt.State, _ rune) { fmt.Fprint(f, redacted) }

// LogValue returns "[secret]".
func (s SecretValue) LogValue() slog.Value { return slog.StringValue(redacted) }

// MarshalText fails: a secret must not be stored.
func (s SecretValue) MarshalText() ([]byte, error) {
	return nil, errors.New("a secret cannot be written as text or JSON: use Reveal where it is needed")
}
