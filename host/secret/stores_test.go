package secret_test

import (
	"context"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"net/url"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/secret"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/hosttest/openbao"
)

// reads is what a source is to give, or to be refused for.
type reads struct {
	source, want, wrong string
	here                bool // it is this machine's or the configuration's fault
}

func (r reads) check(t *testing.T) {
	t.Helper()
	ctx, cancel := context.WithTimeout(t.Context(), 10*time.Second)
	defer cancel()
	got, err := secret.Read(ctx, r.source)
	if r.wrong == "" {
		if err != nil || string(got) != r.want {
			t.Errorf("%s: %q, %v; want %q", r.source, got, err, r.want)
		}
		return
	}
	var failed *secret.Error
	switch {
	case !errors.As(err, &failed) || failed.Advice == "" || !strings.Contains(err.Error(), r.wrong) || !strings.Contains(err.Error(), r.source):
		t.Errorf("%s: %v; want %q", r.source, err, r.wrong)
	case secret.OfStore(err) == r.here:
		t.Errorf("%s: whose fault this is, is mistaken: %v", r.source, err)
	case strings.Contains(err.Error(), "swordfish"):
		t.Errorf("%s: the error tells the value: %v", r.source, err)
	}
}

func file(t *testing.T, content string) string {
	t.Helper()
	path := filepath.Join(t.TempDir(), "file")
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func TestSecretsOfVaultAreRead(t *testing.T) {
	b := openbao.Start(t)
	for name := range map[string]bool{"VAULT_TOKEN": true, "BAO_TOKEN": true, "VAULT_NAMESPACE": true, "BAO_ADDR": true} {
		t.Setenv(name, "")
	}
	t.Setenv("VAULT_ADDR", b.Address)
	t.Setenv("VAULT_CACERT", b.CA)
	kv2 := func(data map[string]any) map[string]any { return map[string]any{"data": data} }
	b.Must(t, http.MethodPost, "secret/data/team/db", "", kv2(map[string]any{"password": "swordfish\n", "port": 5432, "binary": "c3dvcmQA/w==", "old": "x"}))
	b.Must(t, http.MethodPost, "secret/data/gone", "", kv2(map[string]any{"a": "swordfish"}))
	b.Must(t, http.MethodDelete, "secret/data/gone", "", nil)
	b.Must(t, http.MethodPost, "secret/data/destroyed", "", kv2(map[string]any{"a": "swordfish"}))
	b.Must(t, http.MethodPost, "secret/destroy/destroyed", "", map[string]any{"versions": []int{1}})
	b.Must(t, http.MethodPost, "sys/mounts/old/kv", "", map[string]any{"type": "kv", "options": map[string]string{"version": "1"}})
	b.Must(t, http.MethodPost, "old/kv/db", "", map[string]any{"password": "fish"})
	b.Must(t, http.MethodPost, "sys/namespaces/tenant", "", nil)
	b.Must(t, http.MethodPost, "sys/mounts/kv", "tenant", map[string]any{"type": "kv", "options": map[string]string{"version": "2"}})
	b.Must(t, http.MethodPost, "kv/data/db", "tenant", kv2(map[string]any{"password": "tenant's"}))
	b.Must(t, http.MethodPost, "sys/policies/acl/team", "", map[string]any{"policy": `path "secret/data/team/*" { capabilities = ["read"] }`})
	b.Must(t, http.MethodPost, "sys/auth/approle", "", map[string]any{"type": "approle"})
	b.Must(t, http.MethodPost, "auth/approle/role/agenthost", "", map[string]any{"token_policies": "team"})
	role := inside(b.Must(t, http.MethodGet, "auth/approle/role/agenthost/role-id", "", nil), "data", "role_id")
	secretID := file(t, inside(b.Must(t, http.MethodPost, "auth/approle/role/agenthost/secret-id", "", nil), "data", "secret_id")+"\n")
	limited := file(t, inside(b.Must(t, http.MethodPost, "auth/token/create", "", map[string]any{"policies": []string{"team"}}), "auth", "client_token"))
	root, stranger := file(t, "root\n"), file(t, "s.nobody")
	jwt := reviewedBy(t, b)

	as := "?token_file=" + root
	for _, r := range []reads{
		{source: "vault://secret/team/db" + as + "#password", want: "swordfish\n"},
		{source: "vault://secret/team/db?token_file=" + limited + "#password", want: "swordfish\n"},
		{source: "vault://secret/team/db" + as + "&encoding=base64#binary", want: "sword\x00\xff"},
		{source: "vault://secret/team/db" + as + "&kv=2&version=1#old", want: "x"},
		{source: "vault://old/kv/db" + as + "#password", want: "fish"},
		{source: "vault://kv/db" + as + "&namespace=tenant#password", want: "tenant's"},
		{source: "vault://secret/team/db?auth=approle&role_id=" + role + "&secret_id_file=" + secretID + "#password", want: "swordfish\n"},
		{source: "vault://secret/team/db?auth=kubernetes&role=agenthost&token_file=" + jwt + "#password", want: "swordfish\n"},

		{source: "vault://secret/team/db" + as + "#user", wrong: `the secret has no key "user"`},
		{source: "vault://secret/team/db" + as + "#port", wrong: `the key "port" is not a string`},
		{source: "vault://secret/team/db" + as + "&encoding=base64#password", wrong: "the value is not base64"},
		{source: "vault://secret/team/db" + as + "&version=9#old", wrong: "there is no secret team/db in the mount secret"},
		{source: "vault://secret/gone" + as + "#a", wrong: "version 1 of the secret was deleted; it can be undeleted"},
		{source: "vault://secret/destroyed" + as + "#a", wrong: "version 1 of the secret was destroyed"},
		{source: "vault://secret/nowhere" + as + "#a", wrong: "there is no secret nowhere in the mount secret"},
		{source: "vault://nowhere/x" + as + "#a", wrong: "it does not tell of the mount nowhere: "},
		{source: "vault://cubbyhole/x" + as + "#a", wrong: "the mount cubbyhole keeps no values (its type is cubbyhole)"},
		{source: "vault://secret/other?kv=2&token_file=" + limited + "#a", wrong: "permission denied"},
		{source: "vault://secret/team/db?kv=2&token_file=" + stranger + "#a", wrong: "permission denied"},
		{source: "vault://secret/team/db?auth=approle&role_id=nobody&secret_id_file=" + secretID + "#a", wrong: "it refuses the login at auth/approle: "},
		{source: "vault://secret/team/db?auth=kubernetes&role=nobody&token_file=" + jwt + "#a", wrong: "it refuses the login at auth/kubernetes: "},
		{source: "vault://secret/team/db?auth=kubernetes&role=agenthost&token_file=" + stranger + "#a", wrong: "it refuses the login at auth/kubernetes: "},
		{source: "vault://secret/team/db" + as + "&address=https://" + hosttest.FreeAddress(t) + "#a", wrong: "connection refused"},
		{source: "vault://secret/team/db" + as + "&ca_file=" + root + "#a", wrong: "has no certificate in PEM", here: true},
		{source: "vault://secret/team/db?token_file=/no/such/file#a", wrong: "the token cannot be read: open /no/such/file", here: true},
		{source: "vault://secret/team/db?token_file=" + file(t, "\n") + "#a", wrong: "is empty", here: true},
		{source: "vault://secret/team/db#a", wrong: "nothing says who the host is", here: true},
		{source: "vault://secret/team/db?auth=ldap#a", wrong: "auth=ldap is not known", here: true},
		{source: "vault://secret/team/db?rôle=x#a", wrong: "knows no parameter", here: true},
		{source: "vault://secret#a", wrong: "the reference is not vault://MOUNT/PATH#KEY", here: true},
	} {
		t.Run(r.source, r.check)
	}

	silent := httptest.NewTLSServer(http.HandlerFunc(func(_ http.ResponseWriter, r *http.Request) { <-r.Context().Done() }))
	defer silent.Close()
	reads{source: "vault://secret/team/db" + as + "&address=" + silent.URL + "#a", wrong: "it is not that of " + b.CA}.check(t)
	reads{source: "vault://secret/team/db" + as + "&address=" + silent.URL + "&ca_file=" + authority(t, silent) + "#a", wrong: "it does not answer"}.check(t)
	t.Setenv("VAULT_TOKEN", "root")
	reads{source: "vault://secret/team/db#password", want: "swordfish\n"}.check(t)
	t.Setenv("VAULT_CACERT", "")
	reads{source: "vault://secret/team/db#password", wrong: "name its authority with ca_file=/path in the reference"}.check(t)
	t.Setenv("VAULT_CACERT", b.CA)
	b.Must(t, http.MethodPut, "sys/seal", "", nil)
	reads{source: "vault://secret/team/db?kv=2#password", wrong: "somebody has to unseal it"}.check(t)
	t.Setenv("VAULT_ADDR", "")
	reads{source: "vault://secret/team/db#password", wrong: "set VAULT_ADDR where the host is started", here: true}.check(t)
}

// inside is a text in an answer.
func inside(answer map[string]any, object, key string) string {
	data, _ := answer[object].(map[string]any)
	text, _ := data[key].(string)
	return text
}

// authority is the file of a test server's certificate.
func authority(t *testing.T, server *httptest.Server) string {
	t.Helper()
	return file(t, string(pem.EncodeToMemory(&pem.Block{Type: "CERTIFICATE", Bytes: server.Certificate().Raw})))
}

// reviewedBy lets service accounts of Kubernetes log in, whose API knows one of them, and gives its token.
func reviewedBy(t *testing.T, b openbao.Server) (tokenFile string) {
	t.Helper()
	// A token as the API gives out, with a signature that only it can judge.
	part := func(claims string) string { return base64.RawURLEncoding.EncodeToString([]byte(claims)) }
	token := part(`{"alg":"RS256","kid":"x"}`) + "." + part(`{"iss":"https://kubernetes.default.svc","sub":"system:serviceaccount:flyte:agenthost","iat":1700000000,"nbf":1700000000,"exp":4102444800,`+
		`"kubernetes.io":{"namespace":"flyte","serviceaccount":{"name":"agenthost","uid":"u1"}}}`) + "." + part("signature")
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		var review struct{ Spec struct{ Token string } }
		if r.Method != http.MethodPost || r.URL.Path != "/apis/authentication.k8s.io/v1/tokenreviews" || json.NewDecoder(r.Body).Decode(&review) != nil {
			http.NotFound(w, r)
			return
		}
		w.Header().Set("Content-Type", "application/json")
		w.WriteHeader(http.StatusCreated)
		if review.Spec.Token != token {
			_, _ = io.WriteString(w, `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"error":"invalid bearer token"}}`)
			return
		}
		_, _ = io.WriteString(w, `{"kind":"TokenReview","apiVersion":"authentication.k8s.io/v1","status":{"authenticated":true,"user":{"username":"system:serviceaccount:flyte:agenthost","uid":"u1","groups":["system:serviceaccounts"]}}}`)
	}))
	t.Cleanup(api.Close)
	certificate, err := os.ReadFile(authority(t, api))
	if err != nil {
		t.Fatal(err)
	}
	b.Must(t, http.MethodPost, "sys/auth/kubernetes", "", map[string]any{"type": "kubernetes"})
	b.Must(t, http.MethodPost, "auth/kubernetes/config", "", map[string]any{"kubernetes_host": api.URL, "kubernetes_ca_cert": string(certificate), "token_reviewer_jwt": token})
	b.Must(t, http.MethodPost, "auth/kubernetes/role/agenthost", "", map[string]any{"bound_service_account_names": "agenthost", "bound_service_account_namespaces": "flyte", "token_policies": "team"})
	return file(t, token)
}

