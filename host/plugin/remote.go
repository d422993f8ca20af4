package plugin

import (
	"cmp"
	"context"
	"errors"
	"fmt"
	"log/slog"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/connectivity"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/process"
)

// Remote is a plugin whose servers run elsewhere, an existing flytekit connector deployment for one: connected and ready
// for work when Connect returns it. All methods may be called at any time from any goroutine.
//
// Its end is that of the connection: when none of its servers could be reached for ten seconds, when they stop answering
// ListAgents, or when they list other agents than before. Whoever wants it back connects anew, which is cheap.
type Remote struct {
	spec     Spec
	log      *slog.Logger
	pace     pace
	conn     *grpc.ClientConn
	servers  *servers
	manifest Manifest
	types    int // that may be listed
	started  time.Time

	ctx      context.Context // ends with Stop
	cancel   context.CancelFunc
	watchers sync.WaitGroup
	stop     sync.Once

	calls    calls
	answered answered
	// outage is set while none of the servers can be reached.
	outage atomic.Pointer[outage]
	done   chan struct{}
	ended  sync.Once
	err    error // why it ended; written before done is closed
}

// outage is a time in which nobody can be reached.
type outage struct {
	since  time.Time
	reason error
}

// pace is how often a Remote looks after its servers, and how long it waits for them.
type pace struct {
	health time.Duration // between two questions for a server's health
	list   time.Duration // between two ListAgents, and two look-ups of names
	answer time.Duration // how long either may take
	down   time.Duration // how long nobody need be reachable before it is the end
}

var usualPace = pace{health: 5 * time.Second, list: 30 * time.Second, answer: 5 * time.Second, down: 10 * time.Second}

// Connect connects to the servers of a remote plugin and returns once one of them can be reached and has listed its
// agents, or with an error (a *StartError). The steps are
//
//	prepare  the spec makes sense, the certificates can be read
//	connect  a server took the connection, with TLS as asked for
//	health   not all of them say NOT_SERVING; a server need not have a health service
//	list     it listed its agents
//
// A remote plugin is an agent server as it is: it is not asked to describe or configure itself. Its name is that in the
// configuration, its version is empty.
//
// The whole is bounded by the spec's StartTimeout and by ctx; the Remote lives on when ctx ends. Of env only Log is used:
// the dial options are meant for private sockets, and a remote plugin has no run directory.
//
// The connection is direct: HTTPS_PROXY and its kind do not count. Calls are spread evenly over the servers that are
// connected and healthy. Where there is none they fail at once with UNAVAILABLE, but for those that ask for
// grpc.WaitForReady. GetTask, DeleteTask and GetTaskMetrics are repeated on another server when the one that had them is
// lost. Where several addresses are given, they all see the first as the :authority of a request; each is still known by
// a certificate for its own host, if there is no RemoteTLS.ServerName.
func Connect(ctx context.Context, spec Spec, env Environment) (*Remote, error) {
	return connect(ctx, spec, env, usualPace)
}

func newRemote(c *connecting) *Remote {
	r := &Remote{
		spec: c.spec, log: c.log, pace: c.pace, conn: c.conn, servers: c.servers, manifest: c.manifest, types: c.types,
		started: time.Now(), done: make(chan struct{}),
	}
	r.ctx, r.cancel = context.WithCancel(context.Background())
	r.watchers.Go(r.watchConnection)
	r.watchers.Go(r.watchAgents)
	return r
}

// watchConnection ends the Remote when nobody could be reached for too long.
func (r *Remote) watchConnection() {
	for r.waitFor(r.ctx, func(s connectivity.State) bool { return s != connectivity.Ready }) {
		since := time.Now()
		r.outage.Store(&outage{since, errLost})
		limited, cancel := context.WithTimeout(r.ctx, r.pace.down)
		if reason := r.unreachableReason(limited); reason != nil {
			r.outage.Store(&outage{since, reason})
			r.log.Warn("none of the plugin's servers can be reached", "address", r.spec.Address, "reason", reason)
		}
		back := r.waitFor(limited, func(s connectivity.State) bool { return s == connectivity.Ready })
		cancel()
		if !back {
			if r.ctx.Err() == nil {
				reason := cmp.Or(r.unreachableReason(r.ctx), errComing)
				r.end(fmt.Errorf("none of its servers could be reached for %v: %w", r.pace.down, reason))
			}
			return
		}
		r.outage.Store(nil)
		r.log.Info("the plugin's servers can be reached again", "address", r.spec.Address, "after", time.Since(since).Round(time.Millisecond))
	}
}

// waitFor waits for a state of the connection; it is false when ctx ended first.
func (r *Remote) waitFor(ctx context.Context, holds func(connectivity.State) bool) bool {
	for {
		state := r.conn.GetState()
		if holds(state) {
			return true
		}
		if !r.conn.WaitForStateChange(ctx, state) {
			return false
		}
	}
}

var (
	errComing = errors.New("one just came back")
	errLost   = errors.New("the connection was lost")
)

// unreachableReason is why nobody can be reached; nil where somebody can again.
func (r *Remote) unreachableReason(ctx context.Context) error {
	if _, err := r.servers.trouble(); err != nil {
		return err
	}
	ctx, cancel := context.WithTimeout(ctx, r.pace.answer)
	defer cancel()
	if _, err := listRemote(ctx, r.conn, r.types); err != nil {
		return errors.New(status.Convert(err).Message())
	}
	return nil
}

// toleratedSilence is how many ListAgents in a row may go unanswered.
const toleratedSilence = 2

