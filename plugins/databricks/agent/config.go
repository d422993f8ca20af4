package agent

import (
	"cmp"
	"crypto/x509"
	"errors"
	"fmt"
	"os"
	"path"
	"regexp"
	"slices"
	"strings"
	"time"

	sdk "github.com/agenthost/agenthost/sdk/go"
)

// Config is the `config:` block of the plugin in the host's file.
type Config struct {
	Instance         string       `json:"instance,omitempty" jsonschema:"description=Workspace of tasks that name none\\, such as dbc-a1b2.cloud.databricks.com. The environment variable FLYTE_DATABRICKS_INSTANCE goes before it."`
	AllowedInstances []string     `json:"allowed_instances,omitempty" jsonschema:"description=Workspaces that tasks may name\\, as patterns with *. The plugin's tokens go nowhere else. The configured instance is always allowed. Default: *.cloud.databricks.com\\, *.azuredatabricks.net\\, *.gcp.databricks.com."`
	Credentials      []Credential `json:"credentials,omitempty" jsonschema:"description=Who calls for which tasks: the first that fits. Without one: the secret FLYTE_DATABRICKS_ACCESS_TOKEN\\, else DATABRICKS_CLIENT_ID with DATABRICKS_CLIENT_SECRET."`

	ServiceCredentialProvider string `json:"service_credential_provider,omitempty" jsonschema:"description=Databricks' service credential by which serverless tasks that name none get to storage. The environment variable FLYTE_DATABRICKS_SERVICE_CREDENTIAL_PROVIDER goes before it."`

	CAFile            string       `json:"ca_file,omitempty" jsonschema:"description=PEM file with certificate authorities to trust besides the system's. Absolute."`
	RequestsPerSecond int          `json:"requests_per_second,omitempty" jsonschema:"minimum=1,description=Limit on calls to one workspace."`
	RequestTimeout    sdk.Duration `json:"request_timeout,omitempty" jsonschema:"description=Limit on one request. The caller's deadline bounds it with its repetitions."`
}

// Credential is a rule: the tasks that it is for, and who calls for them.
type Credential struct {
	Project  string `json:"project,omitempty" jsonschema:"description=Only for tasks of this project."`
	Domain   string `json:"domain,omitempty" jsonschema:"description=Only for tasks of this domain."`
	Instance string `json:"instance,omitempty" jsonschema:"description=Only for this workspace\\, as a pattern with *."`

	TokenSecret string `json:"token_secret,omitempty" jsonschema:"description=Name of the plugin's secret that holds a personal access token."`
	ClientID    string `json:"client_id,omitempty" jsonschema:"description=Service principal (OAuth M2M). Default: the client_id in oauth_secret\\, else DATABRICKS_CLIENT_ID."`
	OAuthSecret string `json:"oauth_secret,omitempty" jsonschema:"description=Name of the plugin's secret that holds the service principal's secret\\, or JSON with client_id and client_secret."`
}

// SetDefaults fills in what holds where the block says nothing.
func (c *Config) SetDefaults() {
	c.AllowedInstances = []string{"*.cloud.databricks.com", "*.azuredatabricks.net", "*.gcp.databricks.com"}
	c.RequestsPerSecond = 50
	c.RequestTimeout = sdk.Duration(30 * time.Second)
}

// Validate reports what the schema cannot.
func (c *Config) Validate() []sdk.ConfigError {
	var wrong []sdk.ConfigError
	refuse := func(key, format string, args ...any) {
		wrong = append(wrong, sdk.ConfigError{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	if c.Instance != "" {
		if _, err := hostOf(c.Instance); err != nil {
			refuse("instance", "%v", err)
		}
	}
	for i, pattern := range c.AllowedInstances {
		if err := checkPattern(pattern); err != nil {
			refuse(fmt.Sprintf("allowed_instances[%d]", i), "%v", err)
		}
	}
	for i, rule := range c.Credentials {
		key := fmt.Sprintf("credentials[%d]", i)
		if (rule.TokenSecret == "") == (rule.OAuthSecret == "") {
			refuse(key, "needs either token_secret or oauth_secret")
		}
		if rule.ClientID != "" && rule.TokenSecret != "" {
			refuse(key+".client_id", "goes with oauth_secret, not with token_secret")
		}
		if rule.Instance != "" {
			if err := checkPattern(rule.Instance); err != nil {
				refuse(key+".instance", "%v", err)
			}
		}
	}
	if c.RequestTimeout <= 0 {
		refuse("request_timeout", "must be more than 0s, got %s", c.RequestTimeout)
	}
	return wrong
}

// roots returns the authorities to trust; nil for the system's alone.
func (c *Config) roots() (*x509.CertPool, error) {
	if c.CAFile == "" {
		return nil, nil
	}
	wrong := func(format string, args ...any) error {
		return sdk.ConfigError{Key: "ca_file", Message: fmt.Sprintf(format, args...)}
	}
	data, err := os.ReadFile(c.CAFile)
	if err != nil {
		return nil, wrong("%v", err)
	}
	roots, err := x509.SystemCertPool()
	if err != nil {
		roots = x509.NewCertPool()
	}
	if !roots.AppendCertsFromPEM(data) {
		return nil, wrong("%s holds no certificate in PEM form", c.CAFile)
	}
	return roots, nil
}

var (
	hostForm    = regexp.MustCompile(`^[a-z0-9]([a-z0-9.-]*[a-z0-9])?(:[0-9]{1,5})?$`)
	patternForm = regexp.MustCompile(`^[a-z0-9*.-]+(:[0-9*]{1,5})?$`)
)

// hostOf returns the host that an instance names. Some write it as a URL.
func hostOf(instance string) (string, error) {
	host := strings.ToLower(strings.TrimSuffix(strings.TrimPrefix(strings.TrimSpace(instance), "https://"), "/"))
	if !hostForm.MatchString(host) {
		return "", fmt.Errorf("must be a host such as dbc-a1b2.cloud.databricks.com, got %q", instance)
	}
	return host, nil
}

func checkPattern(pattern string) error {
	if !patternForm.MatchString(pattern) {
		return fmt.Errorf("must be a host in lower case, in which * stands for anything, such as *.cloud.databricks.com, got %q", pattern)
	}
	return nil
}

func matches(pattern, host string) bool {
	ok, err := path.Match(pattern, host)
	return ok && err == nil
}

// instanceOf returns the host that a task's run goes to, if it may go there.
func (c *Config) instanceOf(named string) (string, error) {
	instance := cmp.Or(named, os.Getenv("FLYTE_DATABRICKS_INSTANCE"), c.Instance)
	if instance == "" {
		return "", errors.New("the task names no databricks_instance, and neither the plugin's environment variable " +
			"FLYTE_DATABRICKS_INSTANCE nor its config key instance does")
	}
	host, err := hostOf(instance)
	if err != nil {
		return "", fmt.Errorf("databricks_instance %w", err)
	}
	return host, c.allow(host)
}

// allow keeps tokens from going wherever a task says.
func (c *Config) allow(host string) error {
	for _, own := range []string{os.Getenv("FLYTE_DATABRICKS_INSTANCE"), c.Instance} {
		if configured, err := hostOf(own); err == nil && configured == host {
			return nil
		}
	}
	if slices.ContainsFunc(c.AllowedInstances, func(pattern string) bool { return matches(pattern, host) }) {
		return nil
	}
	return fmt.Errorf("databricks_instance %s is not one that the plugin may send its credentials to: its config key "+
		"allowed_instances has %s", host, cmp.Or(strings.Join(c.AllowedInstances, ", "), "none"))
}
