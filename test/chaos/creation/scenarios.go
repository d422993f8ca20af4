package creation

import (
	"context"
	"slices"
	"syscall"
	"time"

	"github.com/agenthost/agenthost/test/wait"
)

// scenario is one kind of trouble.
type scenario struct {
	name    string
	plugins []plugin
	// replicas is how many hosts there are besides the first.
	replicas int
	// creating is how long the service takes to make a job, and runs how long the job runs.
	creating, runs time.Duration
	// keyless says that the host has no create.keys, as one that is alone may: then it accepts tasks of all plugins.
	keyless bool
	// alone says that the only host is away: what Flyte asks meanwhile is lost.
	alone bool
	// cuts says that every CreateTask is cut off, so that nothing but what becomes of the jobs is held against the host.
	cuts bool
	// begin makes trouble before tasks come, and trouble while they do. The latter ends it.
	begin   func(w *world) error
	trouble func(ctx context.Context, w *world) error
}

// plugin is one that a scenario has.
type plugin struct {
	name string
	// guest says which real plugin it is, instead of one of the chaos program's.
	guest guest
	// finds says that it finds its jobs by their key.
	finds bool
	// healthy says that nothing happens to it.
	healthy bool
	// atOnce has all of its tasks come at once, and not one after the other for as long as the trouble lasts.
	atOnce bool
	// many has Options.Many tasks come, on the nodes of few executions.
	many bool
}

var (
	finds = plugin{name: "finds", finds: true}
	// plain cannot find its jobs.
	plain   = plugin{name: "plain"}
	healthy = plugin{name: "healthy", finds: true, healthy: true}
	// sql finds the jobs of all processes that share its state_dir.
	sql = plugin{name: "duckdb", guest: duckDB, finds: true}
	// connector is one of flytekit's, which cannot.
	connector = plugin{name: "flytekit", guest: flytekit}
	// warehouse, runs and queries find their jobs in the systems that they are for.
	warehouse = plugin{name: "bigquery", guest: bigQuery, finds: true}
	runs      = plugin{name: "databricks", guest: databricks, finds: true}
	queries   = plugin{name: "snowflake", guest: snowflake, finds: true}
)

// guest is a real plugin; 0 is none.
type guest int

const (
	duckDB guest = iota + 1
	flytekit
	bigQuery
	databricks
	snowflake
)

// emulated says that it is one for a system of which there is an emulator.
func (p plugin) emulated() bool { return p.guest >= bigQuery }

// troubled are the plugins of a scenario that something happens to, and left those that nothing does.
func (s scenario) troubled() []plugin {
	return slices.DeleteFunc(slices.Clone(s.plugins), func(p plugin) bool { return p.healthy })
}

func (s scenario) left() []plugin {
	return slices.DeleteFunc(slices.Clone(s.plugins), func(p plugin) bool { return !p.healthy })
}

// with is the scenario with those guests that there are.
func (s scenario) with(o Options) scenario {
	s.plugins = slices.DeleteFunc(slices.Clone(s.plugins), func(p plugin) bool {
		return p.guest == duckDB && o.DuckDB == "" || p.guest == flytekit && o.Flytekit == "" || p.emulated() && o.Emulated == ""
	})
	return s
}

// jobs run for so long.
const jobs = 2 * time.Second

// killEvery is how often a plugin is killed, and killHostEvery a part of the trouble after which a replica is.
const (
	killEvery     = 3 * time.Second
	killHostEvery = 4
)

// stop stops the plugins, and goOn has them go on when the trouble is over.
func stop(w *world) error {
	w.signal(syscall.SIGSTOP)
	return nil
}

func goOn(ctx context.Context, w *world) error {
	wait.For(ctx, w.Length)
	w.signal(syscall.SIGCONT)
	return ctx.Err()
}

