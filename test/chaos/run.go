package main

import (
	"bytes"
	"context"
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io"
	"math"
	mathrand "math/rand/v2"
	"os"
	"os/exec"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"syscall"
	"time"

	"google.golang.org/grpc/codes"

	"github.com/agenthost/agenthost/test/chaos/balancer"
	"github.com/agenthost/agenthost/test/chaos/ledger"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/replica"
	"github.com/agenthost/agenthost/test/wait"
)

// options are a run's.
type options struct {
	host   string // the binary
	plugin string // the program that the plugins are; this one if empty
	length time.Duration
	jobs   int
	// maxWait is how long after the chaos a job may take to end. Those that are not over then are stuck.
	maxWait time.Duration
	// discovery is how often a Flyte asks which task types there are; 0 is every second.
	discovery time.Duration
	seed      uint64
	without   string
	only      []string // kinds of faults; nil: all
	guests    []string // folders of hello agents that take part, see guests.go
	keep      bool
	out       io.Writer
}

// hostLimit is how long a host may take to start or to stop.
const hostLimit = 40 * time.Second

// errViolated is why a run failed in which everything worked but the host.
var errViolated = errors.New("the host broke its promises")

// chaos is one run.
type chaos struct {
	options
	mark      string
	dir       string
	ledger    *ledger.Ledger
	settings  *settings
	hosts     []*replica.Replica
	balancers map[string]*balancer.Balancer
	flytes    flytes
	jobs      []*job
	plans     map[string]ledger.Plan

	guestKills, guestSwaps int // written by runGuests

	mu      sync.Mutex
	excuses []excuse
	counted map[string]float64 // the hosts' guarantee counters, over all of their lives
	stalls  stalls
}

// excuse is a time in which a call may fail, and why.
type excuse struct {
	agent    string // "": any
	from, to time.Time
	why      string
	// exceptPolls says that it is none for GetTask.
	exceptPolls bool
	// onlyLate says that it is one for calls that ran into their deadlines, and no others.
	onlyLate bool
	// onlyDead says that it is one for calls that lost their plugin and cannot be repeated, and no others.
	onlyDead bool
}

// runChaos does it all, and prints a report.
func runChaos(ctx context.Context, o options) error {
	c, verdict, err := newChaos(ctx, o)
	if err != nil {
		return err
	}
	verdict.print(o.out, c)
	if len(verdict.violations) > 0 {
		return fmt.Errorf("%w: %d violations, CHAOS_SEED=%d, logs in %s", errViolated, len(verdict.violations), o.seed, c.dir)
	}
	if !o.keep {
		err = os.RemoveAll(c.dir)
	}
	return err
}

// newChaos runs one, and judges it. Its folder is the caller's to remove.
func newChaos(ctx context.Context, o options) (*chaos, *verdict, error) {
	c := &chaos{options: o, mark: newMark(), plans: map[string]ledger.Plan{}, counted: map[string]float64{}, balancers: map[string]*balancer.Balancer{}}
	var err error
	if c.dir, err = os.MkdirTemp("", "chaos-"); err != nil {
		return nil, nil, err
	}
	fmt.Fprintf(o.out, "chaos: CHAOS_SEED=%d CHAOS_SECONDS=%.0f CHAOS_JOBS=%d, logs in %s\n", o.seed, o.length.Seconds(), o.jobs, c.dir)
	verdict, err := c.run(ctx)
	if err != nil {
		return nil, nil, fmt.Errorf("chaos could not run (logs are in %s): %w", c.dir, err)
	}
	return c, verdict, nil
}

