package plugin

import (
	"context"
	"errors"
	"log/slog"
	"time"

	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/process"
)

// Environment is what a plugin is started in: the host's side of it.
type Environment struct {
	// RunRoot is where the instance gets its private directory.
	RunRoot *process.RunRoot
	// Log gets the plugin's log lines, with the attribute plugin=<name>, and the instance's own. Nil: discarded.
	Log *slog.Logger
	// DialOptions are added to the connection's options, last.
	DialOptions []grpc.DialOption
}

// Instance is one running subprocess of a plugin.
type Instance struct{}

// Start starts the plugin and returns once it is ready for work.
func Start(ctx context.Context, spec Spec, env Environment) (*Instance, error) {
	return nil, errors.New("not built yet")
}

// Conn is the connection to the plugin. It stays usable, with UNAVAILABLE as its answer, after the process has ended,
// until Stop.
func (i *Instance) Conn() *grpc.ClientConn { return nil }

// Manifest is what the plugin said of itself.
func (i *Instance) Manifest() Manifest { return Manifest{} }

// PID is the process id of the plugin, which is also that of its process group.
func (i *Instance) PID() int { return 0 }

// Started is when the process was started.
func (i *Instance) Started() time.Time { return time.Time{} }

// Usage is what the plugin's process group takes now.
func (i *Instance) Usage() (process.Usage, error) { return process.Usage{}, nil }

// Done is closed when the process has ended, for whatever reason.
func (i *Instance) Done() <-chan struct{} { return nil }

// Err says why the process ended; nil before Done is closed, and after a Stop that was asked for.
func (i *Instance) Err() error { return nil }

// Acquire counts a call in. ok is false once the instance drains or has ended: the call must go elsewhere.
// Each true must be followed by one call of release.
func (i *Instance) Acquire() (release func(), ok bool) { return nil, false }

// InFlight is the number of calls acquired and not yet released.
func (i *Instance) InFlight() int { return 0 }

// Drain refuses new calls and returns when none is in flight, or with ctx's error when that ends first.
func (i *Instance) Drain(ctx context.Context) error { return nil }

// Stop ends the process, always and in bounded time, and removes all that it left. It must be called for every
// instance, also for one whose process has ended by itself. Repeated calls return the first one's result.
func (i *Instance) Stop(ctx context.Context) error { return nil }
