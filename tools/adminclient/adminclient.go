// Package adminclient asks a running host's admin API, whose types are those of package admin.
package adminclient

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"net/url"
	"strconv"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/admin"
)

// Client asks the host at one admin address.
type Client struct {
	// Address is the host's listen.admin, host:port or unix:/path.
	Address string
	// Token is shown to the host. Empty: where the host asks for one it is the one that a host on this machine has written for its
	// own user.
	Token string
	// Limit is how long the host may take: for a whole answer, or for the report that ends a stream. Zero: DefaultLimit for an
	// answer, and for a stream as long as it goes on.
	Limit time.Duration

	body []byte // of a request that has one
}

// DefaultLimit is how long a host may take for an answer, or to begin one.
const DefaultLimit = 10 * time.Second

// cancelLimit is how long the giving up of a task may take: its plugin is told, which may have to start.
const cancelLimit = time.Minute

// Status is what the host and its plugins are doing; raw is the same as the host wrote it, with what a newer host knows and
// admin.Status does not.
func (c Client) Status(ctx context.Context) (status admin.Status, raw json.RawMessage, err error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	response, err := c.ask(ctx, http.MethodGet, "/status")
	if err != nil {
		return status, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode == http.StatusUnauthorized || response.StatusCode == http.StatusForbidden {
		return status, nil, c.refusal(response)
	}
	raw, err = c.whole(ctx, response)
	if err != nil {
		return status, nil, err
	}
	if response.StatusCode != http.StatusOK || json.Unmarshal(raw, &status) != nil {
		return status, nil, fmt.Errorf("what answers at %s (%s) is not the admin address of an agenthost", c.Address, response.Status)
	}
	return status, raw, nil
}

// Pending is the tasks that the host has accepted and that have no job yet; raw is the same as the host wrote it.
func (c Client) Pending(ctx context.Context) (tasks admin.PendingTasks, raw json.RawMessage, err error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	response, err := c.ask(ctx, http.MethodGet, "/pending")
	if err != nil {
		return tasks, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return tasks, nil, c.refusal(response)
	}
	raw, err = c.whole(ctx, response)
	if err != nil {
		return tasks, nil, err
	}
	if err := json.Unmarshal(raw, &tasks); err != nil {
		return tasks, nil, fmt.Errorf("the answer of the host at %s is not understood: %w", c.Address, err)
	}
	return tasks, raw, nil
}

// Series is what the calls of the last hour came to, in the last steps of it.
func (c Client) Series(ctx context.Context, steps int) (series admin.Series, err error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	response, err := c.ask(ctx, http.MethodGet, fmt.Sprintf("/series?steps=%d", steps))
	if err != nil {
		return series, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return series, c.refusal(response)
	}
	raw, err := c.whole(ctx, response)
	if err != nil {
		return series, err
	}
	if err := json.Unmarshal(raw, &series); err != nil {
		return series, fmt.Errorf("the answer of the host at %s is not understood: %w", c.Address, err)
	}
	return series, nil
}

// CancelPending gives one of those tasks up.
func (c Client) CancelPending(ctx context.Context, id string) error {
	if c.Limit <= 0 {
		c.Limit = cancelLimit
	}
	ctx, cancel := c.limited(ctx)
	defer cancel()
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

// EventsOf says which events are wanted.
type EventsOf struct {
	// Since begins in the past: how long ago, such as 90m or 7d, or an RFC 3339 time. Empty: with what happens from now on.
	Since string
	// Plugin leaves out what happens to others; empty: nothing is left out.
	Plugin string
	// Follow goes on with what happens after the past; without Since that is so.
	Follow bool
}

// Events gives the events that are wanted to take, until ctx or the stream ends.
func (c Client) Events(ctx context.Context, wanted EventsOf, take func(admin.Event)) error {
	parameters := url.Values{}
	for name, value := range map[string]string{"since": wanted.Since, "plugin": wanted.Plugin} {
		if value != "" {
			parameters.Set(name, value)
		}
	}
	if wanted.Follow {
		parameters.Set("follow", "1")
	}
	return follow(ctx, c, "/events", parameters, take)
}

// LogsOf says which lines of a plugin's output are wanted.
type LogsOf struct {
	// Tail is how many of the last ones.
	Tail int
	// Follow goes on with those that come.
	Follow bool
}

// Logs gives the lines of a plugin's output that are wanted to take, until ctx or the stream ends.
func (c Client) Logs(ctx context.Context, plugin string, wanted LogsOf, take func(admin.LogLine)) error {
	parameters := url.Values{"tail": {strconv.Itoa(wanted.Tail)}}
	if wanted.Follow {
		parameters.Set("follow", "1")
	}
	return follow(ctx, c, "/plugins/"+url.PathEscape(plugin)+"/logs", parameters, take)
}

// follow gives each line of a stream to take.
func follow[T any](ctx context.Context, c Client, path string, parameters url.Values, take func(T)) error {
	if len(parameters) > 0 {
		path += "?" + parameters.Encode()
	}
	s, err := c.stream(ctx, http.MethodGet, path)
	if err != nil {
		return err
	}
	defer s.close()
	if s.response.StatusCode != http.StatusOK {
		return c.refusal(s.response)
	}
	return eachLine(s, func(line T) error {
		take(line)
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
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	s, err := c.stream(ctx, http.MethodPost, path)
	if err != nil {
		return admin.ReloadReport{}, err
	}
	defer s.close()
	if s.response.StatusCode != http.StatusOK {
		return admin.ReloadReport{}, c.refusal(s.response)
	}
	var report *admin.ReloadReport
	err = eachLine(s, func(line admin.ReloadLine) error {
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
func (c Client) Upgrade(ctx context.Context, force bool, follow func(admin.UpgradeLine)) (admin.UpgradeReport, error) {
	path := "/upgrade"
	if force {
		path += "?force=1"
	}
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	s, err := c.stream(ctx, http.MethodPost, path)
	if err != nil {
		return admin.UpgradeReport{}, err
	}
	defer s.close()
	if s.response.StatusCode != http.StatusOK {
		return admin.UpgradeReport{}, c.refusal(s.response)
	}
	var report *admin.UpgradeReport
	err = eachLine(s, func(line admin.UpgradeLine) error {
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
		return admin.UpgradeReport{}, fmt.Errorf("the host at %s broke off while it upgraded: %w\nWho serves now shows with: agenthost status", c.Address, err)
	}
	return *report, nil
}

// Operate has the host carry out an operation on a plugin, and waits for the report. The events that come before it are given to follow.
func (c Client) Operate(ctx context.Context, plugin, operation string, follow func(admin.OperationLine)) (admin.OperationReport, error) {
	ctx, cancel := c.bounded(ctx)
	defer cancel()
	s, err := c.stream(ctx, http.MethodPost, "/plugins/"+url.PathEscape(plugin)+"/"+operation)
	if err != nil {
		return admin.OperationReport{}, err
	}
	defer s.close()
	if s.response.StatusCode != http.StatusOK {
		return admin.OperationReport{}, c.refusal(s.response)
	}
	var report *admin.OperationReport
	err = eachLine(s, func(line admin.OperationLine) error {
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
		return admin.OperationReport{}, fmt.Errorf("the host at %s broke off: %w\nWhat plugin %s does now shows with: agenthost status", c.Address, err, plugin)
	}
	return *report, nil
}

// refusal is the error for an answer that is none: what the host said, if it is one line of text.
func (c Client) refusal(response *http.Response) error {
	text, _ := io.ReadAll(io.LimitReader(response.Body, 4<<10))
	said, _, _ := strings.Cut(strings.TrimSpace(string(text)), "\n")
	if response.StatusCode == http.StatusUnauthorized && said != "" {
		return fmt.Errorf("the host at %s refuses (%s): %s\nA token is read from where listen.admin_token says, in the configuration or with --set; on the host's machine its own user needs none",
			c.Address, response.Status, said)
	}
	if response.StatusCode == http.StatusNotFound && strings.HasPrefix(said, admin.NoPlugin) {
		return errors.New(said)
	}
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
			if lines.Err() != nil { // of which this is half a line
				return lines.Err()
			}
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
