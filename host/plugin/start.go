package plugin

import (
	"context"
	"crypto/tls"
	"errors"
	"fmt"
	"log/slog"
	"slices"
	"strings"
	"time"

	"google.golang.org/grpc"

	"github.com/agenthost/agenthost/host/cgroup"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/sandbox"
)

// Environment is what a plugin is started in: the host's side of it.
type Environment struct {
	// RunRoot is where the instance gets its private directory.
	RunRoot *process.RunRoot
	// Private are files and folders of the host's that no sandboxed process may read, whatever else it may: config.Private.
	Private []string
	// Log gets the plugin's log lines, with the attribute plugin=<name>, and the instance's own. Nil: discarded.
	Log *slog.Logger
	// Artifacts is where a spec with an image gets it from.
	Artifacts Artifacts
	// Keep, where set, gets each line of the plugin's output as a JSON object in hclog's form: see process.Config.
	Keep func(pid int, line []byte)
	// Progress is told how much of an image has come while it is pulled; it may be nil.
	Progress func(done, total int64)
	// DialOptions are added to the connection's options, last.
	DialOptions []grpc.DialOption
	// Groups is where the instance gets its cgroup. Nil: it gets none.
	Groups *cgroup.Groups
	// Kills is what the kernel has ended around it for want of memory. Nil: that is not known.
	Kills *cgroup.Kills
	// MaxTaskTypes is how many task categories the plugin may list. Zero: DefaultMaxTaskTypes.
	MaxTaskTypes int
}

// DefaultMaxTaskTypes is Environment.MaxTaskTypes where that is zero.
const DefaultMaxTaskTypes = 1000

const (
	// failedStopTimeout is how long a plugin whose start failed may take to end before it is killed.
	failedStopTimeout = 2 * time.Second
	// exitGrace is how long a handshake or call that failed waits for the news that the process has ended, which
	// explains it.
	exitGrace = time.Second
)

// Start starts the plugin and returns once it is ready for work, or with an error (a *StartError) and no process. The
// whole start is bounded by the spec's StartTimeout, but for the pull of an image, and by ctx. The instance lives on when ctx ends.
func Start(ctx context.Context, spec Spec, env Environment) (*Instance, error) {
	spec = spec.withDefaults()
	if env.Log == nil {
		env.Log = slog.New(slog.DiscardHandler)
	}
	s := &start{spec: spec, env: env, running: running{log: env.Log.With("plugin", spec.Name), known: spec.known()}}
	if spec.Image != "" {
		s.step = StepPull
		if err := s.pull(ctx); err != nil {
			failed := s.failed(ctx, err)
			s.abandon()
			return nil, failed
		}
	}
	ctx, cancel := context.WithTimeoutCause(ctx, spec.StartTimeout, fmt.Errorf("not done within the start_timeout of %v", spec.StartTimeout))
	defer cancel()

	for _, step := range []struct {
		name string
		run  func(context.Context) error
	}{
		{StepPrepare, s.prepare},
		{StepLaunch, s.launch}, // goes over into StepHandshake as soon as the program runs
		{StepConnect, s.connect},
		{StepHealth, s.awaitHealth},
		{StepDescribe, s.describe},
		{StepConfigure, s.configure},
		{StepList, s.listAgents},
	} {
		s.step = step.name
		if err := step.run(ctx); err != nil {
			failed := s.failed(ctx, err)
			s.abandon()
			return nil, failed
		}
	}
	if granted := s.proc.Granted(); granted != nil {
		all := *granted
		all.Missing = append(slices.Clone(all.Missing), s.lacking...)
		s.granted = &all
		if all.Degraded() {
			s.log.Warn("its sandbox is degraded", "missing", strings.Join(all.Missing, "; "))
		}
	}
	if err := s.rundir.HoldSockets(); err != nil {
		s.log.Warn("its socket is lost if somebody cleans up run_dir", "error", err)
	}
	s.served = NewConn(s.conn, s.log)
	return newInstance(s), nil
}

// start is a start under way. Each step finds in it what the steps before it made.
type start struct {
	spec Spec
	env  Environment
	step string
	user *sandbox.User // nil: the host's own
	java bool          // it is a sandboxed program for a JVM
	tls  *tls.Config   // nil: without; go-plugin puts the plugin's certificate into it
	running
	manifest Manifest
}

func (s *start) prepare(ctx context.Context) error {
	switch {
	case s.spec.Name == "":
		return errors.New("the plugin has no name")
	case len(s.spec.Command) == 0 || s.spec.Command[0] == "":
		return advise(errors.New("there is no command to start"), "set command: [program, argument, …]")
	case s.env.RunRoot == nil:
		return errors.New("there is no run root to make its private directory in")
	}
	if err := s.spec.verify(); err != nil {
		return err
	}
	rundir, err := s.env.RunRoot.Make()
	if err != nil {
		return err
	}
	s.rundir = rundir
	if err := s.openSandbox(); err != nil {
		return err
	}
	return s.spec.writeSecrets(ctx, rundir, s.known)
}

// failed is err as the error that Start returns, with what is known of the process.
func (s *start) failed(ctx context.Context, err error) *StartError {
	failed := &StartError{Plugin: s.spec.Name, Step: s.step, Err: s.known.HideError(err)}
	var advised *failure
	if errors.As(err, &advised) {
		failed.Advice, failed.ConfigErrors = s.known.Hide(advised.advice), slices.Clone(advised.config)
		for i := range failed.ConfigErrors {
			failed.ConfigErrors[i].Message = s.known.Hide(failed.ConfigErrors[i].Message)
		}
	}
	failed.Fault = faultAt(s.step, err, false, false, 0)
	if s.proc == nil || s.proc.PID() == 0 {
		return failed
	}
	if isUnavailable(err) {
		s.awaitExit(ctx)
	}
	if exit, ended := s.exited(); ended && !exit.Ours {
		failed.OOMKills = s.proc.OOMKills()
		failed.Exited, failed.Fault = exit.String(), faultAt(s.step, err, false, true, exit.Code)
		if failed.Advice == "" {
			failed.Advice = "what it printed last may say why; so may running its command by hand"
		}
	}
	failed.LastOutput = s.proc.LastOutput()
	if s.spec.Sandbox.On() && speaksOfDenial(append([]string{err.Error()}, failed.LastOutput...)) {
		failed.Advice = strings.TrimPrefix(failed.Advice+"; "+sandboxAdvice, "; ")
	}
	return failed
}

const sandboxAdvice = "if its sandbox is what denies it: sandbox.read and sandbox.write name the files and folders that it may use beside its own"

// speaksOfDenial says that something was denied, in the words of the C library, which runtimes repeat.
func speaksOfDenial(lines []string) bool {
	return slices.ContainsFunc(lines, func(line string) bool {
		line = strings.ToLower(line)
		return strings.Contains(line, "permission denied") || strings.Contains(line, "operation not permitted")
	})
}

// awaitExit gives the process a moment to end, and its output to be read, after something that looks like its end.
func (s *start) awaitExit(ctx context.Context) {
	ctx, cancel := context.WithTimeout(ctx, exitGrace)
	defer cancel()
	s.proc.Wait(ctx) //nolint:errcheck // either way, what is known then is told
}

// abandon leaves nothing of a start that failed.
func (s *start) abandon() {
	ctx, cancel := context.WithTimeout(context.Background(), min(failedStopTimeout, s.spec.StopTimeout))
	defer cancel()
	if ending, err := s.end(ctx); err != nil {
		s.log.Error("what is left of a failed start could not be removed", "error", err, "ending", ending.String())
	}
}
