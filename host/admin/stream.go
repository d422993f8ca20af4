package admin

import (
	"context"
	"encoding/json"
	"net/http"
	"sync"

	"github.com/agenthost/agenthost/host/fleet"
)

// lines writes newline-delimited JSON, each line as soon as it is there.
type lines struct {
	mu      sync.Mutex
	encoder *json.Encoder
	flush   func()
}

func newLines(w http.ResponseWriter) *lines {
	w.Header().Set("Content-Type", "application/x-ndjson")
	controller := http.NewResponseController(w)
	l := &lines{encoder: json.NewEncoder(w), flush: func() { _ = controller.Flush() }}
	l.flush()
	return l
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
	out := newLines(w)
	for e := range events {
		out.write(NewEvent(e))
	}
}

func (s *Server) serveReload(w http.ResponseWriter, r *http.Request) {
	out := newLines(w)
	s.options.Reload(r.Context(), r.URL.Query().Get("dry_run") != "", func(line ReloadLine) { out.write(line) })
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
