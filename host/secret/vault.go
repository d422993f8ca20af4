package secret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// serviceAccount is where Kubernetes puts a pod's own token and the authority of its API.
const serviceAccount = "/var/run/secrets/kubernetes.io/serviceaccount"

// vault is one reading from HashiCorp Vault or OpenBao: vault://MOUNT/PATH#KEY.
type vault struct {
	address, namespace, caFile string
	parameters                 url.Values
	mount, path, key           string
	token                      string
}

// fromVault reads a key of a KV secret, of version 1 or 2. Where the server is and who the host is say the parameters of the
// reference, and the variables of Vault's own command (VAULT_ADDR, VAULT_NAMESPACE, VAULT_CACERT, VAULT_TOKEN; or BAO_ and so on).
func fromVault(ctx context.Context, location *url.URL) ([]byte, error) {
	p, err := parameters(location, "address", "namespace", "ca_file", "auth", "auth_mount", "role", "role_id", "secret_id_file", "token_file", "kv", "version", "encoding")
	if err != nil {
		return nil, err
	}
	v := &vault{
		address: strings.TrimSuffix(cmp.Or(p.Get("address"), vaultVariable("ADDR")), "/"), namespace: cmp.Or(p.Get("namespace"), vaultVariable("NAMESPACE")),
		caFile: cmp.Or(p.Get("ca_file"), vaultVariable("CACERT")), parameters: p, mount: location.Host, path: strings.Trim(location.Path, "/"), key: location.Fragment,
	}
	switch {
	case v.mount == "" || v.path == "" || v.key == "":
		return nil, local{errors.New("the reference is not vault://MOUNT/PATH#KEY")}
	case v.address == "":
		return nil, local{errors.New("nothing says where the server is: set VAULT_ADDR where the host is started, or address= in the reference")}
	}
	if v.token, err = v.login(ctx); err != nil {
		return nil, err
	}
	if auth := p.Get("auth"); auth != "" && auth != "token" {
		defer v.logout(ctx)
	}
	version, err := v.kvVersion(ctx)
	if err != nil {
		return nil, err
	}
	value, err := v.read(ctx, version)
	if err != nil {
		return nil, err
	}
	return decoded(value, p.Get("encoding"))
}

// vaultVariable is one of Vault's variables, or of OpenBao's.
func vaultVariable(name string) string {
	return cmp.Or(os.Getenv("BAO_"+name), os.Getenv("VAULT_"+name))
}

// login gives a token: one that is there, or a new one for the pod's service account or an AppRole.
func (v *vault) login(ctx context.Context) (string, error) {
	switch auth := v.parameters.Get("auth"); auth {
	case "", "token":
		return v.ownToken()
	case "kubernetes":
		role := v.parameters.Get("role")
		if role == "" {
			return "", local{errors.New("auth=kubernetes needs role=")}
		}
		jwt, err := content(cmp.Or(v.parameters.Get("token_file"), filepath.Join(serviceAccount, "token")), "the service account's token")
		if err != nil {
			return "", err
		}
		return v.loginBy(ctx, cmp.Or(v.parameters.Get("auth_mount"), auth), map[string]string{"role": role, "jwt": jwt})
	case "approle":
		role := cmp.Or(v.parameters.Get("role_id"), vaultVariable("ROLE_ID"))
		if role == "" {
			return "", local{errors.New("auth=approle needs role_id=, or VAULT_ROLE_ID where the host is started")}
		}
		secret := vaultVariable("SECRET_ID")
		if file := v.parameters.Get("secret_id_file"); file != "" {
			var err error
			if secret, err = content(file, "the AppRole's secret id"); err != nil {
				return "", err
			}
		}
		return v.loginBy(ctx, cmp.Or(v.parameters.Get("auth_mount"), auth), map[string]string{"role_id": role, "secret_id": secret})
	default:
		return "", local{fmt.Errorf("auth=%s is not known, but token, kubernetes and approle", auth)}
	}
}

// logout gives back what login took, which would stay on the server until it expires.
func (v *vault) logout(ctx context.Context) {
	_, _ = v.ask(ctx, http.MethodPost, "auth/token/revoke-self", nil) // it expires in any case
}

func (v *vault) ownToken() (string, error) {
	if file := cmp.Or(v.parameters.Get("token_file"), vaultVariable("TOKEN_FILE")); file != "" {
		return content(file, "the token")
	}
	if token := vaultVariable("TOKEN"); token != "" {
		return token, nil
	}
	return "", local{errors.New("nothing says who the host is: set token_file= or auth= in the reference, or VAULT_TOKEN where the host is started")}
}

