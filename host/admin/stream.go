package admin

import (
	"context"
	"encoding/json"
	"io"
	"net/http"
	"strconv"
	"sync"
	"time"

	"github.com/agenthost/agenthost/host/fleet"
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
	ctx, cancel := context.WithCancel(r.Context())
	defer cancel()
	defer context.AfterFunc(s.streams, cancel)()
	events := s.options.Events(ctx)
	out, end := newLines(w)
	defer end()
	for e := range events {
		out.write(NewEvent(e))
	}
}

func (s *Server) serveReload(w http.ResponseWriter, r *http.Request) Outcome {
	out, end := newLines(w)
	defer end()
	dry := r.URL.Query().Get("dry_run") != ""
	var report ReloadReport
	s.options.Reload(r.Context(), dry, func(line ReloadLine) {
		if line.Report != nil {
			report = *line.Report
		}
		out.write(line)
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
