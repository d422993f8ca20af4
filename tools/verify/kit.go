package verify

import (
	"context"
	"errors"
	"fmt"
	"os"
	"path/filepath"
	"regexp"
	"slices"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/process"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// Options say how a plugin is verified.
type Options struct {
	// Select keeps the checks whose names it matches; nil: all.
	Select *regexp.Regexp
	// Quick makes fewer calls in the search for leaks.
	Quick bool
	// KeepGoing makes the checks of load/ also where the plugin has failed so that they show nothing more.
	KeepGoing bool
	// Progress, if set, hears of each check before it begins.
	Progress func(done, of int, name string)

	// CallTimeout bounds each call, as FlytePropeller's 10 s do, which is the default.
	CallTimeout time.Duration
	// StopTimeout is how long the plugin may take to end after Shutdown or SIGTERM; default 5 s, as long as the host waits
	// after each.
	StopTimeout time.Duration
	// TaskTimeout bounds each sample task; default 5 minutes, and for one that was interrupted by a restart ten times what it takes
	// otherwise, but a minute at least.
	TaskTimeout time.Duration
	// LeakCalls is the number of calls between two looks at what the process takes; default 10,000, with Quick 1,000.
	LeakCalls int
}

func (o Options) withDefaults() Options {
	set := func(value *time.Duration, usual time.Duration) {
		if *value == 0 {
			*value = usual
		}
	}
	set(&o.CallTimeout, 10*time.Second)
	set(&o.StopTimeout, config.DefaultStopTimeout/2)
	if o.LeakCalls == 0 {
		o.LeakCalls = 10_000
		if o.Quick {
			o.LeakCalls = 1_000
		}
	}
	if o.Progress == nil {
		o.Progress = func(int, int, string) {}
	}
	return o
}

// Run verifies a plugin. An error says that it could not be done at all; what is wrong with the plugin is in the report.
func Run(ctx context.Context, subject Subject, options Options) (*Report, error) {
	k, closeKit, err := newKit(ctx, subject, options)
	if err != nil {
		return nil, err
	}
	report, err := k.run(ctx)
	return report, errors.Join(err, closeKit())
}

// kit is one run of the checks.
type kit struct {
	subject Subject
	options Options
	samples []*sample
	work    string
	root    *process.RunRoot
	outputs int // how many output prefixes were given out

	selected []*Check
	results  map[string]Status
	fatal    string // the check that showed that more load on the plugin shows nothing; empty: none has

	// shared is the process that most checks look at; nil: it has to be started.
	shared *instance
	// broken is why there cannot be one: the stage that failed once is not tried again.
	broken map[stage]error
	logs   logBook
	ended  *orderlyEnd
	// drainSeen is what came of a Drain; nil: none was tried.
	drainSeen *drained

	takesNoConfig  bool // it serves no Configure
	describeAnswer *pluginv1.DescribeResponse
	agentList      []*admin.Agent
}

func newKit(ctx context.Context, subject Subject, options Options) (k *kit, closeKit func() error, err error) {
	if len(subject.Command) == 0 {
		return nil, nil, errors.New("there is no command to verify")
	}
	base, err := os.MkdirTemp("", "ahv")
	if err != nil {
		return nil, nil, err
	}
	defer func() {
		if err != nil {
			err = errors.Join(err, os.RemoveAll(base))
		}
	}()
	work, temporary := filepath.Join(base, "work"), filepath.Join(base, "service")
	if err := errors.Join(os.Mkdir(work, 0o700), os.Mkdir(temporary, 0o700)); err != nil {
		return nil, nil, err
	}
	port, err := freePort()
	if err != nil {
		return nil, nil, err
	}
	if subject, err = subject.within(work, port); err != nil {
		return nil, nil, err
	}
	k = &kit{
		subject: subject, options: options.withDefaults(), work: work,
		results: map[string]Status{}, broken: map[stage]error{},
	}
	if k.samples, err = readSamples(subject.Tasks); err != nil {
		return nil, nil, err
	}
	k.selected = slices.DeleteFunc(Checks(), func(c *Check) bool { return options.Select != nil && !options.Select.MatchString(c.Name) })
	if len(k.selected) == 0 {
		return nil, nil, fmt.Errorf("no check's name matches %s", options.Select)
	}
	if k.root, err = process.OpenRunRoot(filepath.Join(base, "r")); err != nil {
		return nil, nil, err
	}
	beside, err := startService(ctx, subject, port, temporary)
	if err != nil {
		return nil, nil, errors.Join(err, k.root.Close())
	}
	return k, func() error { return errors.Join(beside.close(), k.root.Close(), os.RemoveAll(base)) }, nil
}

func (k *kit) run(ctx context.Context) (*Report, error) {
	defer k.drop()
	report := &Report{Command: k.subject.Command}
	began := time.Now()
	for i, check := range k.selected {
		k.options.Progress(i, len(k.selected), check.Name)
		result := k.check(ctx, check)
		if ctx.Err() != nil {
			return nil, context.Cause(ctx)
		}
		if k.fatal == "" && result.Status == Failed && vital[check.Name] {
			k.fatal = check.Name
		}
		k.results[check.Name] = result.Status
		report.Checks = append(report.Checks, result)
	}
	report.Seconds = time.Since(began).Round(time.Millisecond).Seconds()
	report.describe(k)
	return report, nil
}

// check does one check, and looks after it whether the shared process is still there.
func (k *kit) check(ctx context.Context, check *Check) Result {
	began := time.Now()
	if k.fatal != "" && !k.options.KeepGoing && strings.HasPrefix(check.Name, loadGroup) {
		return check.judge(k.isSelected, "", skipped("needs %s; --keep-going makes it all the same", k.fatal), 0)
	}
	before := k.shared
	detail, err := check.run(ctx, k)
	result := check.judge(k.isSelected, detail, err, time.Since(began))
	if before == nil {
		before = k.shared
	}
	if before == nil || !before.diedUnasked(result.Status == Failed) {
		if result.Status == Failed && k.shared == before && before != nil && before.reached == ready {
			k.drop() // the next check is not to suffer from what this one did to the process
		}
		return result
	}
	if k.shared == before {
		k.shared = nil
	}
	ending := "the plugin's process " + before.obituary()
	if result.Status == Failed {
		ending = result.Detail + "; " + ending
	}
	if k.fatal == "" {
		k.fatal = check.Name
	}
	result.Status, result.Detail, result.Advice = Failed, ending, "what it printed last may say why: no call must ever end the process, whatever is in it"
	before.discard()
	return result
}

// vital are the checks without which a plugin does nothing: the long ones about load would tell of the same fault, or of nothing.
var vital = map[string]bool{
	"handshake/line": true, "handshake/certificate": true, "tls/mutual": true, "health/serving": true, "configure/accepts": true, "agents/list": true,
	"tasks/completes": true, "sync/one-message": true, "sync/terminal": true,
}

// loadGroup begins the names of the checks that are not made after a failure of one of those, or of one that ended the process.
const loadGroup = "load/"

func (k *kit) isSelected(name string) bool {
	return slices.ContainsFunc(k.selected, func(c *Check) bool { return c.Name == name })
}

// failedBefore says that one of the checks whose names begin so has failed.
func (k *kit) failedBefore(prefix string) bool {
	for name, status := range k.results {
		if status == Failed && strings.HasPrefix(name, prefix) {
			return true
		}
	}
	return false
}
