package agent

import (
	"fmt"
	"regexp"
	"time"

	"github.com/agenthost/agenthost/plugins/bigquery/service"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// Config is the plugin's `config:` block.
type Config struct {
	DefaultProject  string `json:"default_project,omitempty" jsonschema:"description=Google Cloud project of tasks that name none."`
	DefaultLocation string `json:"default_location,omitempty" jsonschema:"description=Location of tasks that name none\\, such as EU or us-east1. Empty: BigQuery goes by the tables that a query reads."`

	Endpoint  string `json:"endpoint,omitempty" jsonschema:"description=Where BigQuery's API is if not at Google: an emulator or a private endpoint\\, such as http://127.0.0.1:9050."`
	Anonymous bool   `json:"anonymous,omitempty" jsonschema:"description=Calls are not signed and no credentials looked for. For emulators; needs endpoint."`

	Credentials []Credential `json:"credentials,omitempty" jsonschema:"description=Whose credentials tasks use\\, by Flyte project and domain. The first entry that fits counts; where none does\\, the secret google_credentials\\, else application default credentials."`

	ExecutionLabels *bool `json:"execution_labels,omitempty" jsonschema:"description=Labels every job with flyte_project\\, flyte_domain and flyte_execution\\, which Google's billing export shows. Default: true."`

	PricePerTiB float64 `json:"price_per_tib,omitempty" jsonschema:"minimum=0,description=What a billed TiB costs\\, in your currency. Then custom info has cost_estimate. 0: no estimate."`

	CallTimeout sdk.Duration `json:"call_timeout,omitempty" jsonschema:"description=How long one attempt of a call to BigQuery may take. The caller's own deadline holds besides."`
	Retry       Retry        `json:"retry,omitzero" jsonschema:"description=How calls that BigQuery fails for a passing reason are made again\\, within the caller's deadline. Its Retry-After goes before first_pause and longest_pause."`
}

// Credential says who may work where.
type Credential struct {
	Name        string   `json:"name,omitempty" jsonschema:"description=Name of the entry. It becomes a part of job ids\\, so that a later process finds the credentials again: letters\\, digits\\, - and _. Default: the secret's name."`
	Project     string   `json:"project,omitempty" jsonschema:"description=Flyte project that the entry is for. Empty: every project."`
	Domain      string   `json:"domain,omitempty" jsonschema:"description=Flyte domain that the entry is for. Empty: every domain."`
	Secret      string   `json:"secret,omitempty" jsonschema:"description=Name of the plugin's secret that holds the credentials\\, such as a service account's key as JSON. Empty: the default credentials."`
	Impersonate string   `json:"impersonate,omitempty" jsonschema:"description=Service account\\, by e-mail address\\, that the credentials act for."`
	Delegates   []string `json:"delegates,omitempty" jsonschema:"description=Service accounts between the credentials and the impersonated one\\, in order."`
}

// Retry is how calls are made again.
type Retry struct {
	Attempts     int          `json:"attempts,omitempty" jsonschema:"minimum=1,description=How often a call is made at most. Default: 5."`
	FirstPause   sdk.Duration `json:"first_pause,omitempty" jsonschema:"description=Pause before the second attempt. It doubles from attempt to attempt. Default: 250ms."`
	LongestPause sdk.Duration `json:"longest_pause,omitempty" jsonschema:"description=The longest pause. Default: 5s."`
}

// SetDefaults fills in what holds where the block says nothing.
func (c *Config) SetDefaults() {
	c.CallTimeout = sdk.Duration(30 * time.Second)
	c.Retry = Retry{Attempts: 5, FirstPause: sdk.Duration(250 * time.Millisecond), LongestPause: sdk.Duration(5 * time.Second)}
}

// credentialName is what the id of a BigQuery job may hold.
var credentialName = regexp.MustCompile(`^[A-Za-z0-9_-]{1,200}$`)

// Validate reports what the schema cannot.
func (c *Config) Validate() []sdk.ConfigError {
	var wrong []sdk.ConfigError
	refuse := func(key, format string, args ...any) {
		wrong = append(wrong, sdk.ConfigError{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	if c.Anonymous && c.Endpoint == "" {
		refuse("anonymous", "needs endpoint: Google answers signed calls only")
	}
	if c.Anonymous && len(c.Credentials) > 0 {
		refuse("credentials", "have no use with anonymous")
	}
	if err := service.CheckEndpoint(c.Endpoint); err != nil {
		refuse("endpoint", "%v", err)
	}
	for key, duration := range map[string]sdk.Duration{
		"call_timeout": c.CallTimeout, "retry.first_pause": c.Retry.FirstPause, "retry.longest_pause": c.Retry.LongestPause,
	} {
		if duration <= 0 {
			refuse(key, "must be more than 0s, got %s", duration)
		}
	}
	names := map[string]int{}
	for i := range c.Credentials {
		entry := &c.Credentials[i]
		key := fmt.Sprintf("credentials[%d]", i)
		if problem := entry.complete(); problem != "" {
			refuse(key+".name", "%s", problem)
		}
		if first, taken := names[entry.Name]; taken {
			refuse(key+".name", "%q is the name of credentials[%d] already", entry.Name, first)
		}
		if len(entry.Delegates) > 0 && entry.Impersonate == "" {
			refuse(key+".delegates", "need impersonate")
		}
		names[entry.Name] = i
	}
	return wrong
}

// complete gives the entry its name, and says what is wrong with that.
func (c *Credential) complete() string {
	if c.Name == "" {
		c.Name = c.Secret
	}
	switch {
	case c.Name == "":
		return "is required where there is no secret"
	case !credentialName.MatchString(c.Name):
		return fmt.Sprintf("must be letters, digits, - and _, got %q", c.Name)
	}
	return ""
}

func (c *Config) retry() service.Retry {
	return service.Retry{
		Attempts: c.Retry.Attempts, First: c.Retry.FirstPause.Std(), Longest: c.Retry.LongestPause.Std(), Call: c.CallTimeout.Std(),
	}
}

func (c *Config) labelsExecutions() bool { return c.ExecutionLabels == nil || *c.ExecutionLabels }