// watchAgents ends the Remote when its servers list other agents, or do not answer. Both must be so twice in a row: of
// equal servers one is always replaced before the other.
func (r *Remote) watchAgents() {
	ticker := time.NewTicker(r.pace.list)
	defer ticker.Stop()
	silent, changed := 0, []Agent(nil)
	for {
		select {
		case <-ticker.C:
		case <-r.ctx.Done():
			return
		}
		ctx, cancel := context.WithTimeout(r.ctx, r.pace.answer)
		agents, err := listRemote(ctx, r.conn, r.types)
		cancel()
		switch {
		case r.ctx.Err() != nil:
			return
		case status.Code(err) == codes.DeadlineExceeded:
			if silent++; silent >= toleratedSilence {
				r.end(fmt.Errorf("its servers take connections but do not answer ListAgents: %d times in a row not within %v", silent, r.pace.answer))
				return
			}
		case err != nil:
			silent, changed = 0, nil
			r.log.Debug("the plugin cannot list its agents", "error", err)
		case sameAgents(agents, r.manifest.Agents):
			silent, changed = 0, nil
		case !sameAgents(agents, changed):
			silent, changed = 0, agents
		default:
			r.finish(fmt.Errorf("its agents changed: it now lists %s", namesOf(agents)))
			return
		}
	}
}

// finish ends a Remote whose servers still answer: the calls in flight may come to their end, as long as a stop may take.
func (r *Remote) finish(reason error) {
	ctx, cancel := context.WithTimeout(r.ctx, r.spec.StopTimeout)
	defer cancel()
	r.calls.drain(ctx) //nolint:errcheck // what is left then is cut off when it is stopped
	r.end(reason)
}

// end is the end of the Remote, once; reason is nil where it was asked for.
func (r *Remote) end(reason error) {
	r.ended.Do(func() {
		r.calls.refuse()
		if reason != nil {
			r.err = fmt.Errorf("plugin %s: %s: %w", r.spec.Name, strings.Join(r.spec.Address, ", "), reason)
		}
		close(r.done)
	})
}

// Conn is the connection to all servers, with answers of up to MaxAnswer. Stop closes it.
func (r *Remote) Conn() grpc.ClientConnInterface { return notedConn{r.conn, &r.answered} }

// Manifest is what the plugin said of itself when it was connected. It is not to be changed.
func (r *Remote) Manifest() Manifest { return r.manifest }

// PID is 0: there is no process of the host's.
func (r *Remote) PID() int { return 0 }

// Started is when the connection was made.
func (r *Remote) Started() time.Time { return r.started }

// Usage is zero: what the servers take is not the host's to know.
func (r *Remote) Usage() (process.Usage, error) { return process.Usage{}, nil }

// OOMKills is 0: what happens to the servers is not the host's to know.
func (r *Remote) OOMKills() uint64 { return 0 }

// Done is closed when the Remote has ended, for whatever reason.
func (r *Remote) Done() <-chan struct{} { return r.done }

// Err says why the Remote ended. It is nil before Done is closed, and stays so where Stop was called first.
func (r *Remote) Err() error {
	select {
	case <-r.done:
		return r.err
	default:
		return nil
	}
}

// Acquire counts a call in, as that of an Instance does.
func (r *Remote) Acquire() (release func(), ok bool) { return r.calls.acquire() }

// Reachable says whether a server can be reached now.
func (r *Remote) Reachable() bool { return r.conn.GetState() == connectivity.Ready }

// Unreachable says since when and why no server can be reached; ok is false where one can. It waits for nothing.
func (r *Remote) Unreachable() (since time.Time, reason error, ok bool) {
	if out := r.outage.Load(); out != nil && !r.Reachable() {
		return out.since, out.reason, true
	}
	return time.Time{}, nil, false
}

// Reach waits until a server can be reached. When ctx or the Remote ends first, it says why none can.
func (r *Remote) Reach(ctx context.Context) error {
	waiting, cancel := context.WithCancel(ctx)
	defer cancel()
	defer context.AfterFunc(r.ctx, cancel)()
	if r.waitFor(waiting, func(s connectivity.State) bool { return s == connectivity.Ready }) {
		return nil
	}
	brief, cancel := context.WithTimeout(context.WithoutCancel(ctx), reasonTimeout)
	defer cancel()
	return fmt.Errorf("plugin %s: none of its servers can be reached: %w", r.spec.Name, cmp.Or(r.unreachableReason(brief), errComing))
}

// reasonTimeout bounds the question for a reason: somebody has waited for long enough.
const reasonTimeout = 100 * time.Millisecond

// InFlight is the number of calls acquired and not yet released.
func (r *Remote) InFlight() int { return r.calls.count() }

// Sound says that nothing speaks against the plugin itself, as that of an Instance does.
func (r *Remote) Sound() bool { return r.answered.has.Load() || r.calls.untouched() }

// Silence says what the plugin's calls tell of whether it answers.
func (r *Remote) Silence() Silence { return r.answered.hearing.silence() }

// Drain refuses new calls from now on, and returns when none is in flight. When ctx ends first, the error says how many
// are left.
func (r *Remote) Drain(ctx context.Context) error {
	if err := r.calls.drain(ctx); err != nil {
		return fmt.Errorf("plugin %s: drain: %w", r.spec.Name, err)
	}
	return nil
}

// Stop closes the connection; calls in flight end with UNAVAILABLE or CANCELLED. The servers do not notice more than
// that. It needs no time, and must be called for every Remote, also for one that has ended by itself.
func (r *Remote) Stop(context.Context) error {
	r.stop.Do(func() {
		r.end(nil)
		r.cancel()
		r.watchers.Wait()
		_ = r.conn.Close() // fails only where it is closed already
	})
	return nil
}
