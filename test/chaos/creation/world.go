package creation

import (
	"context"
	"crypto/rand"
	_ "embed" // connector.py
	"encoding/base64"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/test/chaos/agent"
	"github.com/agenthost/agenthost/test/chaos/balancer"
	"github.com/agenthost/agenthost/test/chaos/ledger"
	"github.com/agenthost/agenthost/test/chaos/procs"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/replica"
	"github.com/agenthost/agenthost/test/wait"
)

const (
	// hostLimit is how long a host may take to start or to stop, and settleLimit how long tasks may take once the trouble is over.
	hostLimit   = 90 * time.Second
	settleLimit = 2 * time.Minute
	// orphanGrace is the hosts' create.orphan_grace.
	orphanGrace = 2 * time.Second
	// never is a pause after which nothing comes back.
	never = time.Duration(-1)
)

// connectorModule has a connector of flytekit's whose jobs are the ledger's.
//
//go:embed connector.py
var connectorModule []byte

// world is what a scenario happens in.
type world struct {
	Options
	scenario scenario
	dir      string
	mark     string
	ledger   *ledger.Ledger
	hosts    []*replica.Replica
	balancer *balancer.Balancer
	second   *balancer.Balancer // nil where there is one host
	flyte    *propeller.Propeller
	plans    sync.Map // ledger.Plan by the task's name

	mu        sync.Mutex
	tasks     []*task
	kills     []kill
	emulators map[guest]*emulator
}

// newWorld starts everything, and returns when Flyte can begin tasks. The caller closes it.
func newWorld(ctx context.Context, o Options, s scenario) (*world, error) {
	w := &world{Options: o, scenario: s, emulators: map[guest]*emulator{}}
	var err error
	if w.dir, err = os.MkdirTemp("", "chaos-"); err != nil {
		return nil, err
	}
	mark := make([]byte, 8)
	_, _ = rand.Read(mark) // never fails
	w.mark = hex.EncodeToString(mark)
	if err := w.open(ctx); err != nil {
		return nil, errors.Join(fmt.Errorf("%w; logs in %s", err, w.dir), w.close())
	}
	return w, nil
}

func (w *world) open(ctx context.Context) error {
	var err error
	if w.ledger, err = ledger.Listen(func(task string) (ledger.Plan, bool) {
		plan, ok := w.plans.Load(task)
		if !ok {
			return ledger.Plan{}, false
		}
		return plan.(ledger.Plan), true
	}); err != nil {
		return err
	}
	key := make([]byte, 32)
	_, _ = rand.Read(key) // never fails
	if err := os.WriteFile(w.path("keys"), []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
		return err
	}
	if err := os.WriteFile(w.path("connector.py"), connectorModule, 0o600); err != nil {
		return err
	}
	if err := w.emulate(); err != nil {
		return err
	}
	if err := w.configure(w.scenario.plugins); err != nil {
		return err
	}
	for i := range 1 + w.scenario.replicas {
		name := fmt.Sprintf("host-%d", i)
		host := &replica.Replica{Name: name, Program: w.Host, Config: w.path("agenthost.json"), Logs: w.dir, Env: []string{
			"AGENTHOST_RUN_DIR=" + w.path(fmt.Sprint("run-", i)), "AGENTHOST_STATE_DIR=" + w.path(fmt.Sprint("state-", i)),
			"CHAOS_WITHOUT=" + w.Without,
		}}
		w.hosts = append(w.hosts, host)
		if err := w.start(ctx, host); err != nil {
			return err
		}
	}
	if w.balancer, err = balancer.Listen(w.ready); err != nil {
		return err
	}
	options := propeller.Options{
		Flyte: propeller.V1, Endpoint: w.balancer.Address(), PollInterval: w.discovery(), Round: 500 * time.Millisecond,
		Resync: w.resync(), PollRate: -1, Rounds: flyteWorkers,
	}
	if w.scenario.replicas > 0 {
		// A ListAgents that dies with a replica would empty Flyte's registry: it gets the hosts by a second address, which begins with
		// the other one. Of two that answer the connector's counts.
		if w.second, err = balancer.Listen(w.readyBackwards); err != nil {
			return err
		}
		options.Endpoint, options.Connectors = w.second.Address(), map[string]string{"hosts": w.balancer.Address()}
	}
	w.flyte = propeller.Start(ctx, options)
	return w.warmUp(ctx)
}

