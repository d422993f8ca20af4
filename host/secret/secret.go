// Package secret reads secrets from where a configuration says they are: files, the host's environment, and the stores of
// the clouds.
package secret

import (
	"context"
	"errors"
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"

	"gocloud.dev/runtimevar"
	_ "gocloud.dev/runtimevar/awsparamstore"     // awsparamstore://
	_ "gocloud.dev/runtimevar/awssecretsmanager" // awssecretsmanager://
	_ "gocloud.dev/runtimevar/gcpsecretmanager"  // gcpsecretmanager://
)

// Pattern is what sources look like, as a regular expression.
const Pattern = `^(file://[^\x00]+|env:[A-Za-z_][A-Za-z0-9_]*|(awssecretsmanager|awsparamstore|gcpsecretmanager|azurekeyvault)://[^\x00]+|(vault|kubernetes)://[^\x00#]+#[^\x00]+)$`

// Sources is Pattern in words.
const Sources = "file:///path, env:NAME, awssecretsmanager://NAME, awsparamstore://NAME, gcpsecretmanager://projects/PROJECT/secrets/NAME, azurekeyvault://VAULT/NAME, vault://MOUNT/PATH#KEY or kubernetes://NAMESPACE/NAME#KEY"

// Error is why a secret could not be read, and what to do about it. It never has a value in it.
type Error struct {
	Err    error
	Advice string
}

func (e *Error) Error() string { return e.Err.Error() }
func (e *Error) Unwrap() error { return e.Err }

// storeError is what a store said, or that it said nothing.
type storeError struct{ error }

func (e storeError) Unwrap() error { return e.error }

// OfStore says that an error is about a store that was asked for a secret: it is away, or refuses. Others are about this machine.
func OfStore(err error) bool { return errors.As(err, new(storeError)) }

// Read gives a secret, byte for byte. Errors are *Error.
//
// The URLs of the stores are those of gocloud.dev/runtimevar; their clients find credentials as always in their clouds
// (AWS's default chain, Google's application default credentials). What has to be asked for over the network is bounded by
// ctx.
func Read(ctx context.Context, source string) ([]byte, error) {
	if name, ok := strings.CutPrefix(source, "env:"); ok {
		return fromEnvironment(name)
	}
	location, err := url.Parse(source)
	switch {
	case err != nil:
	case location.Scheme == "file" && location.Host == "" && filepath.IsAbs(location.Path):
		return fromFile(location.Path)
	case restStores[location.Scheme] != nil:
		return fromRestStore(ctx, location)
	case runtimevar.DefaultURLMux().ValidVariableScheme(location.Scheme):
		return fromStore(ctx, location)
	}
	// The source is not shown: somebody may have put the secret itself here.
	return nil, &Error{errors.New("its source is none of " + Sources), "write where the secret is, not the secret"}
}

// Stored says that a source is a store's: what it gives may change without any file or variable of this machine.
func Stored(source string) bool {
	scheme, _, ok := strings.Cut(source, "://")
	return ok && (restStores[scheme] != nil || runtimevar.DefaultURLMux().ValidVariableScheme(scheme)) && scheme != "file"
}

// Shown is a source for messages.
func Shown(source string) string {
	location, err := url.Parse(source)
	if err != nil {
		return "its source"
	}
	return location.Redacted()
}

// Files are the files and folders that a source names, or the environment for it: the secret itself, or what the host shows to a store.
func Files(source string) (files []string) {
	if path, isFile := strings.CutPrefix(source, "file://"); isFile {
		return []string{path}
	}
	location, err := url.Parse(source)
	if err != nil || restStores[location.Scheme] == nil {
		return nil
	}
	for _, name := range []string{"token_file", "secret_id_file", "service_account"} {
		if path := location.Query().Get(name); path != "" {
			files = append(files, path)
		}
	}
	if path := credentialFile(location); path != "" {
		files = append(files, path)
	}
	return files
}

// credentialFile is the file by which the environment says who the host is to a store.
func credentialFile(location *url.URL) string {
	switch location.Scheme {
	case "azurekeyvault":
		return os.Getenv(federatedTokenFile)
	case "vault":
		if auth := location.Query().Get("auth"); (auth == "" || auth == "token") && location.Query().Get("token_file") == "" {
			return vaultVariable("TOKEN_FILE")
		}
	}
	return ""
}

// restStores are the stores that are asked by plain HTTP, by scheme.
var restStores = map[string]func(context.Context, *url.URL) ([]byte, error){
	"vault": fromVault, "kubernetes": fromKubernetes, "azurekeyvault": fromAzure,
}

func fromRestStore(ctx context.Context, location *url.URL) ([]byte, error) {
	value, err := restStores[location.Scheme](ctx, location)
	switch here := (local{}); {
	case err == nil:
		return value, nil
	case errors.As(err, &here):
		return nil, &Error{fmt.Errorf("cannot be read from %s: %w", location.Redacted(), err), "correct the secret's source, or what the host is started with"}
	}
	return nil, &Error{fmt.Errorf("cannot be read from %s: %w", location.Redacted(), storeError{err}), "check the name, and that the host's own identity may read it"}
}

func fromEnvironment(name string) ([]byte, error) {
	value, ok := os.LookupEnv(name)
	if !ok {
		return nil, &Error{fmt.Errorf("the host's environment has no variable %s", name), "set it where the host is started, or correct the secret's source"}
	}
	return []byte(value), nil
}

func fromFile(path string) ([]byte, error) {
	value, err := os.ReadFile(path)
	if err != nil {
		return nil, &Error{fmt.Errorf("cannot be read: %w", err), "check that the file is mounted and that the host's user may read it"}
	}
	return value, nil
}

func fromStore(ctx context.Context, location *url.URL) ([]byte, error) {
	failed := func(err error) *Error {
		return &Error{fmt.Errorf("cannot be read from %s: %w", location.Redacted(), storeError{err}), "check the name, and that the host's own identity may read it"}
	}
	variable, err := runtimevar.OpenVariable(ctx, location.String())
	if err != nil {
		return nil, failed(err)
	}
	defer variable.Close()               // fails only when it is closed twice
	snapshot, err := variable.Watch(ctx) // and not Latest, which waits until there is a value
	if err != nil {
		return nil, failed(err)
	}
	switch value := snapshot.Value.(type) {
	case []byte:
		return value, nil
	case string:
		return []byte(value), nil
	default:
		return nil, failed(fmt.Errorf("?decoder= makes a %T of it", value))
	}
}
