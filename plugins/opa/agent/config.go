package agent

import (
	"crypto/tls"
	"crypto/x509"
	"errors"
	"fmt"
	"net"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"time"

	"github.com/agenthost/agenthost/plugins/opa/embedded"
	"github.com/agenthost/agenthost/plugins/opa/policy"
	"github.com/agenthost/agenthost/plugins/opa/server"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

// Config is the plugin's `config:` block. Either Policies or Server is given.
type Config struct {
	Policies string   `json:"policies,omitempty" jsonschema:"description=Policies to evaluate in the plugin: an absolute path of a directory with *.rego and data.json or data.yaml files\\, or of an OPA bundle (.tar.gz)."`
	AllowNet []string `json:"allow_net,omitempty" jsonschema:"description=Hosts that embedded policies may call with http.send and look up. Default: none."`
	Server   Server   `json:"server,omitzero" jsonschema:"description=An OPA server to ask instead."`

	LenientBuiltins bool         `json:"lenient_builtins,omitempty" jsonschema:"description=A built-in function that fails is undefined\\, as on an OPA server without strict-builtin-errors\\, instead of failing the task."`
	Timeout         sdk.Duration `json:"timeout,omitempty" jsonschema:"description=How long one decision may take\\, repeated calls to a server included. The caller's deadline holds too."`
	MaxConcurrent   int64        `json:"max_concurrent,omitempty" jsonschema:"minimum=1,description=Decisions at a time. The others wait."`
	InputLimit      sdk.Size     `json:"input_limit,omitempty" jsonschema:"description=Size of a policy's input document as JSON."`
	DecisionLimit   sdk.Size     `json:"decision_limit,omitempty" jsonschema:"description=Size of a decision as JSON."`
	PolicyFileLimit sdk.Size     `json:"policy_file_limit,omitempty" jsonschema:"description=Size of one file below policies."`

	DecisionLog *bool    `json:"decision_log,omitempty" jsonschema:"description=Writes each decision to the host's log. Default: true."`
	Mask        []string `json:"mask,omitempty" jsonschema:"description=Parts of the input document that the decision log shows as [masked]: dotted paths such as inputs.password\\, with * for any name. Default: [inputs]."`
	Console     string   `json:"console,omitempty" jsonschema:"description=Address of a page about a decision\\, with {decision_id} and {policy} in it. It becomes the task's link."`
}

// Server is how an OPA server is reached.
type Server struct {
	URL                     string `json:"url,omitempty" jsonschema:"description=Its address\\, such as https://opa.policies:8181."`
	TokenSecret             string `json:"token_secret,omitempty" jsonschema:"description=Name of the plugin's secret that holds the bearer token."`
	CAFile                  string `json:"ca_file,omitempty" jsonschema:"description=Absolute path of a PEM file with the authorities to trust. Default: the system's."`
	ClientCertificateSecret string `json:"client_certificate_secret,omitempty" jsonschema:"description=Name of the plugin's secret that holds the client's certificate\\, PEM. Needs client_key_secret."`
	ClientKeySecret         string `json:"client_key_secret,omitempty" jsonschema:"description=Name of the plugin's secret that holds the certificate's key\\, PEM."`
	Plaintext               bool   `json:"plaintext,omitempty" jsonschema:"description=Lets the token travel over http to another machine."`
	Attempts                uint   `json:"attempts,omitempty" jsonschema:"minimum=1,description=How often one question is put to a server that is away or busy. Default: 4."`
}

// SetDefaults fills in what holds where the block says nothing.
func (c *Config) SetDefaults() {
	c.Timeout = sdk.Duration(8 * time.Second)
	c.MaxConcurrent = 16
	c.InputLimit = 1 << 20
	c.DecisionLimit = 1 << 20
	c.PolicyFileLimit = 32 << 20
	c.Mask = []string{"inputs"}
	c.Server.Attempts = 4
}

// Validate reports what the schema cannot.
func (c *Config) Validate() []sdk.ConfigError {
	var wrong []sdk.ConfigError
	refuse := func(key, format string, args ...any) {
		wrong = append(wrong, sdk.ConfigError{Key: key, Message: fmt.Sprintf(format, args...)})
	}
	switch {
	case c.Policies == "" && c.Server.URL == "":
		refuse("policies", "is missing: name a directory or bundle of policies here, or an OPA server in server.url")
	case c.Policies != "" && c.Server.URL != "":
		refuse("policies", "cannot stand beside server.url: policies are either embedded or on a server")
	case c.Policies != "" && !filepath.IsAbs(c.Policies):
		refuse("policies", "must be an absolute path, got %q", c.Policies)
	}
	if len(c.AllowNet) > 0 && c.Policies == "" {
		refuse("allow_net", "holds for embedded policies: an OPA server has its own")
	}
	if c.Timeout <= 0 {
		refuse("timeout", "must be positive, got %s", c.Timeout)
	}
	for key, size := range map[string]sdk.Size{"input_limit": c.InputLimit, "decision_limit": c.DecisionLimit, "policy_file_limit": c.PolicyFileLimit} {
		if size <= 0 {
			refuse(key, "must be positive, got %s", size)
		}
	}
	for i, mask := range c.Mask {
		if mask == "" || strings.Contains("."+mask+".", "..") {
			refuse(fmt.Sprintf("mask.%d", i), "must be a dotted path such as inputs.password, got %q", mask)
		}
	}
	if c.Console != "" {
		if address, err := url.Parse(c.Console); err != nil || address.Scheme == "" || address.Host == "" {
			refuse("console", "must be an address such as https://opa.example/decisions/{decision_id}, got %q", c.Console)
		}
	}
	return append(wrong, c.Server.validate()...)
}

func (s *Server) validate() []sdk.ConfigError {
	var wrong []sdk.ConfigError
	refuse := func(key, format string, args ...any) {
		wrong = append(wrong, sdk.ConfigError{Key: "server." + key, Message: fmt.Sprintf(format, args...)})
	}
	if s.CAFile != "" && !filepath.IsAbs(s.CAFile) {
		refuse("ca_file", "must be an absolute path, got %q", s.CAFile)
	}
	if (s.ClientCertificateSecret == "") != (s.ClientKeySecret == "") {
		refuse("client_key_secret", "must be given together with client_certificate_secret")
	}
	if s.URL == "" {
		if s.TokenSecret != "" || s.CAFile != "" || s.ClientCertificateSecret != "" {
			refuse("url", "is missing: the other keys of server need it")
		}
		return wrong
	}
	address, err := url.Parse(s.URL)
	switch {
	case err != nil || address.Host == "" || address.Scheme != "http" && address.Scheme != "https":
		// The address may hold a password: it is not shown.
		refuse("url", "must be an http or https address such as https://opa.policies:8181")
	case address.User != nil:
		refuse("url", "must not hold a user or password: use token_secret")
	case address.RawQuery != "" || address.Fragment != "":
		refuse("url", "must not have a query or fragment")
	case address.Scheme == "http" && s.TokenSecret != "" && !s.Plaintext && !loopback(address.Hostname()):
		refuse("url", "would carry the token in clear to %s: use https, or set server.plaintext where the network protects it", address.Host)
	}
	return wrong
}

func loopback(host string) bool {
	ip := net.ParseIP(host)
	return host == "localhost" || ip != nil && ip.IsLoopback()
}

// source opens the policies.
func (c *Config) source() (policy.Source, error) {
	if c.Server.URL != "" {
		return c.Server.open(c)
	}
	policies, err := embedded.Load(embedded.Options{
		Path: c.Policies, AllowNet: c.AllowNet, Lenient: c.LenientBuiltins, FileLimit: c.PolicyFileLimit.Bytes(),
	})
	if err != nil {
		return nil, eachAt("policies", err)
	}
	return policies, nil
}

// eachAt reports every one of joined errors at the key.
func eachAt(key string, err error) error {
	joined, many := err.(interface{ Unwrap() []error }) // only the outermost error is a list
	if !many {
		return sdk.ConfigError{Key: key, Message: err.Error()}
	}
	var all []error
	for _, one := range joined.Unwrap() {
		all = append(all, sdk.ConfigError{Key: key, Message: one.Error()})
	}
	return errors.Join(all...)
}

func (s *Server) open(c *Config) (policy.Source, error) {
	options := server.Options{URL: s.URL, Attempts: s.Attempts, Lenient: c.LenientBuiltins, DecisionLimit: c.DecisionLimit.Bytes()}
	if s.CAFile != "" {
		pem, err := os.ReadFile(s.CAFile)
		if err != nil {
			return nil, sdk.ConfigError{Key: "server.ca_file", Message: err.Error()}
		}
		options.Roots = x509.NewCertPool()
		if !options.Roots.AppendCertsFromPEM(pem) {
			return nil, sdk.ConfigError{Key: "server.ca_file", Message: s.CAFile + " holds no PEM certificate"}
		}
	}
	if s.TokenSecret != "" {
		options.Token = func() (string, error) { return secretAt("server.token_secret", s.TokenSecret) }
		if _, err := options.Token(); err != nil {
			return nil, err
		}
	}
	if s.ClientCertificateSecret != "" {
		options.Certificate = s.certificate
		if _, err := s.certificate(); err != nil {
			return nil, err
		}
	}
	source, err := server.New(options)
	if err != nil {
		return nil, sdk.ConfigError{Key: "server.url", Message: err.Error()}
	}
	return source, nil
}

// certificate reads the secrets anew, so that they can rotate.
func (s *Server) certificate() (*tls.Certificate, error) {
	certificate, err := secretAt("server.client_certificate_secret", s.ClientCertificateSecret)
	if err != nil {
		return nil, err
	}
	key, err := secretAt("server.client_key_secret", s.ClientKeySecret)
	if err != nil {
		return nil, err
	}
	pair, err := tls.X509KeyPair([]byte(certificate), []byte(key))
	if err != nil {
		return nil, sdk.ConfigError{Key: "server.client_certificate_secret", Message: err.Error()}
	}
	return &pair, nil
}

// secretAt reads the secret that a key names.
func secretAt(key, name string) (string, error) {
	secret, err := sdk.Secret(name)
	if err != nil {
		return "", sdk.ConfigError{Key: key, Message: err.Error()}
	}
	return secret.Reveal(), nil
}
