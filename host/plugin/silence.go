package plugin

import (
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// Silence is what a plugin's calls say of whether it answers. The zero value says nothing against it.
type Silence struct {
	// Answered is when it last answered a call; zero: never.
	Answered time.Time
	// Since is when the oldest call began that it has left without an answer, of those that began after the last answer; zero: there
	// is none. Method is that call's.
	Since  time.Time
	Method string
	// MaxWait is how long a call of that method may take.
	MaxWait time.Duration
	// Asked is when such a call was last under way.
	Asked time.Time
}

// Hangs says that the plugin leaves its calls without an answer.
func (s Silence) Hangs() bool { return !s.Since.IsZero() && s.Asked.Sub(s.Since) >= s.MaxWait }

const (
	// mostWait is how long any call may take that asks for no work but an answer, timesAsLong how many times as long as the longest of
	// the last answers it may: a plugin that is slow is no plugin that hangs.
	mostWait    = 4 * time.Second
	timesAsLong = 2
	// paceAnswers is how many answers those are.
	paceAnswers = 16
)

// hearing listens to the calls of a plugin, for whether they are answered. The zero value has heard of none.
//
// A call that hangs is the plugin's fault only where it answers no call that began later: the system behind one job may hang.
type hearing struct {
	mu       sync.Mutex
	answered time.Time
	underWay map[*heardCall]struct{} // of the methods that count
	lost     map[string]lostCalls    // by method: those since the last answer whose callers have waited in vain
	paces    map[string]*answerPace
}

// heardCall is a call under way.
type heardCall struct {
	method string
	began  time.Time
}

// lostCalls are calls that nobody waits for any more.
type lostCalls struct{ since, last time.Time }

// answerPace is how long the last answers to a method took, the next of which takes the place at next.
type answerPace struct {
	took [paceAnswers]time.Duration
	next int
}

func (p *answerPace) note(took time.Duration) {
	p.took[p.next] = took
	p.next = (p.next + 1) % len(p.took)
}

func (p *answerPace) most() time.Duration {
	longest := time.Duration(0)
	if p != nil {
		for _, took := range p.took {
			longest = max(longest, took)
		}
	}
	return max(mostWait, timesAsLong*longest)
}

// counts says that how long a call takes is up to the plugin: discovery and health are heard of otherwise, and a sync call takes as long as
// its task.
func counts(method string) bool { return strings.Contains(method, ".AsyncAgentService/") }

// begin notes a call; nil where its time does not count.
func (h *hearing) begin(method string) *heardCall {
	if !counts(method) {
		return nil
	}
	c := &heardCall{method: method, began: time.Now()}
	h.mu.Lock()
	defer h.mu.Unlock()
	if h.underWay == nil {
		h.underWay = map[*heardCall]struct{}{}
	}
	h.underWay[c] = struct{}{}
	return c
}

// end notes how a call went; c may be nil.
func (h *hearing) end(c *heardCall, err error) {
	now, answered := time.Now(), isAnswer(err)
	h.mu.Lock()
	defer h.mu.Unlock()
	if answered {
		h.answered = now
		clear(h.lost)
	}
	if c == nil {
		return
	}
	delete(h.underWay, c)
	switch pace := h.paces[c.method]; {
	case answered:
		if pace == nil {
			pace = &answerPace{}
			if h.paces == nil {
				h.paces = map[string]*answerPace{}
			}
			h.paces[c.method] = pace
		}
		pace.note(now.Sub(c.began))
	case !c.began.Before(h.answered) && (status.Code(err) == codes.DeadlineExceeded || now.Sub(c.began) >= mostWait): // else its caller went away
		lost, ok := h.lost[c.method]
		if !ok {
			lost.since = c.began
		}
		if h.lost == nil {
			h.lost = map[string]lostCalls{}
		}
		lost.last = now
		h.lost[c.method] = lost
	}
}

// silence is what has been heard. Of several methods it is that whose time is over first.
func (h *hearing) silence() Silence {
	now := time.Now()
	h.mu.Lock()
	defer h.mu.Unlock()
	said := Silence{Answered: h.answered}
	consider := func(method string, since, asked time.Time) {
		most := h.paces[method].most()
		if said.Since.IsZero() || since.Add(most).Before(said.Since.Add(said.MaxWait)) {
			said.Since, said.Method, said.MaxWait = since, method, most
		}
		if asked.After(said.Asked) {
			said.Asked = asked
		}
	}
	for method, lost := range h.lost {
		consider(method, lost.since, lost.last)
	}
	for c := range h.underWay {
		if !c.began.Before(h.answered) {
			consider(c.method, c.began, now)
		}
	}
	said.Method = said.Method[strings.LastIndex(said.Method, "/")+1:]
	return said
}

// isAnswer says that an error, or nil, is an answer of the plugin. What a broken connection and a deadline make counts as none,
// whoever says so.
func isAnswer(err error) bool {
	switch status.Code(err) {
	case codes.Unavailable, codes.Canceled, codes.DeadlineExceeded:
		return false
	default:
		return true
	}
}