// flyteWorkers is how many tasks FlytePropeller begins at a time.
const flyteWorkers = 20

// resync is how often Flyte asks for a job. Five polls may fail, so that it is what a host may be away for.
func (w *world) resync() time.Duration {
	if w.scenario.alone || slices.ContainsFunc(w.scenario.plugins, func(p plugin) bool { return p.many }) {
		return 5 * time.Second
	}
	return time.Second
}

// discovery is how often Flyte asks for task types. A host that is away is met by it as seldom as in a real Flyte, where another setting
// has Flyte do without it; one that is there should not mind.
func (w *world) discovery() time.Duration {
	if w.scenario.alone {
		return 10 * time.Second
	}
	return time.Second
}

func (w *world) path(name string) string { return filepath.Join(w.dir, name) }

// ready are the addresses of the hosts that are.
func (w *world) ready() []string {
	var ready []string
	for _, host := range w.hosts {
		if address, _, ok := host.Ready(); ok {
			ready = append(ready, address)
		}
	}
	return ready
}

func (w *world) readyBackwards() []string {
	ready := w.ready()
	slices.Reverse(ready)
	return ready
}

func (w *world) start(ctx context.Context, host *replica.Replica) error {
	ctx, cancel := context.WithTimeout(ctx, hostLimit)
	defer cancel()
	return host.Start(ctx)
}

// configure writes the hosts' configuration, with these plugins.
func (w *world) configure(plugins []plugin) error {
	entries := map[string]any{}
	for _, p := range plugins {
		entries[p.name] = w.entry(p)
	}
	create := map[string]any{"on_record": "on", "orphan_grace": orphanGrace.String()}
	if !w.scenario.keyless {
		create["keys"] = "file://" + w.path("keys")
	}
	content, err := json.Marshal(map[string]any{"shutdown_timeout": "5s", "plugins": entries, "create": create})
	if err != nil {
		return err
	}
	if err := os.WriteFile(w.path("agenthost.new"), content, 0o600); err != nil {
		return err
	}
	return os.Rename(w.path("agenthost.new"), w.path("agenthost.json"))
}

// entry is a plugin's. It ends at once for as long as a file says so.
func (w *world) entry(p plugin) map[string]any {
	command := agent.Command(agent.Flags{Agent: p.name, Release: "r1", Idempotent: p.finds})
	if w.Plugin != "" {
		command[0] = w.Plugin
	}
	env := map[string]any{agent.LedgerVariable: w.ledger.URL(), procs.Variable: w.markOf(p), "DOWN": w.path("down-" + p.name)}
	entry := map[string]any{"env": env}
	switch p.guest {
	case duckDB:
		command = []string{w.DuckDB}
		entry["config"] = map[string]any{"state_dir": w.path("duckdb"), "threads": 1}
	case flytekit:
		command = []string{filepath.Join(w.Flytekit, "agenthost-flytekit"), "--modules", "connector", "--task-types", p.taskType()}
		env["PYTHONPATH"] = w.dir
	case bigQuery, databricks, snowflake:
		of := emulators[p.guest]
		command = of.command(w.Options)
		entry["config"] = of.config(w, w.emulators[p.guest].url)
		if of.secret != "" {
			entry["secrets"] = map[string]any{of.secret: "file://" + w.path("secret")}
		}
	}
	entry["command"] = append([]string{"/bin/sh", "-c", `if [ -e "$DOWN" ]; then exit 1; fi; exec "$0" "$@"`}, command...)
	if w.MaxBackoff > 0 {
		entry["restart"] = map[string]any{"max_backoff": w.MaxBackoff.String()}
	}
	return entry
}

