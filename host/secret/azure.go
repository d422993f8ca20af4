package secret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net/http"
	"net/url"
	"os"
	"strings"
)

// azureSuffixes are the domains of the vaults, by which a token is asked for.
var azureSuffixes = []string{"vault.azure.net", "vault.azure.cn", "vault.usgovcloudapi.net"}

// azureMetadata is where a machine of Azure gives tokens for its managed identity.
const azureMetadata = "http://169.254.169.254/metadata/identity/oauth2/token"

// fromAzure reads a secret of Azure Key Vault: azurekeyvault://VAULT/NAME, or …/VERSION. Who the host is say the variables of Azure's own
// clients: a workload identity, a client secret, or else the machine's managed identity.
func fromAzure(ctx context.Context, location *url.URL) ([]byte, error) {
	p, err := parameters(location, "ca_file", "encoding")
	if err != nil {
		return nil, err
	}
	parts := strings.Split(strings.Trim(location.Path, "/"), "/")
	if location.Host == "" || parts[0] == "" || len(parts) > 2 || location.Fragment != "" {
		return nil, local{errors.New("the reference is not azurekeyvault://VAULT/NAME or azurekeyvault://VAULT/NAME/VERSION")}
	}
	vault := location.Host
	if !strings.ContainsAny(vault, ".:") {
		vault += "." + azureSuffixes[0]
	}
	resource := "https://" + azureSuffixes[0]
	for _, suffix := range azureSuffixes {
		if strings.HasSuffix(vault, "."+suffix) {
			resource = "https://" + suffix
		}
	}
	token, err := azureToken(ctx, resource, p.Get("ca_file"))
	if err != nil {
		return nil, err
	}
	address := (&url.URL{Scheme: "https", Host: vault, Path: "/secrets/" + strings.Join(parts, "/"), RawQuery: "api-version=7.4"}).String()
	got, err := ask(ctx, http.MethodGet, address, p.Get("ca_file"), map[string]string{"Authorization": "Bearer " + token}, nil)
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK {
		return nil, errors.New(azureError(got))
	}
	var said struct{ Value *string }
	if err := got.decode(&said); err != nil {
		return nil, err
	}
	if said.Value == nil {
		return nil, errors.New("the secret has no value")
	}
	return decoded(*said.Value, p.Get("encoding"))
}

// federatedTokenFile names the file with a workload identity's token.
const federatedTokenFile = "AZURE_FEDERATED_TOKEN_FILE"

// azureToken asks for one.
func azureToken(ctx context.Context, resource, caFile string) (string, error) {
	tenant, client := os.Getenv("AZURE_TENANT_ID"), os.Getenv("AZURE_CLIENT_ID")
	form := url.Values{"grant_type": {"client_credentials"}, "client_id": {client}, "scope": {resource + "/.default"}}
	switch file, secret := os.Getenv(federatedTokenFile), os.Getenv("AZURE_CLIENT_SECRET"); {
	case file != "":
		assertion, err := content(file, "the workload identity's token")
		if err != nil {
			return "", err
		}
		form.Set("client_assertion_type", "urn:ietf:params:oauth:client-assertion-type:jwt-bearer")
		form.Set("client_assertion", assertion)
	case secret != "":
		form.Set("client_secret", secret)
	default:
		return managedToken(ctx, resource, client)
	}
	if tenant == "" || client == "" {
		return "", local{errors.New("AZURE_TENANT_ID and AZURE_CLIENT_ID have to be set where the host is started")}
	}
	authority := strings.TrimSuffix(cmp.Or(os.Getenv("AZURE_AUTHORITY_HOST"), "https://login.microsoftonline.com"), "/")
	got, err := ask(ctx, http.MethodPost, authority+"/"+url.PathEscape(tenant)+"/oauth2/v2.0/token", caFile, map[string]string{"Content-Type": "application/x-www-form-urlencoded"}, form)
	if err != nil {
		return "", fmt.Errorf("no token is to be had: %w", err)
	}
	return got.azureToken()
}

func managedToken(ctx context.Context, resource, client string) (string, error) {
	query := url.Values{"api-version": {"2018-02-01"}, "resource": {resource}}
	if client != "" {
		query.Set("client_id", client)
	}
	got, err := ask(ctx, http.MethodGet, azureMetadata+"?"+query.Encode(), "", map[string]string{"Metadata": "true"}, nil)
	if err != nil {
		return "", fmt.Errorf("no token is to be had of the machine's managed identity (set AZURE_FEDERATED_TOKEN_FILE or AZURE_CLIENT_SECRET for another): %w", err)
	}
	return got.azureToken()
}

func (a answer) azureToken() (string, error) {
	var said struct {
		Token string `json:"access_token"`
	}
	if a.status != http.StatusOK {
		return "", fmt.Errorf("no token is to be had: %s", azureError(a))
	}
	if err := a.decode(&said); err != nil {
		return "", err
	}
	if said.Token == "" {
		return "", errors.New("no token is in the authority's answer")
	}
	return said.Token, nil
}

// azureError is what Azure says of an error: an object with code and message in a vault's, two texts in an authority's.
func azureError(got answer) string {
	var vault struct {
		Error struct{ Code, Message string }
	}
	if got.decode(&vault) == nil && vault.Error.Code != "" {
		return boundedText(vault.Error.Code + ": " + vault.Error.Message)
	}
	var authority struct {
		Error       string
		Description string `json:"error_description"`
	}
	if got.decode(&authority) == nil && authority.Error != "" {
		return boundedText(authority.Error + ": " + authority.Description)
	}
	return fmt.Sprintf("HTTP %d", got.status)
}
