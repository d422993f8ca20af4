package gateway

import (
	"context"
	"fmt"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/route"
	"github.com/agenthost/agenthost/host/tracing"
)

const (
	// troubleAfter is how long a plugin may be away, or silent, before it is in trouble: until then nobody who begins a task is
	// turned away. FlytePropeller begins the tasks of all plugins with 20 workers, of which each waits with its call.
	troubleAfter = time.Second
	// maxWaiting is how many calls that begin a task wait for a plugin in trouble, and maxWaitingInAll for all such plugins together:
	// half of Flyte's workers are left for those that are well. Others are answered with a record, or refused.
	maxWaiting      = 5
	maxWaitingInAll = 10
	// troubleLook is how often it is looked whether a plugin that has not answered is in trouble.
	troubleLook = 250 * time.Millisecond
)

// gates hold calls that begin a task back from plugins in trouble, so that they do not use up the workers of Flyte.
type gates struct {
	waiting atomic.Int32 // for all plugins together

	mu       sync.Mutex
	byPlugin map[string]*gate
}

// gate is that of one plugin.
type gate struct {
	all *gates
	// suspects has room for one: an attempt in whose creation the plugin has died is made while no other such one is.
	suspects chan struct{}

	mu       sync.Mutex
	waiting  int
	sent     map[*routedCall]time.Time // creations that the plugin has not answered
	answered time.Time                 // when it last answered one
}

func (g *gates) of(r route.Route) *gate {
	g.mu.Lock()
	defer g.mu.Unlock()
	name := r.Target.Plugin()
	one := g.byPlugin[name]
	if one == nil {
		if g.byPlugin == nil {
			g.byPlugin = map[string]*gate{}
		}
		one = &gate{all: g, suspects: make(chan struct{}, 1), sent: map[*routedCall]time.Time{}}
		g.byPlugin[name] = one
	}
	return one
}

// unanswered is how many creations plugins have left without an answer for too long, all together.
func (g *gates) unanswered() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	n := 0
	for _, one := range g.byPlugin {
		n += one.unanswered()
	}
	return n
}

// enter takes one of the seats of those who wait; leave gives it back.
func (g *gate) enter() bool {
	g.mu.Lock()
	defer g.mu.Unlock()
	if g.waiting >= maxWaiting {
		return false
	}
	if g.all.waiting.Add(1) > maxWaitingInAll {
		g.all.waiting.Add(-1)
		return false
	}
	g.waiting++
	return true
}

func (g *gate) leave() {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.waiting--
	g.all.waiting.Add(-1)
}

// begin notes that the plugin has got a creation, and end that it has answered, or that nobody waits for its answer any more.
func (g *gate) begin(c *routedCall) {
	g.mu.Lock()
	defer g.mu.Unlock()
	g.sent[c] = time.Now()
}

func (g *gate) end(c *routedCall, answered bool) {
	g.mu.Lock()
	defer g.mu.Unlock()
	delete(g.sent, c)
	if answered {
		g.answered = time.Now()
	}
}

// unanswered is how many creations have had no answer for too long; none, where another one just had.
func (g *gate) unanswered() int {
	g.mu.Lock()
	defer g.mu.Unlock()
	now := time.Now()
	if now.Sub(g.answered) < troubleAfter {
		return 0
	}
	n := 0
	for _, since := range g.sent {
		if now.Sub(since) >= troubleAfter {
			n++
		}
	}
	return n
}

// silent says that as many creations as may wait have had no answer for too long.
func (g *gate) silent() bool { return g.unanswered() >= maxWaiting }

// crowded says that the plugin has left a creation without an answer for too long, and that with those of other plugins there are
// as many as may wait.
func (g *gate) crowded() bool { return g.unanswered() > 0 && g.all.unanswered() >= maxWaiting }

// begins says that a call begins a task: while it waits, one of Flyte's workers does.
func (c *routedCall) begins() bool { return c.method.creates || c.method.sync }

// stall is what becomes of a call that begins a task while its plugin cannot take it: it goes on record, takes one of the seats of
// those who wait, or is refused. It may be called at any time until leave.
type stall struct {
	gateway *Gateway
	call    *routedCall
	gate    *gate

	mu     sync.Mutex
	seated bool
	over   bool
}

// wait decides what becomes of the call, and returns an error where it is refused.
func (s *stall) wait(why string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	c := s.call
	if c.creation != nil {
		c.creation.Wait(why)
		if s.gateway.offer(c, c.creation) {
			return nil
		}
	}
	if s.over || s.seated || !s.gateway.enabled.Has(guarantee.Fairness) { // G17
		return nil
	}
	if s.seated = s.gate.enter(); s.seated { // G17
		return nil
	}
	s.gateway.record(c, guarantee.Fairness) // G17
	return status.Errorf(codes.Unavailable, "%s; as many tasks wait for it, or for other plugins, as may", why)
}

func (s *stall) leave() {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	if s.seated {
		s.seated = false
		s.gate.leave()
	}
}

