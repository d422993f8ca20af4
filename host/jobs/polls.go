package jobs

import (
	"sync"
	"time"
)

// Polls sees to it that polls of one job do not pile up. Flyte sends the next one whether or not the last was answered, and
// where an answer takes its plugin long, many at once take so long that none is answered any more, ever. The zero value is
// ready. Its methods may be called at any time from anywhere.
type Polls struct {
	mu   sync.Mutex
	jobs map[ID]inFlight
}

// inFlight is the polls of one job that are under way.
type inFlight struct {
	polls int
	// progress is when the last one was answered, or the first of them began.
	progress time.Time
}

const (
	// alwaysAllowed is how many polls of a job may be under way in any case: one that hangs must not keep others from an answer.
	alwaysAllowed = 2
	// stallTime is for how long more may be under way without an answer to any.
	stallTime = time.Second
)

// Begin counts a poll in, which End counts out. It does not where as many are under way as may be, and none of them gets an
// answer: then it returns false.
func (p *Polls) Begin(id ID) bool {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	c, ok := p.jobs[id]
	switch {
	case !ok:
		c.progress = now
	case c.polls >= alwaysAllowed && now.Sub(c.progress) > stallTime:
		return false
	}
	c.polls++
	if p.jobs == nil {
		p.jobs = map[ID]inFlight{}
	}
	p.jobs[id] = c
	return true
}

// UnderWay is how many polls of a job are.
func (p *Polls) UnderWay(id ID) int {
	p.mu.Lock()
	defer p.mu.Unlock()
	return p.jobs[id].polls
}

// End counts a poll out, and says whether the plugin has answered it.
func (p *Polls) End(id ID, answered bool) {
	now := time.Now()
	p.mu.Lock()
	defer p.mu.Unlock()
	c := p.jobs[id]
	if c.polls--; c.polls <= 0 {
		delete(p.jobs, id)
		return
	}
	if answered {
		c.progress = now
	}
	p.jobs[id] = c
}