var scenarios = []scenario{
	{
		// A process of Java's is killed before it has started, which is what the next scenario is about.
		name: "killed", plugins: []plugin{finds, sql, warehouse, runs, plain, connector}, creating: 100 * time.Millisecond, runs: jobs,
		trouble: func(ctx context.Context, w *world) error {
			for end := time.Now().Add(w.Length); time.Now().Before(end) && wait.For(ctx, min(killEvery, w.Length/3)); {
				w.signal(syscall.SIGKILL)
			}
			return ctx.Err()
		},
	},
	{
		name: "down", plugins: []plugin{finds, sql, warehouse, runs, queries, plain, connector, healthy}, runs: jobs,
		begin: func(w *world) error { return w.down() },
		trouble: func(ctx context.Context, w *world) error {
			wait.For(ctx, w.Length)
			return w.up()
		},
	},
	{
		name: "stopped", plugins: []plugin{finds, sql, warehouse, runs, queries, plain, connector, healthy}, runs: jobs, begin: stop, trouble: goOn,
	},
	{
		name: "removed", plugins: []plugin{finds, sql, warehouse, runs, queries, plain, connector, healthy}, runs: jobs,
		begin: func(w *world) error { return w.configure(w.scenario.left()) },
		trouble: func(ctx context.Context, w *world) error {
			wait.For(ctx, w.Length*2/3)
			return w.configure(w.scenario.plugins)
		},
	},
	{
		name: "keyless", plugins: []plugin{finds, sql, warehouse, runs, queries, plain, connector, healthy}, runs: jobs, keyless: true,
		begin: func(w *world) error { return w.down() },
		trouble: func(ctx context.Context, w *world) error {
			wait.For(ctx, w.Length)
			return w.up()
		},
	},
	{
		// How long a host is away is until its plugins have started again, which those in Java would make many times the 0.3 s.
		name: "host-back", plugins: []plugin{finds, sql, plain, connector}, runs: jobs, alone: true,
		trouble: func(ctx context.Context, w *world) error {
			wait.For(ctx, w.Length/3)
			return w.killHost(ctx, 0, 300*time.Millisecond)
		},
	},
	{
		name: "host-away", plugins: []plugin{finds, sql, plain, connector}, runs: jobs, alone: true,
		trouble: func(ctx context.Context, w *world) error {
			wait.For(ctx, w.Length/3)
			return w.killHost(ctx, 0, min(8*time.Second, w.Length/3))
		},
	},
	{
		name: "replicas", plugins: []plugin{finds, sql, warehouse, runs, queries, plain, connector}, replicas: 1, runs: jobs,
		trouble: func(ctx context.Context, w *world) error {
			// Each is the one that is in use: clients stay where they went.
			for i := range killHostEvery - 1 {
				wait.For(ctx, w.Length/killHostEvery)
				other := func() bool { _, _, ok := w.hosts[1-i%2].Ready(); return ok }
				if err := w.until(ctx, "the other replica is there", other); err != nil { // it is not yet on a busy machine
					return err
				}
				if err := w.killHost(ctx, i%2, time.Second); err != nil {
					return err
				}
			}
			return nil
		},
	},
	{
		name:    "crash-loop",
		plugins: []plugin{{name: finds.name, finds: true, atOnce: true}, {name: plain.name, atOnce: true}, healthy}, runs: jobs,
		begin: func(w *world) error { return w.down() },
		trouble: func(ctx context.Context, w *world) error {
			wait.For(ctx, w.Length)
			return w.up()
		},
	},
	{
		name: "cut-off", plugins: []plugin{{name: plain.name, atOnce: true}}, creating: 5 * time.Second, runs: 10 * time.Minute, cuts: true,
		trouble: func(ctx context.Context, w *world) error {
			if err := w.until(ctx, "the service makes the jobs", func() bool { return w.made() == w.submitted() }); err != nil {
				return err
			}
			w.balancer.Cut()
			return nil
		},
	},
	{
		name: "other-host", plugins: []plugin{{name: finds.name, finds: true, many: true, atOnce: true}}, replicas: 1, runs: jobs,
		begin: func(w *world) error { return w.down() },
		trouble: func(ctx context.Context, w *world) error {
			if err := w.until(ctx, "all tasks are on record", func() bool { return w.answered() == w.submitted() }); err != nil {
				return err
			}
			if err := w.killHost(ctx, 0, never); err != nil {
				return err
			}
			return w.up()
		},
	},
}
