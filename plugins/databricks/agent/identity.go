package agent

import (
	"cmp"
	"encoding/json"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/agenthost/agenthost/plugins/databricks/workspace"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// The ways to show who calls, by flytekit's names.
const (
	pat      = "pat"
	oauthM2M = "oauth_m2m"
)

// The secrets that are used where nothing names others: the first is flytekit's, the others Databricks' own names.
const (
	defaultToken       = "FLYTE_DATABRICKS_ACCESS_TOKEN"
	defaultOAuthSecret = "DATABRICKS_CLIENT_SECRET"
	defaultClientID    = "DATABRICKS_CLIENT_ID"
)

// identity is whom a workspace is called as: names only, so that it can be kept. Empty fields are the defaults.
type identity struct{ authType, clientID, secret string }

// origin is where a task comes from and where it goes, by which credentials are chosen.
type origin struct{ project, domain, instance string }

func (c Credential) fits(from origin) bool {
	return (c.Project == "" || c.Project == from.project) && (c.Domain == "" || c.Domain == from.domain) &&
		(c.Instance == "" || matches(c.Instance, from.instance))
}

func (c Credential) identity() identity {
	if c.TokenSecret != "" {
		return identity{authType: pat, secret: c.TokenSecret}
	}
	return identity{authType: oauthM2M, secret: c.OAuthSecret, clientID: c.ClientID}
}

func (c Credential) secret() string { return cmp.Or(c.TokenSecret, c.OAuthSecret) }

// choose tells whom a task's run is made as: whom the task names, else the first rule that fits, else the default.
func (c *Config) choose(task custom, from origin) (identity, error) {
	authType := cmp.Or(task.AuthType, os.Getenv("FLYTE_DATABRICKS_AUTH_TYPE"))
	switch authType {
	case "", pat, oauthM2M:
	default:
		return identity{}, fmt.Errorf("databricks_auth_type %q is not offered here: it must be %s or %s", authType, pat, oauthM2M)
	}
	named := task.TokenSecret
	if authType == oauthM2M {
		named = task.OAuthSecret
	}
	if named != "" {
		if err := c.mayUse(named, from); err != nil {
			return identity{}, err
		}
		return identity{authType: cmp.Or(authType, pat), secret: named, clientID: task.clientID(authType)}, nil
	}
	for _, rule := range c.Credentials {
		who := rule.identity()
		if rule.fits(from) && (authType == "" || authType == who.authType) {
			who.clientID = cmp.Or(task.clientID(who.authType), who.clientID)
			return who, nil
		}
	}
	return identity{authType: authType, clientID: task.clientID(authType)}, nil
}

// mayUse keeps the secrets of one project's rules from the tasks of others.
func (c *Config) mayUse(secret string, from origin) error {
	same := func(rule Credential) bool { return strings.EqualFold(rule.secret(), secret) }
	if !slices.ContainsFunc(c.Credentials, same) {
		return nil
	}
	if slices.ContainsFunc(c.Credentials, func(rule Credential) bool { return same(rule) && rule.fits(from) }) {
		return nil
	}
	return fmt.Errorf("the secret %q is not for tasks of project %q, domain %q on %s: the plugin's config key credentials keeps it for others",
		secret, from.project, from.domain, from.instance)
}

// lookup finds a secret: the task's or the job's.
type lookup func(name string) (sdk.SecretValue, error)

// credential gets what the identity names. An identity that says nothing is a token if there is one, else a service
// principal.
func (i identity) credential(secret lookup) (workspace.Credential, error) {
	if i.authType != oauthM2M {
		token, err := secret(cmp.Or(i.secret, defaultToken))
		if err == nil && token.Reveal() == "" {
			err = sdk.FailedPrecondition("the secret %q is empty", cmp.Or(i.secret, defaultToken))
		}
		if err == nil {
			return workspace.Token{Secret: token}, nil
		}
		if i.authType == pat || i.secret != "" {
			return nil, err
		}
		principal, none := identity{authType: oauthM2M, clientID: i.clientID}.credential(secret)
		if none != nil {
			return nil, fmt.Errorf("%w; and for OAuth: %w", err, none)
		}
		return principal, nil
	}
	name := cmp.Or(i.secret, defaultOAuthSecret)
	value, err := secret(name)
	if err != nil {
		return nil, err
	}
	principal := workspace.OAuth{ClientID: i.clientID, Secret: value}
	var pair struct {
		ClientID string `json:"client_id"`
		Secret   string `json:"client_secret"`
	}
	if json.Unmarshal([]byte(value.Reveal()), &pair) == nil && pair.Secret != "" {
		principal = workspace.OAuth{ClientID: cmp.Or(i.clientID, pair.ClientID), Secret: sdk.NewSecretValue(pair.Secret)}
	}
	if principal.ClientID == "" {
		principal.ClientID = os.Getenv(defaultClientID)
	}
	if principal.ClientID == "" {
		if id, err := secret(defaultClientID); err == nil {
			principal.ClientID = id.Reveal()
		}
	}
	if principal.ClientID == "" {
		return nil, sdk.FailedPrecondition("the secret %q goes with a client id, but there is none: name it as client_id in the plugin's "+
			"config key credentials, as databricks_client_id in the task, or as the plugin's secret %s", name, defaultClientID)
	}
	if principal.Secret.Reveal() == "" {
		return nil, sdk.FailedPrecondition("the secret %q is empty", name)
	}
	return principal, nil
}
