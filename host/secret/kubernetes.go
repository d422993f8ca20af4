package secret

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"net"
	"net/http"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

// fromKubernetes reads a key of a Secret: kubernetes://NAMESPACE/NAME#KEY, as the pod's own service account.
func fromKubernetes(ctx context.Context, location *url.URL) ([]byte, error) {
	p, err := parameters(location, "service_account")
	if err != nil {
		return nil, err
	}
	namespace, name, key := location.Host, strings.Trim(location.Path, "/"), location.Fragment
	if namespace == "" || name == "" || key == "" || strings.Contains(name, "/") {
		return nil, local{errors.New("the reference is not kubernetes://NAMESPACE/NAME#KEY")}
	}
	host, port := os.Getenv("KUBERNETES_SERVICE_HOST"), os.Getenv("KUBERNETES_SERVICE_PORT")
	if host == "" {
		return nil, local{errors.New("the host runs in no pod: KUBERNETES_SERVICE_HOST is not set")}
	}
	folder := cmp.Or(p.Get("service_account"), serviceAccount)
	token, err := content(filepath.Join(folder, "token"), "the service account's token (is it mounted? automountServiceAccountToken)")
	if err != nil {
		return nil, err
	}
	address := "https://" + net.JoinHostPort(host, cmp.Or(port, "443")) + "/api/v1/namespaces/" + url.PathEscape(namespace) + "/secrets/" + url.PathEscape(name)
	got, err := ask(ctx, http.MethodGet, address, filepath.Join(folder, "ca.crt"), map[string]string{"Authorization": "Bearer " + token, "Accept": "application/json"}, nil)
	if err != nil {
		return nil, err
	}
	if got.status != http.StatusOK {
		return nil, kubernetesError(got)
	}
	var said struct {
		Kind string
		Data map[string][]byte // which JSON has in base64
	}
	if err := got.decode(&said); err != nil {
		return nil, err
	}
	if said.Kind != "Secret" {
		return nil, fmt.Errorf("it answers with a %q, not a Secret", boundedText(said.Kind))
	}
	value, ok := said.Data[key]
	if !ok {
		return nil, fmt.Errorf("the Secret has no key %q", key)
	}
	return value, nil
}

func kubernetesError(got answer) error {
	var said struct{ Message string }
	text := fmt.Sprintf("HTTP %d", got.status)
	if got.decode(&said) == nil && said.Message != "" {
		text = boundedText(said.Message)
	}
	switch got.status {
	case http.StatusUnauthorized:
		return fmt.Errorf("it does not take the service account's token: %s", text)
	case http.StatusForbidden:
		return fmt.Errorf("%s: give the service account a Role that may get this Secret (resourceNames)", text)
	}
	return errors.New(text)
}
