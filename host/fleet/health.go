package fleet

import (
	"context"
	"fmt"
	"time"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// Health is how the fleet finds out that a plugin does not answer.
type Health struct {
	// Interval is the pause between two health checks, Timeout how long one may take.
	Interval, Timeout time.Duration
	// MaxWait is how long one may go without an answer before the plugin counts as unresponsive. Zero: DefaultHealth's.
	MaxWait time.Duration
	// Misses is how many checks in a row have to go unanswered for a restart.
	Misses int
}

// DefaultHealth says within four seconds that a plugin does not answer, and leaves one that blocks for a while, as Python's do, a minute
// before it is restarted.
var DefaultHealth = Health{Interval: 2 * time.Second, Timeout: 10 * time.Second, MaxWait: 2 * time.Second, Misses: 5}

const (
	// heldUp is how late the fleet may be to look at a plugin: later than that the machine or the host itself was held up, and what was
	// not answered meanwhile says nothing of the plugin.
	heldUp = time.Second
	// answersAgain is how soon it is seen at most that a plugin answers again.
	answersAgain = 250 * time.Millisecond
	// lookAway is how often it is looked whether servers elsewhere can be reached.
	lookAway = time.Second
	// lastingSilence is for how long it counts that calls were left without an answer where nobody has called since.
	lastingSilence = time.Minute
)

// signs are what is known of whether an instance answers.
type signs struct {
	heard time.Time // when it last answered a health check, or came up
	asked time.Time // when the first one was asked that it has left without an answer since; zero: none was
	held  time.Time // until when the host was held up; zero: it never was
	calls plugin.Silence
	away  outage // none of its servers can be reached; zero: some can, or it has none
}

// outage is since when servers elsewhere are out of reach, and why.
type outage struct {
	since  time.Time
	reason error
}

// silence is that an instance does not answer. The zero value is that it does.
type silence struct {
	since time.Time
	what  string // has no answer
}

// judge says whether an instance answers, and when that has to be looked at again.
func (h Health) judge(now time.Time, s signs) (is silence, again time.Time) {
	again = now.Add(lookAway)
	sooner := func(at time.Time) {
		if at.Before(again) {
			again = at
		}
	}
	if !s.away.since.IsZero() {
		return silence{s.away.since, fmt.Sprintf("none of its servers can be reached: %v", s.away.reason)}, now.Add(answersAgain)
	}
	if !s.asked.IsZero() && !s.calls.Answered.After(s.asked) {
		due := latest(s.asked, s.held).Add(h.MaxWait)
		if !now.Before(due) {
			return silence{latest(s.heard, s.calls.Answered), "health checks have no answer"}, now.Add(answersAgain)
		}
		sooner(due)
	}
	if calls := s.calls; !calls.Since.IsZero() {
		from := latest(calls.Since, s.held)
		if calls.Asked.Sub(from) >= calls.MaxWait && now.Sub(calls.Asked) < lastingSilence {
			return silence{calls.Since, fmt.Sprintf("its %s calls have no answer", calls.Method)}, now.Add(answersAgain)
		}
		if due := from.Add(calls.MaxWait); due.After(now) {
			sooner(due)
		}
	}
	return silence{}, again
}

func latest(a, b time.Time) time.Time {
	if a.After(b) {
		return a
	}
	return b
}

// error is what the status says of a plugin; nil where it answers. Its words do not change while that lasts.
func (s silence) error(name string) error {
	if s.what == "" {
		return nil
	}
	return fmt.Errorf("plugin %q does not answer since %s: %s", name, s.since.UTC().Format(time.RFC3339), s.what)
}

// healthAnswer is what came of a health check.
type healthAnswer struct {
	said  string
	none  bool // it was not answered in time
	ended time.Time
}

// lastHealth is what an instance last said of its health. The zero value is that it was not asked.
type lastHealth struct {
	at   time.Time
	said string // SERVING, or what else health services say; or the code of an error
}

// examination is what the fleet finds out about an instance while that runs.
type examination struct {
	// sick is why it has to be restarted, changes since when it does not answer, or that it does.
	sick    chan error
	changes chan silence
}

func newExamination() examination {
	return examination{sick: make(chan error, 1), changes: make(chan silence)}
}

// examine looks until ctx ends whether an instance answers. One that does not, because its process is stopped or its threads hang, is
// shown as such; nobody else would notice. One that leaves all health checks without an answer for long is as good as dead.
func (s *instanceSlot) examine(ctx context.Context, running instance, found examination) {
	rule := s.generation.supervisor.fleet.options.Health
	health := healthpb.NewHealthClient(running.Conn())
	answers := make(chan healthAnswer, 1)
	known := signs{heard: time.Now()}
	next := known.heard.Add(rule.Interval) // check
	if s.generation.spec.Remote() {
		next = time.Time{} // its servers need not have a health service, and are looked after elsewhere
	}
	var told []string
	var said silence
	misses := 0
	_, again := rule.judge(known.heard, known)
	timer := time.NewTimer(0)
	defer timer.Stop()
	for {
		aim := again
		if !next.IsZero() && next.Before(aim) {
			aim = next
		}
		timer.Reset(time.Until(aim))
		select {
		case <-timer.C:
			if late := time.Since(aim); late > heldUp {
				known.held = time.Now()
			}
		case answer := <-answers:
			next = answer.ended.Add(rule.Interval)
			if answer.none {
				misses++
				s.log.Warn("no answer to a health check", "misses", misses, "of", rule.Misses)
				break
			}
			misses, known.heard, known.asked = 0, answer.ended, time.Time{}
			s.noteHealth(running, lastHealth{answer.ended, answer.said})
		case <-ctx.Done():
			return
		}
		if misses >= rule.Misses {
			found.sick <- fmt.Errorf("plugin %q did not answer %d health checks of %s each: it hangs, and is restarted", s.generation.spec.Name, misses, rule.Timeout)
			return
		}
		now := time.Now()
		if !next.IsZero() && !now.Before(next) {
			next = time.Time{} // until it is answered
			if known.asked.IsZero() {
				known.asked = now
			}
			told = s.lookAtFiles(told)
			s.countKills(running)
			go func() { answers <- checkHealth(ctx, health, rule.Timeout) }()
		}
		known.calls, known.away = running.Silence(), outageOf(running)
		var is silence
		is, again = rule.judge(now, known)
		if is.what != "" && said.what != "" {
			is = said // one silence has one cause in words, also when more comes to go without an answer
		}
		if is != said {
			said = is
			select {
			case found.changes <- is:
			case <-ctx.Done():
				return
			}
		}
	}
}

// checkHealth makes one health check. Any answer is a sign of life.
func checkHealth(ctx context.Context, health healthpb.HealthClient, timeout time.Duration) healthAnswer {
	asking, cancel := context.WithTimeout(ctx, timeout)
	defer cancel()
	answer, err := health.Check(asking, &healthpb.HealthCheckRequest{Service: pluginv1.HealthService})
	got := healthAnswer{said: answer.GetStatus().String(), none: err != nil && asking.Err() != nil, ended: time.Now()}
	if err != nil {
		got.said = status.Code(err).String()
	}
	return got
}

// outageOf is the outage of servers elsewhere.
func outageOf(running instance) outage {
	if remote, ok := running.(interface {
		Unreachable() (since time.Time, reason error, ok bool)
	}); ok {
		if since, reason, ok := remote.Unreachable(); ok {
			return outage{since, reason}
		}
	}
	return outage{}
}

func (s *instanceSlot) noteHealth(of instance, last lastHealth) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.instance == of {
		s.health = last
	}
}

