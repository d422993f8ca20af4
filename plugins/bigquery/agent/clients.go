package agent

import (
	"crypto/sha256"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"cloud.google.com/go/auth"
	"cloud.google.com/go/auth/credentials"
	"cloud.google.com/go/auth/credentials/impersonate"

	"github.com/agenthost/agenthost/plugins/bigquery/service"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// defaultSecret holds the credentials of tasks that no entry of the configuration is for.
const defaultSecret = "google_credentials"

// manyClients is more than a plugin has credentials; Flyte 2 may send ever new ones.
const manyClients = 64

// clients are the services by credentials. Each is made once and used by all calls with the same credentials.
type clients struct {
	config Config

	mu   sync.Mutex
	made map[clientKey]*service.Service
}

type clientKey struct {
	entry  string
	secret [sha256.Size]byte
}

// secrets gives a secret by name: a call's own, or else the plugin's.
type secrets func(key string) (sdk.SecretValue, error)

func newClients(config Config) *clients {
	return &clients{config: config, made: map[clientKey]*service.Service{}}
}

// entryOf is the first entry for a task's Flyte project and domain; the zero entry is the default credentials.
func (c *clients) entryOf(task *sdk.Task) Credential {
	project, domain, _ := executionOf(task)
	for _, entry := range c.config.Credentials {
		if (entry.Project == "" || entry.Project == project) && (entry.Domain == "" || entry.Domain == domain) {
			return entry
		}
	}
	return Credential{}
}

// entryNamed is the entry that made a job; the empty name is the default credentials.
func (c *clients) entryNamed(name string) (Credential, error) {
	for _, entry := range c.config.Credentials {
		if entry.Name == name {
			return entry, nil
		}
	}
	if name != "" {
		return Credential{}, sdk.FailedPrecondition("the job was made with the credentials %q, which the plugin's configuration has no more: put them back under credentials", name)
	}
	return Credential{}, nil
}

// service gives the service of an entry, the one there is if its secret has not changed.
func (c *clients) service(entry Credential, secretOf secrets) (*service.Service, error) {
	secret, err := c.secret(entry, secretOf)
	if err != nil {
		return nil, err
	}
	key := clientKey{entry.Name, sha256.Sum256([]byte(secret.Reveal()))}
	c.mu.Lock()
	defer c.mu.Unlock()
	if made, ok := c.made[key]; ok {
		return made, nil
	}
	made, err := c.make(entry, secret)
	if err != nil {
		return nil, err
	}
	if len(c.made) >= manyClients {
		c.forget()
	}
	c.made[key] = made
	return made, nil
}

// secret is the entry's secret; empty for application default credentials.
func (c *clients) secret(entry Credential, secretOf secrets) (sdk.SecretValue, error) {
	if c.config.Anonymous {
		return sdk.SecretValue{}, nil
	}
	if entry.Secret != "" {
		return sdk.Secret(entry.Secret)
	}
	if secret, err := secretOf(defaultSecret); err == nil {
		return secret, nil
	}
	return sdk.SecretValue{}, nil
}

func (c *clients) make(entry Credential, secret sdk.SecretValue) (*service.Service, error) {
	options := service.Options{Endpoint: c.config.Endpoint, Retry: c.config.retry()}
	if !c.config.Anonymous {
		found, err := find(entry, secret)
		if err != nil {
			return nil, sdk.FailedPrecondition("the plugin has no credentials for BigQuery: %w", err)
		}
		options.Credentials = found
	}
	made, err := service.New(options)
	if err != nil {
		return nil, sdk.FailedPrecondition("the plugin cannot reach BigQuery: %w", err)
	}
	return made, nil
}

// find reads credentials from a secret, or looks for them as every Google tool does, and acts for another account if the
// entry says so.
func find(entry Credential, secret sdk.SecretValue) (*auth.Credentials, error) {
	found, err := base(secret)
	if err != nil {
		return nil, err
	}
	if entry.Impersonate == "" {
		return found, nil
	}
	return impersonate.NewCredentials(&impersonate.CredentialsOptions{
		TargetPrincipal: entry.Impersonate, Delegates: entry.Delegates, Scopes: []string{service.Scope}, Credentials: found,
	})
}

func base(secret sdk.SecretValue) (*auth.Credentials, error) {
	options := &credentials.DetectOptions{Scopes: []string{service.Scope}}
	text := secret.Reveal()
	if text == "" {
		found, err := credentials.DetectDefault(options)
		if err != nil {
			return nil, fmt.Errorf("there is neither a secret %q nor are there application default credentials: %w", defaultSecret, err)
		}
		return found, nil
	}
	// Not the parser's own errors: they quote what they read.
	var kind struct {
		Type credentials.CredType `json:"type"`
	}
	if err := json.Unmarshal([]byte(text), &kind); err != nil || kind.Type == "" {
		return nil, errors.New("the secret with the credentials is no JSON with a type, as Google's key files are")
	}
	found, err := credentials.NewCredentialsFromJSON(kind.Type, []byte(text), options)
	if err != nil {
		return nil, fmt.Errorf("the secret with the credentials is no usable %s", kind.Type)
	}
	return found, nil
}

// forget closes every service; calls under way keep theirs. The caller holds the lock.
func (c *clients) forget() {
	for _, made := range c.made {
		made.Close()
	}
	clear(c.made)
}

func (c *clients) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.forget()
}