// stalling watches a call that waits for an instance of its plugin. The context ends, with the error as its cause, when the
// call is refused; stop ends the watch.
func (g *Gateway) stalling(ctx context.Context, c *routedCall) (watched context.Context, stop func()) {
	if !c.begins() {
		return ctx, func() {}
	}
	watched, cancel := context.WithCancelCause(ctx)
	waiting := *c // c gets other routes meanwhile
	c = &waiting
	s := &stall{gateway: g, call: c, gate: g.gates.of(c.route)}
	left := troubleAfter
	if trouble, ok := c.route.Target.Trouble(); ok {
		left = max(0, troubleAfter-time.Since(trouble.Since))
	}
	look := func() {
		why := fmt.Sprintf("%s does not take calls", c.describePlugin())
		if trouble, ok := c.route.Target.Trouble(); ok {
			why = trouble.Reason
		}
		if err := s.wait(why); err != nil {
			cancel(err)
		}
	}
	if left == 0 {
		look()
		return watched, func() { s.leave(); cancel(nil) }
	}
	timer := time.AfterFunc(left, look)
	return watched, func() { timer.Stop(); s.leave(); cancel(nil) }
}

// suspect has a creation in which the plugin has died wait until no other such one is being made: so only the cause is there
// when it dies again. While the plugin is in trouble the call is one of those that wait for it; when it is there, nobody is refused.
func (g *Gateway) suspect(ctx context.Context, c *routedCall) (leave func(), err error) {
	gate := g.gates.of(c.route)
	s := &stall{gateway: g, call: c, gate: gate}
	defer s.leave()
	select {
	case gate.suspects <- struct{}{}:
		return func() { <-gate.suspects }, nil
	default:
		defer g.waits.begin(c.route.Target.Plugin(), OnGate)()
	}
	look := time.NewTicker(troubleLook)
	defer look.Stop()
	defer c.trace.Wait(tracing.OnTurn)()
	for began := time.Now(); ; {
		select {
		case gate.suspects <- struct{}{}:
			return func() { <-gate.suspects }, nil
		case <-ctx.Done():
			return nil, died(c)
		case now := <-look.C:
			switch trouble, ok := c.route.Target.Trouble(); {
			case ok && now.Sub(trouble.Since) >= troubleAfter:
				if err := s.wait(trouble.Reason); err != nil {
					return nil, err
				}
			case now.Sub(began) >= troubleAfter && c.creation != nil:
				c.creation.Wait(fmt.Sprintf("%s has died, and begins those tasks one by one that may be the cause", c.describePlugin()))
				g.offer(c, c.creation)
			}
		}
	}
}

// limiting watches a creation that waits until its plugin's limits let it pass: it goes on record where it can.
func (g *Gateway) limiting(c *routedCall, l *limit) (passed func()) {
	if c.creation == nil || l.slots == nil && l.rate == nil {
		return func() {}
	}
	waiting := *c // c may be sent, and get another route, while its timer runs
	timer := time.AfterFunc(troubleAfter, func() {
		c := &waiting
		c.creation.Wait(fmt.Sprintf("%s has as many calls as its limits: allow", c.describePlugin()))
		g.offer(c, c.creation)
	})
	return func() { timer.Stop() }
}

// sending watches a creation that the plugin has got. Those that are not answered in time go on record where they can once they are
// many, whoever has got them; nobody else can be let go, since nobody else knows whether a job is being made.
func (g *Gateway) sending(c *routedCall) (answered func(bool)) {
	if c.creation == nil {
		return func(bool) {}
	}
	s := &sent{gateway: g, call: c, gate: g.gates.of(c.route)}
	s.gate.begin(c)
	s.mu.Lock()
	s.timer = time.AfterFunc(troubleAfter, s.look)
	s.mu.Unlock()
	if s.gate.crowded() {
		s.look()
	}
	return s.answered
}

// sent is a creation that the plugin has got and not answered yet.
type sent struct {
	gateway *Gateway
	call    *routedCall
	gate    *gate

	mu    sync.Mutex
	timer *time.Timer // for the next look
	over  bool
}

func (s *sent) look() {
	s.mu.Lock()
	defer s.mu.Unlock()
	switch {
	case s.over:
	case s.gate.crowded():
		s.call.creation.Wait(s.gateway.silence(s.call))
		s.gateway.offer(s.call, s.call.creation)
	default:
		s.timer.Reset(troubleLook)
	}
}

func (s *sent) answered(answered bool) {
	s.gate.end(s.call, answered)
	s.mu.Lock()
	defer s.mu.Unlock()
	s.over = true
	s.timer.Stop()
}

func (g *Gateway) silence(c *routedCall) string {
	return fmt.Sprintf("%s does not answer its CreateTask calls", c.describePlugin())
}

// turnedAway is the error of a call that begins a task, if it has to be turned away before it is sent. Its plugin does not answer, it
// cannot be found again, and enough wait: where this host can accept it, it waits for its turn here. Or another version of the
// plugin has come, which would not find what it makes of a task on record.
func (g *Gateway) turnedAway(c *routedCall) error {
	if c.creation != nil && c.local == nil && onRecord(c.creation) {
		if now, ok := g.routes.Table().LookupIn(c.route.Target.Plugin(), c.info.category); ok && !findable(now) {
			return status.Error(codes.Unavailable, notFindable(c))
		}
	}
	if !c.method.creates || g.mayRecord(c) || !g.enabled.Has(guarantee.Fairness) || !g.gates.of(c.route).silent() { // G17
		return nil
	}
	if c.local != nil && c.local.offer() {
		return status.Error(codes.Unavailable, g.silence(c))
	}
	g.record(c, guarantee.Fairness) // G17
	return status.Error(codes.Unavailable, g.silence(c)+", and no more may wait for it")
}
