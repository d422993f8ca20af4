package main

import (
	"bytes"
	"context"
	"encoding/binary"
	"encoding/json"
	"errors"
	"fmt"
	"hash/crc32"
	"io"
	"net"
	"net/http"
	"os"
	"path/filepath"
	"strings"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding/gzip"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/test/security/hostile"
)

// The attempts of a client. What one needs that may call, such as room on the host, it goes for as a caller that may; what it must
// not see, as one that shows nothing of itself.

// strangers are their rows.
func strangers() []row {
	rows := []row{
		{name: "stranger-run", what: "run a task without showing who it is", try: asStranger(runAsStranger), conceded: []concession{{off, noIdentity}}},
		{name: "stranger-poll", what: "poll a job without showing who it is", try: asStranger(pollAsStranger), conceded: []concession{{off, noIdentity}}},
		{name: "stranger-delete", what: "delete a job without showing who it is", try: asStranger(deleteAsStranger), conceded: []concession{{off, noIdentity}}},
		{name: "large-tasks", what: "send ten tasks of 60 MiB at once", try: largeTasks},
		{name: "packed-task", what: "send a task that unpacks to 200 MiB", try: packedTask},
		{name: "large-metadata", what: "send 8 MiB of metadata with a call", try: largeMetadata},
		{name: "idle-connections", what: "open 600 connections to the Flyte port, where the host may have 512 descriptors", try: idle(func(c *cell) string { return c.grpc })},
		{name: "idle-admin", what: "the same with the admin address", try: idle(func(c *cell) string { return c.admin })},
		{name: "slow-headers", what: "send 100 requests to the admin address that never get to their end", try: slowHeaders},
		{name: "open-calls", what: "begin 3,000 calls on one connection, and send nothing", try: openCalls},
		{name: "cancelled-calls", what: "begin 5,000 calls, and cancel each at once", try: cancelledCalls},
		{name: "forged-pin", what: "make a `resource_meta` that sends a poll to another plugin", try: forgedPin},
		{name: "forged-names", what: "write to the log by the names of task types", try: forgedNames},
		{name: "many-names", what: "make metrics grow by 3,000 task types that there are not", try: manyNames},
		{name: "admin-no-token", what: "have the host reload without a token", try: adminAs(http.MethodPost, "/reload?dry_run=1", nil)},
		{name: "admin-upgrade", what: "have the host upgrade without a token", try: adminAs(http.MethodPost, "/upgrade", nil)},
		{name: "admin-other-host", what: "read the status under another host's name, as a web page could that rebinds its name", try: adminAs(http.MethodGet, "/status", http.Header{"Host": {"evil.example"}})},
		{name: "admin-origin", what: "have the host reload from a web page of another origin", try: adminAs(http.MethodPost, "/reload?dry_run=1", http.Header{"Origin": {"http://evil.example"}})},
		{name: "admin-profile-client", what: "profile the host", try: adminAs(http.MethodGet, "/debug/pprof/heap", nil)},
		{name: "admin-large-request", what: "send 100 MiB to the admin address", try: adminLarge},
	}
	for i := range rows {
		rows[i].who, rows[i].kind = stranger, strangerKind
	}
	return rows
}

type tryFunc = func(ctx context.Context, c *cell, by string, w hostile.World) (hostile.Result, error)

// served is the result of an attempt that only what others get can judge.
func served(format string, values ...any) hostile.Result {
	return hostile.Result{Outcome: hostile.Refused, Evidence: "others were served meanwhile: " + fmt.Sprintf(format, values...)}
}

func succeeded(format string, values ...any) hostile.Result {
	return hostile.Result{Outcome: hostile.Succeeded, Evidence: fmt.Sprintf(format, values...)}
}

// asStranger makes a call without whatever else a caller shows.
func asStranger(call func(ctx context.Context, c *cell, conn *grpc.ClientConn, w hostile.World) error) tryFunc {
	return func(ctx context.Context, c *cell, _ string, w hostile.World) (hostile.Result, error) {
		ctx, cancel := context.WithTimeout(ctx, victimLimit)
		defer cancel()
		conn, err := c.dialStranger()
		if err != nil {
			return hostile.Result{}, err
		}
		defer conn.Close()
		if err := call(ctx, c, conn, w); err != nil {
			return hostile.Result{}, err
		}
		return succeeded("the call was answered"), nil
	}
}

func runAsStranger(ctx context.Context, c *cell, conn *grpc.ClientConn, _ hostile.World) error {
	_, err := c.create(ctx, conn, "nobody")
	return err
}