func (c *chaos) run(ctx context.Context) (*verdict, error) {
	c.jobs = newWorkload(mathrand.New(mathrand.NewPCG(c.seed, 1)), c.options.jobs, c.length)
	for _, j := range c.jobs {
		c.plans[j.name] = j.plan
	}
	var err error
	if c.ledger, err = ledger.Listen(func(task string) (ledger.Plan, bool) {
		plan, ok := c.plans[task]
		return plan, ok
	}); err != nil {
		return nil, err
	}
	defer c.ledger.Close()
	schema, err := exec.CommandContext(ctx, c.host, "schema").Output()
	if err != nil {
		return nil, fmt.Errorf("%s schema: %w: run `make build` first", c.host, err)
	}
	c.settings = newSettings(c.dir, c.ledger.URL(), c.mark, func(key string) bool { return bytes.Contains(schema, []byte(`"`+key+`": {`)) })
	c.settings.mounted, c.settings.program = c.seed%2 == 1, c.plugin
	if c.settings.guests, err = readGuests(c.guests); err != nil {
		return nil, err
	}
	if err := c.settings.repair(); err != nil {
		return nil, err
	}
	defer func() { _ = c.stopHosts() }() // where it counts, the verdict has done it before
	if err := c.startHosts(ctx); err != nil {
		return nil, err
	}
	before, err := c.usage(ctx)
	if err != nil {
		return nil, err
	}
	if err := c.openBalancers(); err != nil {
		return nil, err
	}
	defer c.closeBalancers()

	c.flytes = startFlytes(ctx, func(flyte propeller.Flyte, purpose string) string {
		return c.balancers[fmt.Sprint(flyte, purpose)].Address()
	}, c.options, c.wanted("host-kill"))
	defer c.flytes.close()
	watching, stopWatching := context.WithCancel(ctx)
	defer stopWatching()
	go c.stalls.watch(watching)
	bringer := newFaults(c, mathrand.New(mathrand.NewPCG(c.seed, 2)))
	failed := make(chan error, 1)
	go func() { failed <- bringer.run(ctx, c.length) }()
	hosted := make(chan []*guestJob, 1)
	go func() { hosted <- c.runGuests(ctx) }()
	c.flytes.run(ctx, c.jobs, c.length+c.maxWait)
	guests := <-hosted
	if err := <-failed; err != nil {
		return nil, err
	}
	if ctx.Err() != nil {
		return nil, ctx.Err()
	}

	c.excuseDeaths()
	verdict := newVerdict(c, bringer)
	verdict.judge()
	verdict.judgeGuests(guests)
	for _, host := range c.hosts {
		c.scrape(ctx, host)
	}
	c.flytes.close()
	c.closeBalancers()
	verdict.cleanedUp(ctx, before)
	verdict.leftBehind(ctx)
	return verdict, nil
}

// startHosts starts both at once, as a Deployment does.
func (c *chaos) startHosts(ctx context.Context) error {
	ctx, cancel := context.WithTimeout(ctx, hostLimit)
	defer cancel()
	var env []string
	if c.without != "" {
		env = append(env, "CHAOS_WITHOUT="+strings.ReplaceAll(c.without, ",", " "))
	}
	for _, name := range []string{"host-0", "host-1"} {
		c.hosts = append(c.hosts, &replica.Replica{Name: name, Program: c.host, Config: c.settings.file, Env: env, Logs: c.dir})
	}
	failures := make([]error, len(c.hosts))
	var starting sync.WaitGroup
	for i, host := range c.hosts {
		starting.Go(func() { failures[i] = host.Start(ctx) })
	}
	starting.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	// A host that starts gives up plugins that a busy machine keeps from starting in time, and is ready without them.
	for {
		wrong := c.unclean(ctx, usage{math.Inf(1), math.Inf(1)})
		if len(wrong) == 0 {
			return nil
		}
		if !wait.For(ctx, 100*time.Millisecond) {
			return fmt.Errorf("the plugins do not start within %v: %s", hostLimit, strings.Join(wrong, "; "))
		}
	}
}

