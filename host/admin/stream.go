package admin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"net/http"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/history"
)

// lines writes newline-delimited JSON, each line as soon as it is there.
type lines struct {
	mu      sync.Mutex
	out     io.Writer
	encoder *json.Encoder
	flush   func()
}

// KeepAliveHeader says how often a line comes at least, if an empty one, in seconds: who hears nothing for much longer need not
// wait.
const KeepAliveHeader = "Agenthost-Keep-Alive"

// keepAlive is how often an empty line is written.
const keepAlive = 5 * time.Second

// newLines begins an answer. It ends with end, before the handler does.
func newLines(w http.ResponseWriter) (l *lines, end func()) {
	w.Header().Set("Content-Type", "application/x-ndjson")
	w.Header().Set(KeepAliveHeader, strconv.Itoa(int(keepAlive.Seconds())))
	controller := http.NewResponseController(w)
	l = &lines{out: w, encoder: json.NewEncoder(w), flush: func() { _ = controller.Flush() }}
	l.flush()
	ticker := time.NewTicker(keepAlive)
	ctx, cancel := context.WithCancel(context.Background())
	var beating sync.WaitGroup
	beating.Go(func() {
		for {
			select {
			case <-ticker.C:
				l.beat()
			case <-ctx.Done():
				return
			}
		}
	})
	return l, func() {
		ticker.Stop()
		cancel()
		beating.Wait()
	}
}

func (l *lines) beat() {
	l.mu.Lock()
	defer l.mu.Unlock()
	_, _ = l.out.Write([]byte("\n")) // as write
	l.flush()
}

func (l *lines) write(line any) {
	l.mu.Lock()
	defer l.mu.Unlock()
	_ = l.encoder.Encode(line) // a reader that went away ends the request's context
	l.flush()
}

func (s *Server) serveEvents(w http.ResponseWriter, r *http.Request) {
	parameters := r.URL.Query()
	query := history.Query{Plugin: parameters.Get("plugin"), Follow: true}
	if since := parameters.Get("since"); since != "" {
		at, err := sinceOf(since, time.Now())
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		query.Since, query.Follow = at, parameters.Get("follow") != ""
	}
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.streams, cancel)()
	events := s.options.Events(ctx, query)
	out, end := newLines(w)
	defer end()
	for e := range events {
		out.write(e)
	}
}

// sinceOf is the time that since says.
func sinceOf(since string, now time.Time) (time.Time, error) {
	if at, err := time.Parse(time.RFC3339, since); err == nil {
		return at, nil
	}
	if days, err := strconv.ParseUint(strings.TrimSuffix(since, "d"), 10, 16); err == nil && strings.HasSuffix(since, "d") {
		return now.AddDate(0, 0, -int(days)), nil
	}
	if ago, err := time.ParseDuration(since); err == nil && ago >= 0 {
		return now.Add(-ago), nil
	}
	return time.Time{}, fmt.Errorf("since=%q: expected how long ago, such as 90m, 24h or 7d, or a time such as 2026-11-28T15:04:05Z (in an address + is %%2B)", since)
}

func (s *Server) serveReload(w http.ResponseWriter, r *http.Request) Outcome {
	out, end := newLines(w)
	defer end()
	return s.reload(r.Context(), r.URL.Query().Get("dry_run") != "", func(line ReloadLine) { out.write(line) })
}

// reload has the configuration read again, and tells what happens.
func (s *Server) reload(ctx context.Context, dry bool, tell func(ReloadLine)) Outcome {
	var report ReloadReport
	s.options.Reload(ctx, dry, func(line ReloadLine) {
		if line.Report != nil {
			report = *line.Report
		}
		tell(line)
	})
	if dry {
		return Outcome{Changed: "nothing, since it was only a plan", Err: report.failure()}
	}
	return Outcome{Changed: Changes(report.Plan), Err: report.failure()}
}

// NewEvent is a fleet's event in the words of the admin API.
func NewEvent(e fleet.Event) Event {
	event := Event{
		Time: e.Time, Plugin: e.Plugin, Generation: e.Generation, State: string(e.State), Was: string(e.Was), Cause: e.Cause, Seconds: e.Lasted.Seconds(),
	}
	if e.OfInstance {
		event.Instance = &e.Instance
	}
	return event
}