// The bodies are recorded: a kube-apiserver v1.34.4 gave them to a service account with a Role for the Secrets db and nowhere, and
// the last one to a token whose time was over.
func TestSecretsOfKubernetesAreRead(t *testing.T) {
	recorded := func(name string) []byte {
		body, err := os.ReadFile(filepath.Join("testdata/kubernetes", name+".json"))
		if err != nil {
			t.Fatal(err)
		}
		return body
	}
	found, notFound, forbidden, expired := recorded("found"), recorded("not-found"), recorded("forbidden"), recorded("expired-token")
	api := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := func(code int, body []byte) {
			w.WriteHeader(code)
			_, _ = w.Write(body)
		}
		switch {
		case r.Method != http.MethodGet || r.Header.Get("Authorization") != "Bearer pods-token":
			answer(401, expired)
		case r.URL.Path == "/api/v1/namespaces/flyte/secrets/db":
			answer(200, found)
		case r.URL.Path == "/api/v1/namespaces/flyte/secrets/other":
			answer(403, forbidden)
		default:
			answer(404, notFound)
		}
	}))
	defer api.Close()
	account := func(token string) string {
		folder := t.TempDir()
		certificate, err := os.ReadFile(authority(t, api))
		if err != nil {
			t.Fatal(err)
		}
		if err := errors.Join(os.WriteFile(filepath.Join(folder, "token"), []byte(token), 0o600), os.WriteFile(filepath.Join(folder, "ca.crt"), certificate, 0o600)); err != nil {
			t.Fatal(err)
		}
		return "?service_account=" + folder
	}
	own := account("pods-token")
	reads{source: "kubernetes://flyte/db" + own + "#password", wrong: "the host runs in no pod", here: true}.check(t)
	at, err := url.Parse(api.URL)
	if err != nil {
		t.Fatal(err)
	}
	t.Setenv("KUBERNETES_SERVICE_HOST", at.Hostname())
	t.Setenv("KUBERNETES_SERVICE_PORT", at.Port())
	for _, r := range []reads{
		{source: "kubernetes://flyte/db" + own + "#password", want: "swordfish\x00\xff\n"},
		{source: "kubernetes://flyte/db" + own + "#empty", want: ""},
		{source: "kubernetes://flyte/db" + own + "#user", wrong: `the Secret has no key "user"`},
		{source: "kubernetes://flyte/nowhere" + own + "#a", wrong: `secrets "nowhere" not found`},
		{source: "kubernetes://flyte/other" + own + "#a", wrong: "give the service account a Role that may get this Secret"},
		{source: "kubernetes://flyte/db" + account("expired") + "#a", wrong: "it does not take the service account's token"},
		{source: "kubernetes://flyte/db" + account("") + "#a", wrong: "is empty", here: true},
		{source: "kubernetes://flyte/db#a", wrong: "is it mounted? automountServiceAccountToken", here: true},
		{source: "kubernetes://flyte#a", wrong: "the reference is not kubernetes://NAMESPACE/NAME#KEY", here: true},
	} {
		t.Run(r.source, r.check)
	}
}