// markOf marks the processes of a plugin.
func (w *world) markOf(p plugin) string { return w.mark + "-" + p.name }

// signal sends the processes of the plugins that something happens to a signal.
func (w *world) signal(signal syscall.Signal) {
	for _, p := range w.scenario.troubled() {
		for _, process := range procs.Marked(w.markOf(p)) {
			_ = syscall.Kill(process.PID, signal) // it may have ended
		}
	}
}

// down ends those plugins, and lets none of their processes live until up.
func (w *world) down() error {
	for _, p := range w.scenario.troubled() {
		if err := os.WriteFile(w.path("down-"+p.name), nil, 0o600); err != nil {
			return err
		}
	}
	w.signal(syscall.SIGKILL)
	return nil
}

func (w *world) up() error {
	for _, p := range w.scenario.troubled() {
		if err := os.Remove(w.path("down-" + p.name)); err != nil {
			return err
		}
	}
	return nil
}

// killHost kills a host, and starts it again after a time.
func (w *world) killHost(ctx context.Context, number int, away time.Duration) error {
	host := w.hosts[number]
	address, _, _ := host.Ready()
	began := time.Now()
	if err := host.Signal(syscall.SIGKILL); err != nil {
		return err
	}
	ending, cancel := context.WithTimeout(ctx, hostLimit)
	defer cancel()
	if err := host.Wait(ending); ending.Err() != nil {
		return err
	}
	w.mu.Lock()
	w.kills = append(w.kills, kill{address, began, time.Now()})
	w.mu.Unlock()
	if away == never {
		return nil
	}
	wait.For(ctx, away)
	return w.start(ctx, host)
}

// kill is a host's, from when it was sent the signal until it was gone.
type kill struct {
	address  string
	from, to time.Time
}

// cutOff says that a call was under way while a host was killed, or went to one that was gone before its client knew, and failed by
// that.
func (w *world) cutOff(call propeller.Call) bool {
	w.mu.Lock()
	defer w.mu.Unlock()
	target := w.balancer.Target(call.From)
	if target == "" && w.second != nil {
		target = w.second.Target(call.From)
	}
	return call.Code == codes.Unavailable && slices.ContainsFunc(w.kills, func(k kill) bool {
		return !call.Started.Add(call.Took).Before(k.from) && (target != "" && target == k.address || !call.Started.After(k.to))
	})
}

// until waits until a condition holds.
func (w *world) until(ctx context.Context, what string, holds func() bool) error {
	ctx, cancel := context.WithTimeout(ctx, settleLimit)
	defer cancel()
	for !holds() {
		if !wait.For(ctx, 50*time.Millisecond) {
			return fmt.Errorf("waited in vain until %s: %w", what, ctx.Err())
		}
	}
	return nil
}

// close ends everything.
func (w *world) close() error {
	if w.flyte != nil {
		w.flyte.Close()
	}
	var failures []error
	if w.second != nil {
		failures = append(failures, w.second.Close())
	}
	if w.balancer != nil {
		failures = append(failures, w.balancer.Close())
	}
	ctx, cancel := context.WithTimeout(context.Background(), hostLimit)
	defer cancel()
	for _, host := range w.hosts {
		if _, _, ok := host.Ready(); !ok {
			continue
		}
		failures = append(failures, host.Signal(syscall.SIGTERM))
		if err := host.Wait(ctx); err != nil {
			failures = append(failures, fmt.Errorf("%s did not end well: %w", host.Name, err), host.Signal(syscall.SIGKILL))
		}
	}
	for _, e := range w.emulators {
		e.stop()
	}
	if w.ledger != nil {
		failures = append(failures, w.ledger.Close())
	}
	return errors.Join(failures...)
}