func pollAsStranger(ctx context.Context, c *cell, conn *grpc.ClientConn, w hostile.World) error {
	_, err := c.poll(ctx, conn, w.Job)
	return err
}

func deleteAsStranger(ctx context.Context, _ *cell, conn *grpc.ClientConn, w hostile.World) error {
	_, err := service.NewAsyncAgentServiceClient(conn).DeleteTask(ctx, &admin.DeleteTaskRequest{
		TaskCategory: &admin.TaskCategory{Name: victimType}, ResourceMeta: w.Job,
	})
	return err
}

// largeTasks sends as much as ten callers may.
func largeTasks(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
	const tasks, size = 10, 60 << 20
	name := strings.Repeat("x", size)
	outcomes := make([]string, tasks)
	var sent sync.WaitGroup
	for i := range tasks {
		sent.Go(func() {
			conn, err := c.dial()
			if err == nil {
				ctx, cancel := context.WithTimeout(ctx, callLimit)
				defer cancel()
				_, err = service.NewAsyncAgentServiceClient(conn).CreateTask(ctx, &admin.CreateTaskRequest{
					Template: &core.TaskTemplate{Type: goType}, // what becomes of the plugin that gets them does not matter
					Inputs:   &core.LiteralMap{Literals: map[string]*core.Literal{"name": text(name)}},
				})
				conn.Close()
			}
			outcomes[i] = status.Code(err).String()
		})
	}
	sent.Wait()
	return served("%s", strings.Join(outcomes, ", ")), nil
}

func packedTask(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
	conn, err := c.dial(grpc.WithDefaultCallOptions(grpc.UseCompressor(gzip.Name), grpc.MaxCallSendMsgSize(300<<20)))
	if err != nil {
		return hostile.Result{}, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	if _, err := c.create(ctx, conn, strings.Repeat("x", 200<<20)); err != nil {
		return hostile.Result{}, err
	}
	return succeeded("the task was taken"), nil
}

func largeMetadata(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
	conn, err := c.dial()
	if err != nil {
		return hostile.Result{}, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, victimLimit)
	defer cancel()
	ctx = metadata.AppendToOutgoingContext(ctx, "large", strings.Repeat("x", 8<<20))
	if _, err := c.create(ctx, conn, "Ada"); err != nil {
		return hostile.Result{}, err
	}
	return succeeded("the call was answered"), nil
}

// idle opens more connections than the host may have descriptors, and looks whether anybody else still gets one.
func idle(of func(*cell) string) tryFunc {
	return func(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
		const connections = 600
		network, address := networkOf(of(c))
		opened := 0
		for range connections {
			conn, err := net.DialTimeout(network, address, time.Second)
			if err != nil {
				break // the host's backlog is full, which is as good
			}
			defer conn.Close()
			opened++
		}
		if err := c.reachable(ctx); err != nil {
			return succeeded("with %d idle connections %v", opened, err), nil
		}
		return served("%d connections", opened), nil
	}
}

// reachable says whether somebody new is served at both addresses.
func (c *cell) reachable(ctx context.Context) error {
	for until := time.Now().Add(wayLimit); ; time.Sleep(200 * time.Millisecond) {
		err := c.serves(ctx)
		if err == nil || time.Now().After(until) {
			return err
		}
	}
}

// wayLimit is for how long others may stand in the way of somebody new: connections that say nothing are ended before.
const wayLimit = 15 * time.Second

func (c *cell) serves(ctx context.Context) error {
	conn, err := c.dial()
	if err != nil {
		return err
	}
	defer conn.Close()
	if _, err := c.victimTask(ctx, conn); err != nil {
		return fmt.Errorf("a new client of the Flyte port got: %w", err)
	}
	if _, err = c.askAdmin(ctx, http.MethodGet, "/healthz", nil, nil); err != nil {
		return fmt.Errorf("a new client of the admin address got: %w", err)
	}
	return nil
}

// networkOf tells a socket's path from a TCP address.
func networkOf(address string) (network, path string) {
	if filepath.IsAbs(address) {
		return "unix", address
	}
	return "tcp", address
}

// askAdmin makes a request of the admin address, without a token.
func (c *cell) askAdmin(ctx context.Context, method, path string, header http.Header, body io.Reader) (string, error) {
	ctx, cancel := context.WithTimeout(ctx, victimLimit)
	defer cancel()
	request, err := http.NewRequestWithContext(ctx, method, "http://localhost"+path, body)
	if err != nil {
		return "", err
	}
	for name, values := range header {
		request.Header[name] = values
	}
	network, address := networkOf(c.admin)
	if request.Host = header.Get("Host"); request.Host == "" && network == "tcp" {
		request.Host = address
	}
	request.Header.Del("Host")
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true, DialContext: func(ctx context.Context, _, _ string) (net.Conn, error) {
		return new(net.Dialer).DialContext(ctx, network, address)
	}}}
	answer, err := client.Do(request)
	if err != nil {
		return "", err
	}
	defer answer.Body.Close()
	said, err := io.ReadAll(io.LimitReader(answer.Body, 1<<20))
	if err == nil && answer.StatusCode >= http.StatusBadRequest {
		err = fmt.Errorf("%s: %s", answer.Status, said)
	}
	return string(said), err
}