// stopHosts ends them, politely at first. What it returns is their errors.
func (c *chaos) stopHosts() error {
	ctx, cancel := context.WithTimeout(context.Background(), hostLimit)
	defer cancel()
	var failures []error
	for _, host := range c.hosts {
		if _, _, ok := host.Ready(); !ok {
			failures = append(failures, fmt.Errorf("%s has ended by itself, or never got ready", host.Name))
		}
		if host.PID() != 0 {
			_ = host.Signal(syscall.SIGTERM) // it may have ended
		}
	}
	for _, host := range c.hosts {
		err := host.Wait(ctx)
		if ctx.Err() != nil {
			err = errors.Join(err, host.Signal(syscall.SIGKILL))
		}
		failures = append(failures, err)
	}
	c.hosts = nil
	return errors.Join(failures...)
}

// openBalancers opens an address for each client. Flyte 1 begins with the first replica (it uses the address that it is given
// again, as long as that answers), Flyte 2 with the second.
func (c *chaos) openBalancers() error {
	for name, order := range map[string][]int{
		fmt.Sprint(propeller.V1, "first"): {1, 0}, fmt.Sprint(propeller.V1, "again"): {0, 1}, fmt.Sprint(propeller.V2, "first"): {1, 0},
	} {
		opened, err := balancer.Listen(func() []string {
			var ready []string
			for _, i := range order {
				if address, _, ok := c.hosts[i].Ready(); ok {
					ready = append(ready, address)
				}
			}
			return ready
		})
		if err != nil {
			return err
		}
		c.balancers[name] = opened
	}
	return nil
}

func (c *chaos) closeBalancers() {
	for name, open := range c.balancers {
		_ = open.Close() // a listener that will not close is found among the leftovers
		delete(c.balancers, name)
	}
}

// wanted tells whether a kind of fault is asked for.
func (c *chaos) wanted(name string) bool { return c.only == nil || slices.Contains(c.only, name) }

func (c *chaos) excuse(e excuse) {
	c.mu.Lock()
	defer c.mu.Unlock()
	c.excuses = append(c.excuses, e)
}

// excused gives the reason why a call about a job of an agent may have failed; "" where there is none.
func (c *chaos) excused(agent string, call propeller.Call) string {
	c.mu.Lock()
	defer c.mu.Unlock()
	from, to := call.Started, call.Started.Add(call.Took)
	for _, e := range c.excuses {
		if e.exceptPolls && call.Method == "GetTask" || e.onlyLate && call.Code != codes.DeadlineExceeded || e.onlyDead && !lostForGood(agent, call) {
			continue
		}
		if (e.agent == "" || e.agent == agent) && !to.Before(e.from) && !from.After(e.to) {
			return e.why
		}
	}
	return ""
}

// lostForGood tells whether a call failed because its plugin died, and is none that the host may repeat: that could make a second
// job, or do a task twice.
func lostForGood(agent string, call propeller.Call) bool {
	once := call.Method == "ExecuteTaskSync" || call.Method == "CreateTask" && !named(agent).idempotent
	return once && call.Code == codes.Unavailable
}

// excuseDeaths excuses the calls under way when the ledger ended a plugin. It takes the plugin a moment, and more on a busy machine.
func (c *chaos) excuseDeaths() {
	for _, d := range c.ledger.Deaths() {
		c.excuse(death(d.Agent, d.At, time.Second))
	}
}

func newMark() string {
	mark := make([]byte, 8)
	_, _ = rand.Read(mark) // never fails
	return hex.EncodeToString(mark)
}

// runEntries is what is left in the hosts' base of run directories, but its lock and what is meant to outlive hosts.
func (c *chaos) runEntries() []string {
	var left []string
	_ = filepath.WalkDir(c.settings.runDir, func(path string, entry os.DirEntry, err error) error {
		if err != nil {
			return nil //nolint:nilerr // it went while it was looked at: it is not left
		}
		switch path {
		case c.settings.runDir, filepath.Join(c.settings.runDir, "lock"):
		case filepath.Join(c.settings.runDir, "manifests"), filepath.Join(c.settings.runDir, "state"):
			return filepath.SkipDir
		default:
			left = append(left, path)
		}
		return nil
	})
	return left
}
