// Package adminclient asks a running host's admin API, whose types are those of package admin.
package adminclient

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net"
	"net/http"
	"net/url"
	"strings"

	"github.com/agenthost/agenthost/host/admin"
)

// Client asks the host at one admin address.
type Client struct {
	// Address is the host's listen.admin, host:port.
	Address string
}

// Status is what the host and its plugins are doing; raw is the same as the host wrote it, with what a newer host knows and
// admin.Status does not.
func (c Client) Status(ctx context.Context) (status admin.Status, raw json.RawMessage, err error) {
	response, err := c.ask(ctx, http.MethodGet, "/status")
	if err != nil {
		return status, nil, err
	}
	defer response.Body.Close()
	raw, err = io.ReadAll(io.LimitReader(response.Body, 16<<20))
	if err != nil {
		return status, nil, fmt.Errorf("the host at %s broke off its answer: %w", c.Address, err)
	}
	if response.StatusCode != http.StatusOK || json.Unmarshal(raw, &status) != nil {
		return status, nil, fmt.Errorf("what answers at %s (%s) is not the admin address of an agenthost", c.Address, response.Status)
	}
	return status, raw, nil
}

// Pending is the tasks that the host has accepted and that have no job yet; raw is the same as the host wrote it.
func (c Client) Pending(ctx context.Context) (tasks admin.PendingTasks, raw json.RawMessage, err error) {
	response, err := c.ask(ctx, http.MethodGet, "/pending")
	if err != nil {
		return tasks, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return tasks, nil, c.refusal(response)
	}
	raw, err = io.ReadAll(response.Body)
	if err == nil {
		err = json.Unmarshal(raw, &tasks)
	}
	if err != nil {
		return tasks, nil, fmt.Errorf("the host at %s broke off its answer: %w", c.Address, err)
	}
	return tasks, raw, nil
}

// CancelPending gives one of those tasks up.
func (c Client) CancelPending(ctx context.Context, id string) error {
	response, err := c.ask(ctx, http.MethodPost, "/pending/"+url.PathEscape(id)+"/cancel")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusNoContent {
		return c.refusal(response)
	}
	return nil
}

// Events gives every change of state from now on to take, until ctx or the stream ends.
func (c Client) Events(ctx context.Context, take func(admin.Event)) error {
	response, err := c.ask(ctx, http.MethodGet, "/events")
	if err != nil {
		return err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return c.refusal(response)
	}
	return eachLine(response.Body, func(e admin.Event) error {
		take(e)
		return nil
	})
}

// Reload has the host take up its changed configuration, or with dry only say what that would do, and waits for the report.
// The plan and the events that come before it are given to follow, one line at a time.
func (c Client) Reload(ctx context.Context, dry bool, follow func(admin.ReloadLine)) (admin.ReloadReport, error) {
	path := "/reload"
	if dry {
		path += "?dry_run=1"
	}
	response, err := c.ask(ctx, http.MethodPost, path)
	if err != nil {
		return admin.ReloadReport{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return admin.ReloadReport{}, c.refusal(response)
	}
	var report *admin.ReloadReport
	err = eachLine(response.Body, func(line admin.ReloadLine) error {
		if line.Report != nil {
			report = line.Report
			return io.EOF
		}
		follow(line)
		return nil
	})
	if err == nil && report == nil {
		err = errors.New("it closed the connection")
	}
	if err != nil {
		return admin.ReloadReport{}, fmt.Errorf("the host at %s broke off while it reloaded: %w\nWhat it does now shows with: agenthost status", c.Address, err)
	}
	return *report, nil
}

// Upgrade has a new host take over from the host, and waits for the report. What was started is given to follow before it.
func (c Client) Upgrade(ctx context.Context, force bool, follow func(admin.UpgradeStart)) (admin.UpgradeReport, error) {
	path := "/upgrade"
	if force {
		path += "?force=1"
	}
	response, err := c.ask(ctx, http.MethodPost, path)
	if err != nil {
		return admin.UpgradeReport{}, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return admin.UpgradeReport{}, c.refusal(response)
	}
	var report *admin.UpgradeReport
	err = eachLine(response.Body, func(line admin.UpgradeLine) error {
		switch {
		case line.Report != nil:
			report = line.Report
			return io.EOF
		case line.Started != nil:
			follow(*line.Started)
		}
		return nil
	})
	if err == nil && report == nil {
		err = errors.New("it closed the connection")
	}
	if err != nil {
		return admin.UpgradeReport{}, fmt.Errorf("the host at %s broke off while it upgraded: %w\nWho serves now shows with: agenthost status", c.Address, err)
	}
	return *report, nil
}

// ask sends a request. The caller closes the answer's body.
func (c Client) ask(ctx context.Context, method, path string) (*http.Response, error) {
	request, err := http.NewRequestWithContext(ctx, method, "http://"+c.Address+path, nil)
	if err != nil {
		return nil, err
	}
	response, err := http.DefaultClient.Do(request)
	if err != nil {
		return nil, fmt.Errorf("no host answers at %s: %w\nIs it running, and is this its listen.admin? Another address is given with --admin host:port", c.Address, rootCause(err))
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
func (c Client) refusal(response *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	said, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if response.StatusCode == http.StatusNotFound || said == "" {
		return fmt.Errorf("what answers at %s (%s) is not the admin address of an agenthost, or of one that is too old for this", c.Address, response.Status)
	}
	return fmt.Errorf("the host at %s refuses (%s): %s", c.Address, response.Status, said)
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
