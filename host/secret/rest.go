package secret

import (
	"bytes"
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"os"
	"slices"
	"strings"
)

// The stores below are asked by plain HTTP: each is one or two requests, and their own clients would cost every host more memory than
// all the rest of it.

// maxSecret is the most that a store's answer may have.
const maxSecret = 4 << 20

// answer is what a store has answered.
type answer struct {
	status int
	body   []byte
}

// ask sends one request. Whatever the code of the answer is, it is no error.
func ask(ctx context.Context, method, address, caFile string, headers map[string]string, body any) (answer, error) {
	client, closeIdle, err := clientFor(caFile)
	if err != nil {
		return answer{}, err
	}
	defer closeIdle()
	var content io.Reader
	switch body := body.(type) {
	case nil:
	case url.Values:
		content = strings.NewReader(body.Encode())
	default:
		encoded, err := json.Marshal(body)
		if err != nil {
			return answer{}, err
		}
		content = bytes.NewReader(encoded)
	}
	request, err := http.NewRequestWithContext(ctx, method, address, content)
	if err != nil {
		return answer{}, err
	}
	for name, value := range headers {
		request.Header.Set(name, value)
	}
	response, err := client.Do(request)
	if err != nil {
		return answer{}, explainTLS(err, caFile)
	}
	defer response.Body.Close()
	got, err := io.ReadAll(io.LimitReader(response.Body, maxSecret+1))
	switch {
	case err != nil:
		return answer{}, err
	case len(got) > maxSecret:
		return answer{}, fmt.Errorf("its answer is larger than %d bytes", maxSecret)
	}
	return answer{response.StatusCode, got}, nil
}

// clientFor trusts the authorities of a file, or those of the system. It follows nobody to another host with a token.
func clientFor(caFile string) (client *http.Client, closeIdle func(), err error) {
	transport := &http.Transport{Proxy: http.ProxyFromEnvironment, ForceAttemptHTTP2: true, TLSClientConfig: &tls.Config{MinVersion: tls.VersionTLS12}}
	if caFile != "" {
		pem, err := os.ReadFile(caFile)
		if err != nil {
			return nil, nil, local{fmt.Errorf("its authorities cannot be read: %w", err)}
		}
		transport.TLSClientConfig.RootCAs = x509.NewCertPool()
		if !transport.TLSClientConfig.RootCAs.AppendCertsFromPEM(pem) {
			return nil, nil, local{fmt.Errorf("%s has no certificate in PEM", caFile)}
		}
	}
	refuse := func(*http.Request, []*http.Request) error { return http.ErrUseLastResponse }
	return &http.Client{Transport: transport, CheckRedirect: refuse}, transport.CloseIdleConnections, nil
}

// local is an error of this machine's or the configuration's, and not of the store.
type local struct{ error }

func (e local) Unwrap() error { return e.error }

func explainTLS(err error, caFile string) error {
	unknown, failed := (x509.UnknownAuthorityError{}), (*url.Error)(nil)
	if errors.As(err, &failed) {
		err = failed.Err // which does not repeat the address
	}
	switch {
	case errors.As(err, &unknown) && caFile == "":
		return fmt.Errorf("%w: name its authority with ca_file=/path in the reference", err)
	case errors.As(err, &unknown):
		return fmt.Errorf("%w: it is not that of %s", err, caFile)
	case errors.Is(err, context.DeadlineExceeded):
		return fmt.Errorf("it does not answer: %w", err)
	}
	return err
}

// decode reads an answer in JSON. Nothing of it is in the error, since a secret may be.
func (a answer) decode(into any) error {
	if json.Unmarshal(a.body, into) != nil {
		return fmt.Errorf("its answer (HTTP %d) is not what such a store answers: is this its address?", a.status)
	}
	return nil
}

// content reads a file with a credential.
func content(path, what string) (string, error) {
	value, err := os.ReadFile(path)
	if err != nil {
		return "", local{fmt.Errorf("%s cannot be read: %w", what, err)}
	}
	if text := strings.TrimSpace(string(value)); text != "" {
		return text, nil
	}
	return "", local{fmt.Errorf("%s %s is empty", what, path)}
}

// boundedText is what a server says of an error, as one line.
func boundedText(text string) string {
	text = strings.Join(strings.Fields(text), " ")
	if len(text) > 300 {
		text = strings.ToValidUTF8(text[:300], "") + "…"
	}
	return text
}

// parameters are those of a reference, of which only some are known.
func parameters(location *url.URL, known ...string) (url.Values, error) {
	values := location.Query()
	for name := range values {
		if !slices.Contains(known, name) {
			return nil, local{fmt.Errorf("%s:// knows no parameter %q, but %s", location.Scheme, name, strings.Join(known, ", "))}
		}
	}
	return values, nil
}

// decoded is a value as the plugin is to have it: such stores keep text, in which bytes are in base64.
func decoded(value, encoding string) ([]byte, error) {
	switch encoding {
	case "":
		return []byte(value), nil
	case "base64":
		decoded, err := base64.StdEncoding.DecodeString(strings.TrimSpace(value))
		if err != nil {
			return nil, errors.New("the value is not base64")
		}
		return decoded, nil
	}
	return nil, local{fmt.Errorf("encoding=%s is not known, but base64", encoding)}
}