func TestSecretsOfAzureAreRead(t *testing.T) {
	const tenant = "11111111-2222-3333-4444-555555555555"
	azure := httptest.NewTLSServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		w.Header().Set("Content-Type", "application/json")
		answer := func(code int, body string) {
			w.WriteHeader(code)
			_, _ = io.WriteString(w, body)
		}
		_ = r.ParseForm()
		switch {
		case r.Method == http.MethodPost && r.URL.Path == "/"+tenant+"/oauth2/v2.0/token":
			byToken := r.PostForm.Get("client_assertion") == "federated" && r.PostForm.Get("client_assertion_type") == "urn:ietf:params:oauth:client-assertion-type:jwt-bearer"
			if r.PostForm.Get("grant_type") == "client_credentials" && r.PostForm.Get("client_id") == "app" && r.PostForm.Get("scope") == "https://vault.azure.net/.default" &&
				(byToken || r.PostForm.Get("client_secret") == "sesame") {
				answer(200, `{"token_type":"Bearer","expires_in":3599,"access_token":"granted"}`)
				return
			}
			answer(401, `{"error":"invalid_client","error_description":"AADSTS7000215: Invalid client secret provided."}`)
		case r.Header.Get("Authorization") != "Bearer granted" || r.URL.Query().Get("api-version") != "7.4":
			answer(401, `{"error":{"code":"Unauthorized","message":"[TokenExpired] Error validating token"}}`)
		case r.URL.Path == "/secrets/db":
			answer(200, `{"value":"swordfish\n","id":"https://x.vault.azure.net/secrets/db/2","attributes":{"enabled":true}}`)
		case r.URL.Path == "/secrets/db/1":
			answer(200, `{"value":"c3dvcmQA","id":"https://x.vault.azure.net/secrets/db/1","attributes":{"enabled":true}}`)
		case r.URL.Path == "/secrets/off":
			answer(403, `{"error":{"code":"Forbidden","message":"Operation get is not allowed on a disabled secret.","innererror":{"code":"SecretDisabled"}}}`)
		default:
			answer(404, `{"error":{"code":"SecretNotFound","message":"A secret with (name/id) gone was not found in this key vault. If you recently deleted this secret you may be able to recover it using the correct recovery command."}}`)
		}
	}))
	defer azure.Close()
	vault := "azurekeyvault://" + strings.TrimPrefix(azure.URL, "https://")
	with := "?ca_file=" + authority(t, azure)
	for name, value := range map[string]string{
		"AZURE_AUTHORITY_HOST": azure.URL, "AZURE_TENANT_ID": tenant, "AZURE_CLIENT_ID": "app", "AZURE_CLIENT_SECRET": "", "AZURE_FEDERATED_TOKEN_FILE": file(t, "federated\n"),
	} {
		t.Setenv(name, value)
	}
	for _, r := range []reads{
		{source: vault + "/db" + with, want: "swordfish\n"},
		{source: vault + "/db/1" + with + "&encoding=base64", want: "sword\x00"},
		{source: vault + "/db" + with + "&encoding=base64", wrong: "the value is not base64"},
		{source: vault + "/off" + with, wrong: "Operation get is not allowed on a disabled secret"},
		{source: vault + "/gone" + with, wrong: "SecretNotFound: A secret with (name/id) gone was not found"},
		{source: vault + "/db", wrong: "name its authority with ca_file=/path in the reference"},
		{source: vault + "/a/b/c" + with, wrong: "the reference is not azurekeyvault://VAULT/NAME", here: true},
	} {
		t.Run(r.source, r.check)
	}
	t.Setenv("AZURE_FEDERATED_TOKEN_FILE", "")
	t.Setenv("AZURE_CLIENT_SECRET", "sesame")
	reads{source: vault + "/db" + with, want: "swordfish\n"}.check(t)
	t.Setenv("AZURE_CLIENT_SECRET", "wrong")
	reads{source: vault + "/db" + with, wrong: "no token is to be had: invalid_client: AADSTS7000215"}.check(t)
	t.Setenv("AZURE_TENANT_ID", "")
	reads{source: vault + "/db" + with, wrong: "AZURE_TENANT_ID and AZURE_CLIENT_ID have to be set", here: true}.check(t)
}