// hear takes note of whether the instance that takes calls answers them. It takes them either way: who does not answer may do so any
// moment, and nobody else knows its jobs.
func (s *instanceSlot) hear(running instance, is silence) {
	err := is.error(s.generation.spec.Name)
	s.mu.Lock()
	s.silence = is
	news := s.state != Unresponsive
	if err != nil && !news {
		s.reason, s.reasonAt = err, time.Now()
	}
	s.mu.Unlock()
	switch {
	case err == nil:
		s.become(Running, nil, running, "it answers again")
	case news:
		s.become(Unresponsive, err, running, "")
	}
}

// Silent implements route.Watched.
func (s *instanceSlot) Silent() (route.Trouble, bool) {
	s.mu.Lock()
	is, state := s.silence, s.state
	s.mu.Unlock()
	if is.what == "" || state != Unresponsive {
		return route.Trouble{}, false
	}
	return route.Trouble{Since: is.since, Reason: fmt.Sprintf("plugin %q does not answer: %s", s.generation.spec.Name, is.what)}, true
}

// Silent implements route.Watched: none of the instances that take calls answers.
func (s *supervisor) Silent() (trouble route.Trouble, ok bool) {
	v := s.view.Load()
	if v.current == nil {
		return route.Trouble{}, false
	}
	for _, slot := range *v.current.visible.Load() {
		if _, takes := slot.load(); !takes {
			continue
		}
		if trouble, ok = slot.Silent(); !ok {
			return route.Trouble{}, false
		}
	}
	return trouble, ok
}
