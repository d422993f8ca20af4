package logging

import (
	"context"
	"encoding/json"
	"iter"
	"sync"
	"time"
)

const (
	// TailBytes is how much of a plugin's output is kept; with many plugins each has less.
	TailBytes = 64 << 10
	// AllTailsBytes is how much of all plugins' output is kept.
	AllTailsBytes = 16 << 20

	// lineOverhead is what a line takes besides its text.
	lineOverhead = 128
	// followBuffer is how many lines somebody who follows may lag behind before the oldest are lost.
	followBuffer = 256
)

// Line is one line of a plugin's output, as the host's log has it. GET /plugins/{plugin}/logs gives them as newline-delimited JSON.
type Line struct {
	// When the host read it.
	Time time.Time `json:"time"`
	// The generation whose process printed it.
	Generation string `json:"generation,omitempty"`
	// The number of the instance, from 0.
	Instance int `json:"instance"`
	// That process, which may have ended.
	PID int `json:"pid,omitempty"`
	// One of trace, debug, info, warn, error: as the plugin says, or as the line looks.
	Level string `json:"level"`
	// What it says.
	Message string `json:"message"`
	// What else was in it, of a line that is structured.
	Fields map[string]json.RawMessage `json:"fields,omitempty"`
}

// Printed is a line as a process printed it, in hclog's form: a JSON object in which package process has the message, the level, and what
// else there is.
type Printed struct {
	Time       time.Time
	Generation string
	Instance   int
	PID        int
	Object     []byte
}

func (p Printed) size() int { return len(p.Object) + lineOverhead }

// Line takes it apart.
func (p Printed) Line() Line {
	line := Line{Time: p.Time, Generation: p.Generation, Instance: p.Instance, PID: p.PID}
	if json.Unmarshal(p.Object, &line.Fields) != nil || json.Unmarshal(line.Fields["@message"], &line.Message) != nil || json.Unmarshal(line.Fields["@level"], &line.Level) != nil {
		return Line{Time: p.Time, Generation: p.Generation, Instance: p.Instance, PID: p.PID, Level: "warn", Message: string(p.Object)} // it is none of package process's
	}
	for _, key := range []string{"@message", "@level", "@timestamp"} {
		delete(line.Fields, key)
	}
	if len(line.Fields) == 0 {
		line.Fields = nil
	}
	return line
}

// Tails keeps the last lines of what each plugin prints, in memory, for longer than its processes live. The zero value is ready.
type Tails struct {
	mu      sync.Mutex // guards what follows, in each tail too
	plugins map[string]*tail
}

type tail struct {
	lines   []Printed
	size    int
	readers map[chan Printed]struct{}
}

// Add adds a line, and does not wait. It keeps the line's object.
func (t *Tails) Add(plugin string, line Printed) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.plugins[plugin]
	if known == nil {
		known = t.add(plugin)
	}
	known.lines = append(known.lines, line)
	known.size += line.size()
	known.trim(t.limit())
	for reader := range known.readers {
		for sent := false; !sent; {
			select {
			case reader <- line:
				sent = true
			default:
				select {
				case <-reader: // the oldest makes room
				default:
				}
			}
		}
	}
}

// add begins a plugin's tail, for which the others make room. It needs mu.
func (t *Tails) add(plugin string) *tail {
	if t.plugins == nil {
		t.plugins = map[string]*tail{}
	}
	begun := &tail{readers: map[chan Printed]struct{}{}}
	t.plugins[plugin] = begun
	for _, each := range t.plugins {
		each.trim(t.limit())
	}
	return begun
}

// limit is how much of each plugin is kept. It needs mu.
func (t *Tails) limit() int { return min(TailBytes, AllTailsBytes/max(len(t.plugins), 1)) }

// trim drops the oldest lines of what is too much; the last one stays. It needs mu.
func (t *tail) trim(limit int) {
	drop := 0
	for ; t.size > limit && drop < len(t.lines)-1; drop++ {
		t.size -= t.lines[drop].size()
		t.lines[drop] = Printed{}
	}
	t.lines = t.lines[drop:]
}

// Lines gives the last lines of a plugin, at most last of them, and with follow those that come, until ctx ends. Where a plugin has printed
// nothing there is none.
func (t *Tails) Lines(ctx context.Context, plugin string, last int, follow bool) iter.Seq[Line] {
	return func(yield func(Line) bool) {
		past, live, stop := t.begin(plugin, last, follow)
		defer stop()
		for _, printed := range past {
			if ctx.Err() != nil || !yield(printed.Line()) {
				return
			}
		}
		for follow {
			select {
			case printed := <-live:
				if !yield(printed.Line()) {
					return
				}
			case <-ctx.Done():
				return
			}
		}
	}
}

func (t *Tails) begin(plugin string, last int, follow bool) (past []Printed, live chan Printed, stop func()) {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.plugins[plugin]
	if known == nil && follow {
		known = t.add(plugin)
	}
	if known == nil {
		return nil, nil, func() {}
	}
	past = append([]Printed(nil), known.lines[max(0, len(known.lines)-max(last, 0)):]...)
	if !follow {
		return past, nil, func() {}
	}
	live = make(chan Printed, followBuffer)
	known.readers[live] = struct{}{}
	return past, live, func() {
		t.mu.Lock()
		defer t.mu.Unlock()
		delete(known.readers, live)
	}
}

// Has says that a plugin has printed something.
func (t *Tails) Has(plugin string) bool {
	t.mu.Lock()
	defer t.mu.Unlock()
	known := t.plugins[plugin]
	return known != nil && len(known.lines) > 0
}