func adminAs(method, path string, header http.Header) tryFunc {
	return func(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
		if network, _ := networkOf(c.admin); network == "unix" {
			return hostile.Result{Outcome: hostile.Refused, Evidence: "the admin address is a socket, which no network leads to"}, nil
		}
		said, err := c.askAdmin(ctx, method, path, header, nil)
		if err != nil {
			return hostile.Result{}, err
		}
		return succeeded("%.60s", said), nil
	}
}

func adminLarge(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
	_, err := c.askAdmin(ctx, http.MethodPost, "/reload?dry_run=1", nil, io.LimitReader(zeros{}, 100<<20))
	return served("%v", err), nil
}

// zeros are without end.
type zeros struct{}

func (zeros) Read(into []byte) (int, error) {
	clear(into)
	return len(into), nil
}

func slowHeaders(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
	const requests = 100
	network, address := networkOf(c.admin)
	for range requests {
		conn, err := net.DialTimeout(network, address, time.Second)
		if err != nil {
			break
		}
		defer conn.Close()
		if _, err := conn.Write([]byte("GET /status HTTP/1.1\r\nHost: localhost\r\nSlow: ")); err != nil {
			break
		}
	}
	if err := c.reachable(ctx); err != nil {
		return succeeded("with %d slow requests %v", requests, err), nil
	}
	return served("%d requests", requests), nil
}

func openCalls(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
	const calls = 3000
	conn, err := c.dial()
	if err != nil {
		return hostile.Result{}, err
	}
	defer conn.Close()
	ctx, cancel := context.WithTimeout(ctx, 5*time.Second)
	defer cancel()
	opened := 0
	for range calls {
		if _, err := service.NewSyncAgentServiceClient(conn).ExecuteTaskSync(ctx); err != nil {
			break // no more are let in at once
		}
		opened++
	}
	if err := c.reachable(context.WithoutCancel(ctx)); err != nil {
		return succeeded("with %d open calls %v", opened, err), nil
	}
	return served("%d calls", opened), nil
}

func cancelledCalls(ctx context.Context, c *cell, _ string, w hostile.World) (hostile.Result, error) {
	const calls = 5000
	conn, err := c.dial()
	if err != nil {
		return hostile.Result{}, err
	}
	defer conn.Close()
	for range calls {
		ctx, cancel := context.WithCancel(ctx)
		if stream, err := service.NewSyncAgentServiceClient(conn).ExecuteTaskSync(ctx); err == nil {
			_ = stream.CloseSend() // it is cancelled next
		}
		cancel()
	}
	if err := c.reachable(ctx); err != nil {
		return succeeded("after %d cancelled calls %v", calls, err), nil
	}
	return served("%d calls", calls), nil
}

// forgedPin writes an envelope as hosts do whose envelopes nobody signs, for a plugin that the job is not of.
func forgedPin(ctx context.Context, c *cell, _ string, w hostile.World) (hostile.Result, error) {
	said, err := c.command(ctx, "status", "--admin", c.adminURL(), "--output", "json")
	if err != nil {
		return hostile.Result{}, fmt.Errorf("agenthost status: %w: %s", err, said)
	}
	var state struct {
		Plugins []struct {
			Name        string
			Generations []struct{ ID string }
		}
	}
	if err := json.Unmarshal([]byte(said), &state); err != nil {
		return hostile.Result{}, err
	}
	for _, p := range state.Plugins {
		if p.Name != "hostile-go" || len(p.Generations) == 0 {
			continue
		}
		conn, err := c.dial()
		if err != nil {
			return hostile.Result{}, err
		}
		defer conn.Close()
		ctx, cancel := context.WithTimeout(ctx, victimLimit)
		defer cancel()
		answer, err := service.NewAsyncAgentServiceClient(conn).GetTask(ctx, &admin.GetTaskRequest{
			TaskCategory: &admin.TaskCategory{Name: victimType}, ResourceMeta: envelope(p.Name, p.Generations[0].ID, []byte(`"x"`)),
		})
		said := answer.GetResource().GetPhase().String() + " " + answer.GetResource().GetMessage() + status.Convert(err).Message()
		if strings.Contains(said, p.Name) {
			return succeeded("the poll went to %s: %s", p.Name, said), nil
		}
		return hostile.Result{Outcome: hostile.Refused, Evidence: said}, nil
	}
	return hostile.Result{}, errors.New("the status shows no generation of hostile-go")
}

