package main

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"strings"

	"github.com/spf13/cobra"

	"github.com/agenthost/agenthost/host/config"
)

// adminAddress finds where the host answers operators. A host that listens everywhere is asked on the loopback.
func adminAddress(cmd *cobra.Command) (string, error) {
	address := config.Default().Listen.Admin
	if cmd.Flags().Changed("admin") {
		address, _ = cmd.Flags().GetString("admin")
	} else {
		settings, err := loadConfig(cmd)
		switch {
		case err == nil:
			address = settings.Listen.Admin
		case !errors.Is(err, errNoConfig):
			return "", fmt.Errorf("%w\nthe address of a running host can be given with --admin host:port", err)
		}
	}
	if address == "" {
		return "", errors.New("the configuration turns the admin address off (listen.admin is empty), so no host can be asked; see its log instead")
	}
	host, port, err := net.SplitHostPort(address)
	if err != nil {
		return "", usageError(fmt.Errorf("--admin %s: expected host:port such as 127.0.0.1:9090", address))
	}
	if ip := net.ParseIP(host); host == "" || ip != nil && ip.IsUnspecified() {
		host = "127.0.0.1"
	}
	return net.JoinHostPort(host, port), nil
}

// askHost sends a request to the host at an admin address. The caller closes the answer's body.
func askHost(ctx context.Context, method, address, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+address+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no host answers at %s: %w\nIs it running, and is this its listen.admin? Another address is given with --admin host:port", address, rootCause(err))
	}
	return response, nil
}

// rootCause is the end of a chain of errors: without the method and URL that net/http puts before it.
func rootCause(err error) error {
	var network *net.OpError
	if errors.As(err, &network) {
		return network.Err
	}
	return err
}

// refusal is the error for an answer that is none: what the host said, if it is one line of text.
func refusal(address string, response *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	said, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if response.StatusCode == http.StatusNotFound || said == "" {
		return fmt.Errorf("what answers at %s (%s) is not the admin address of an agenthost, or of one that is too old for this", address, response.Status)
	}
	return fmt.Errorf("the host at %s refuses (%s): %s", address, response.Status, said)
}

// eachLine reads newline-delimited JSON and gives each value to take, until the stream ends, take says that it has had
// enough (io.EOF, which is no error), or something is wrong.
func eachLine[T any](stream io.Reader, take func(T) error) error {
	lines := bufio.NewScanner(stream)
	lines.Buffer(nil, 16<<20)
	for lines.Scan() {
		if len(lines.Bytes()) == 0 { // to keep the connection alive
			continue
		}
		var value T
		if err := json.Unmarshal(lines.Bytes(), &value); err != nil {
			return fmt.Errorf("the host's answer is not understood: %w", err)
		}
		if err := take(value); err != nil {
			if errors.Is(err, io.EOF) {
				return nil
			}
			return err
		}
	}
	return lines.Err()
}