func (v *vault) loginBy(ctx context.Context, mount string, who map[string]string) (string, error) {
	got, err := v.ask(ctx, http.MethodPost, "auth/"+mount+"/login", who)
	if err != nil {
		return "", err
	}
	var said struct {
		Auth struct {
			Token string `json:"client_token"`
		}
	}
	if got.status != http.StatusOK {
		return "", fmt.Errorf("it refuses the login at auth/%s: %s", mount, got.vaultError())
	}
	if err := got.decode(&said); err != nil {
		return "", err
	}
	if said.Auth.Token == "" {
		return "", fmt.Errorf("its login at auth/%s gives no token", mount)
	}
	return said.Auth.Token, nil
}

func (v *vault) ask(ctx context.Context, method, path string, body any) (answer, error) {
	headers := map[string]string{"X-Vault-Request": "true"}
	if v.token != "" {
		headers["X-Vault-Token"] = v.token
	}
	if v.namespace != "" {
		headers["X-Vault-Namespace"] = v.namespace
	}
	path, query, _ := strings.Cut(path, "?")
	address := v.address + (&url.URL{Path: "/v1/" + path, RawQuery: query}).String()
	return ask(ctx, method, address, v.caFile, headers, body)
}

// vaultError is what the server says of an error.
func (a answer) vaultError() string {
	var said struct{ Errors []string }
	if a.decode(&said) != nil || len(said.Errors) == 0 {
		return fmt.Sprintf("HTTP %d", a.status)
	}
	text := boundedText(strings.Join(said.Errors, "; "))
	switch {
	case strings.Contains(text, "sealed"):
		return text + " (somebody has to unseal it)"
	case strings.Contains(text, "invalid token"):
		return text + " (it has expired, was revoked, or is of another server)"
	}
	return text
}

// kvVersion finds out how the mount keeps its secrets, as Vault's own command does.
func (v *vault) kvVersion(ctx context.Context) (string, error) {
	switch given := v.parameters.Get("kv"); given {
	case "1", "2":
		return given, nil
	case "":
	default:
		return "", local{fmt.Errorf("kv=%s is not known, but 1 and 2", given)}
	}
	got, err := v.ask(ctx, http.MethodGet, "sys/internal/ui/mounts/"+v.mount+"/"+v.path, nil)
	if err != nil {
		return "", err
	}
	if got.status != http.StatusOK {
		return "", fmt.Errorf("it does not tell of the mount %s: %s; the token may read no path there, or the mount is another", v.mount, got.vaultError())
	}
	var said struct {
		Data struct {
			Type    string
			Path    string
			Options map[string]string
		}
	}
	if err := got.decode(&said); err != nil {
		return "", err
	}
	if said.Data.Type != "kv" && said.Data.Type != "generic" {
		return "", fmt.Errorf("the mount %s keeps no values (its type is %s)", v.mount, boundedText(said.Data.Type))
	}
	if mount := strings.Trim(said.Data.Path, "/"); mount != v.mount && strings.HasPrefix(v.mount+"/"+v.path, mount+"/") {
		v.path, v.mount = strings.TrimPrefix(v.mount+"/"+v.path, mount+"/"), mount // one of several parts
	}
	return cmp.Or(said.Data.Options["version"], "1"), nil
}

// read gives the value of the key.
func (v *vault) read(ctx context.Context, kv string) (string, error) {
	path := v.mount + "/" + v.path
	if kv == "2" {
		path = v.mount + "/data/" + v.path
		if version := v.parameters.Get("version"); version != "" {
			path += "?version=" + url.QueryEscape(version)
		}
	}
	got, err := v.ask(ctx, http.MethodGet, path, nil)
	if err != nil {
		return "", err
	}
	var first struct{ Data map[string]any }
	switch got.status {
	case http.StatusOK:
	case http.StatusNotFound:
		return "", v.missing(got)
	default:
		return "", errors.New(got.vaultError())
	}
	if err := got.decode(&first); err != nil {
		return "", err
	}
	data := first.Data
	if kv == "2" {
		data, _ = data["data"].(map[string]any)
	}
	value, ok := data[v.key]
	if !ok {
		return "", fmt.Errorf("the secret has no key %q", v.key)
	}
	text, ok := value.(string)
	if !ok {
		return "", fmt.Errorf("the key %q is not a string", v.key)
	}
	return text, nil
}

// missing tells a secret that was deleted from one that never was.
func (v *vault) missing(got answer) error {
	var said struct {
		Data struct {
			Metadata struct {
				Version   int
				Deleted   string `json:"deletion_time"`
				Destroyed bool
			}
		}
	}
	switch err := got.decode(&said); {
	case err == nil && said.Data.Metadata.Destroyed:
		return fmt.Errorf("version %d of the secret was destroyed", said.Data.Metadata.Version)
	case err == nil && said.Data.Metadata.Deleted != "":
		return fmt.Errorf("version %d of the secret was deleted; it can be undeleted", said.Data.Metadata.Version)
	}
	return fmt.Errorf("there is no secret %s in the mount %s", v.path, v.mount)
}