// envelope is what gateway.envelope seals, without a key.
func envelope(plugin, generation string, meta []byte) []byte {
	out := []byte("\xffagenthost\x01")
	for _, part := range [][]byte{[]byte(plugin), []byte(generation), meta} {
		out = append(binary.AppendUvarint(out, uint64(len(part))), part...)
	}
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, crc32.MakeTable(crc32.Castagnoli)))
}

// forgedNames has the host log what a caller names.
func forgedNames(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
	return c.logged(func() error {
		for _, name := range []string{
			hostile.Escape, "x\n{\"msg\":\"" + hostile.Forged + "\"}\n", "x\r\x00\x85", "\u2028", strings.Repeat("long", 100_000),
		} {
			callCtx, cancel := context.WithTimeout(ctx, victimLimit)
			_, err := service.NewAsyncAgentServiceClient(c.conn).CreateTask(callCtx, &admin.CreateTaskRequest{Template: &core.TaskTemplate{Type: name}})
			cancel()
			if err == nil {
				return fmt.Errorf("there is an agent for %q", name)
			}
		}
		return nil
	})
}

// manyNames calls task types of ever other names.
func manyNames(ctx context.Context, c *cell, _ string, _ hostile.World) (hostile.Result, error) {
	const names = 3000
	before, err := c.metrics(ctx)
	if err != nil {
		return hostile.Result{}, err
	}
	for n := range names {
		callCtx, cancel := context.WithTimeout(ctx, victimLimit)
		_, _ = service.NewAsyncAgentServiceClient(c.conn).GetTask(callCtx, &admin.GetTaskRequest{ // what it is answered does not matter
			TaskCategory: &admin.TaskCategory{Name: fmt.Sprintf("there-is-no-such-type-%d", n)}, ResourceMeta: []byte("x"),
		})
		cancel()
	}
	after, err := c.metrics(ctx)
	if err != nil {
		return hostile.Result{}, err
	}
	if grown := bytes.Count(after, []byte("\n")) - bytes.Count(before, []byte("\n")); grown > names/10 {
		return succeeded("/metrics grew by %d lines", grown), nil
	}
	return hostile.Result{Outcome: hostile.Refused, Evidence: fmt.Sprintf("/metrics has %d bytes", len(after))}, nil
}

func (c *cell) metrics(ctx context.Context) ([]byte, error) {
	said, err := c.askAdmin(ctx, http.MethodGet, "/metrics", nil, nil)
	return []byte(said), err
}

// logged does something, and looks for it among the host's own words.
func (c *cell) logged(do func() error) (hostile.Result, error) {
	before, err := os.Stat(c.logPath())
	if err != nil {
		return hostile.Result{}, err
	}
	if err := do(); err != nil {
		return hostile.Result{}, err
	}
	time.Sleep(time.Second) // what plugins print comes when it comes
	log, err := os.ReadFile(c.logPath())
	if err != nil {
		return hostile.Result{}, err
	}
	lines := strings.Split(strings.TrimSuffix(string(log[before.Size():]), "\n"), "\n")
	for _, line := range lines {
		var entry struct{ Msg, Plugin string }
		isEntry := json.Unmarshal([]byte(line), &entry) == nil
		switch {
		case line == "":
		case !isEntry:
			return succeeded("a line of the log is %.100q", line), nil
		case entry.Msg == hostile.Forged && entry.Plugin == "":
			return succeeded("the log says that %s", entry.Msg), nil
		case strings.ContainsFunc(line, isControl):
			return succeeded("a line of the log has control characters: %.100q", line), nil
		}
	}
	return hostile.Result{Outcome: hostile.Refused, Evidence: fmt.Sprintf("the log has %d lines more, all of them the host's", len(lines))}, nil
}
