package server

import (
	"context"
	"errors"
	"log/slog"
	"reflect"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/history"
)

// reloader takes up changes of the configuration: when a file changes, on SIGHUP, and when an operator asks for it. A
// configuration with a mistake changes nothing; the last sound one stays in effect.
type reloader struct {
	watcher *config.Watcher
	created func(config.Create) // takes up how tasks are accepted
	// accessed takes up who may call, whether or not that has changed: so that what their files hold is looked at as well
	accessed func(*config.Config)
	// applied is told of each configuration before the fleet is
	applied func(*config.Config)
	// record keeps what happened
	record func(history.Event)
	// resolve finds out what images without a digest are now
	resolve func(context.Context, *config.Config)
	files   []string // of the configuration
	plugins *fleet.Fleet
	notify  notifier
	log     *slog.Logger
	judged  chan struct{}                 // has an element when a configuration was taken up or refused since somebody looked
	refused atomic.Pointer[admin.Refused] // the changed configuration, where it is not in effect; else nil
	// lastSound is what the host was started with, until a configuration of the files is in effect
	lastSound atomic.Pointer[LastSound]
	unseen    atomic.Pointer[string] // why changes of files are seen late; nil where they are seen at once

	hash atomic.Pointer[string] // that of current; nil: it is to be made

	mu      sync.Mutex
	current *config.Config // what the fleet was last told
}

func newReloader(options Options, plugins *fleet.Fleet, notify notifier) *reloader {
	r := &reloader{watcher: config.NewWatcher(options.Sources, options.Config), files: options.Sources.Files, plugins: plugins, notify: notify, log: options.Log, current: options.Config, judged: make(chan struct{}, 1),
		accessed: func(*config.Config) {}, applied: func(*config.Config) {}, record: func(history.Event) {}, resolve: func(context.Context, *config.Config) {}}
	r.watcher.OnProblem = r.watched
	if options.Instead != nil {
		r.lastSound.Store(options.Instead)
		r.refused.Store(&admin.Refused{Err: options.Mistake, FilesHash: config.FilesHash(options.Sources.Files)})
	}
	return r
}

// watched takes note of whether the system tells of changed files.
func (r *reloader) watched(problem error) {
	if problem == nil {
		r.unseen.Store(nil)
		r.log.Info("changes of the configuration's files are seen at once again")
		return
	}
	why := problem.Error()
	r.unseen.Store(&why)
	r.log.Warn("changes of the configuration's files are seen late; SIGHUP and 'agenthost reload' take effect at once", "error", problem)
}

// watchError is why changes of files are seen late; empty where they are seen at once.
func (r *reloader) watchError() string { return textOf(&r.unseen) }

// config is which configuration is in effect.
func (r *reloader) config() admin.Config {
	lastSound := func() time.Time {
		if last := r.lastSound.Load(); last != nil {
			return last.Saved
		}
		return time.Time{}
	}
	return admin.Config{Hash: r.configHash, Refused: r.refused.Load, LastSound: lastSound, Standings: r.plugins.Standings}
}

func textOf(p *atomic.Pointer[string]) string {
	if text := p.Load(); text != nil {
		return *text
	}
	return ""
}

// run watches the files until ctx ends, and reads them again whenever hangup says so.
func (r *reloader) run(ctx context.Context, hangup <-chan struct{}) {
	var both sync.WaitGroup
	both.Go(func() {
		r.watcher.Run(ctx, func(settings *config.Config, err error) { r.changed(settings, err, byFile) })
	})
	both.Go(func() {
		for {
			select {
			case <-hangup:
				r.log.Info("SIGHUP: reading the configuration again")
				r.notify.reloading()
				settings, err := r.watcher.Reload(ctx)
				plan := r.changed(settings, err, byHangup)
				admin.Audit(r.log, "reload", byHangup, admin.Outcome{Changed: admin.Changes(plan), Err: err})
				r.notify.reloaded()
			case <-ctx.Done():
				return
			}
		}
	})
	both.Wait()
}

// changed takes up a configuration and returns what it changes, or says what is wrong with it.
func (r *reloader) changed(settings *config.Config, err error, by string) []config.Change {
	if err == nil {
		err = DescriptorsOf(settings).Err()
	}
	if err != nil {
		r.refuse(settings, err, by)
		return nil
	}
	r.resolve(context.Background(), settings)
	plan, round := r.apply(settings, by)
	go func() {
		_ = round.Wait(context.Background(), func(o fleet.Outcome) { r.tell(o) }) // it ends when the fleet does
	}()
	return plan
}

// refuse leaves what is in effect. The settings are nil where the files have none.
func (r *reloader) refuse(settings *config.Config, err error, by string) {
	refused := &admin.Refused{Err: err, FilesHash: config.FilesHash(r.files)}
	if settings != nil {
		refused.Hash = settings.Hash()
	}
	r.refused.Store(refused)
	r.tellJudged()
	r.record(history.Event{State: history.ReloadRefused, By: by, Cause: placesOf(err)})
	var wrong config.Errors
	if !errors.As(err, &wrong) {
		r.log.Error("the configuration was not read again; the last sound one stays in effect", "error", err)
		return
	}
	for _, e := range wrong {
		r.log.Error("the changed configuration has a mistake; the last sound one stays in effect", "source", e.Source, "line", e.Line, "key", e.Key, "error", e.Message)
	}
}

func (r *reloader) tellJudged() {
	select {
	case r.judged <- struct{}{}:
	default: // nobody has looked since the last
	}
}

// apply tells the fleet, and returns what has changed.
func (r *reloader) apply(settings *config.Config, by string) ([]config.Change, *fleet.Round) {
	r.mu.Lock()
	defer r.mu.Unlock()
	if settings.OlderThan(r.current) { // read before, and overtaken
		settings = r.current
	}
	r.refused.Store(nil)
	r.tellJudged()
	if last := r.lastSound.Swap(nil); last != nil {
		r.log.Info("the configuration is mended: the last sound one, with which the host was started, is in effect no longer", "was", last.Hash)
	}
	plan := config.Plan(r.current, settings)
	for _, change := range plan {
		if change.Action != config.Unchanged {
			r.log.Info("the configuration has changed", "plugin", change.Plugin, "action", change.Action, "keys", change.Keys, "files", change.Files)
		}
	}
	if !reflect.DeepEqual(r.current.Create, settings.Create) {
		r.created(settings.Create)
	}
	r.accessed(settings)
	r.record(reloaded(plan, by))
	r.current = settings
	r.hash.Store(nil)
	r.applied(settings)
	return plan, r.plugins.Apply(settings)
}

// settings are those in effect.
func (r *reloader) settings() *config.Config {
	r.mu.Lock()
	defer r.mu.Unlock()
	return r.current
}

// configHash stands for the settings in effect.
func (r *reloader) configHash() string {
	if known := r.hash.Load(); known != nil {
		return *known
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	hash := r.current.Hash()
	r.hash.Store(&hash)
	return hash
}

func (r *reloader) tell(o fleet.Outcome) {
	switch {
	case o.Err != nil:
		r.log.Error("the changed configuration does not serve; what served before goes on", "plugin", o.Plugin, "generation", o.Generation, "error", o.Err)
	case o.Action != fleet.Unchanged:
		r.log.Info("the changed configuration is in effect", "plugin", o.Plugin, "action", string(o.Action), "generation", o.Generation)
	}
}

// reload is an operator's reload: it waits, and sends what happens.
func (r *reloader) reload(ctx context.Context, dry bool, send func(admin.ReloadLine)) {
	var report admin.ReloadReport
	defer func() { send(admin.ReloadLine{Report: &report}) }()
	read := r.watcher.Reload
	if dry {
		read = r.watcher.Peek
	}
	settings, err := read(ctx)
	if err == nil {
		err = DescriptorsOf(settings).Err()
	}
	if err != nil {
		if !dry {
			r.refuse(settings, err, admin.By(ctx))
		}
		report.Error = err.Error()
		errors.As(err, &report.Errors)
		return
	}
	r.resolve(ctx, settings)
	if dry {
		r.mu.Lock()
		defer r.mu.Unlock()
		report.Plan = config.Plan(r.current, settings)
		report.Canaries = admin.Canaries(report.Plan, r.plugins.Status())
		return
	}

	watching, stop := context.WithCancel(ctx)
	events := r.plugins.Events(watching)
	began := time.Now()
	before := r.plugins.Status()
	plan, round := r.apply(settings, admin.By(ctx))
	report.Plan, report.Canaries = plan, admin.Canaries(plan, before)
	send(admin.ReloadLine{Plan: plan})
	if len(report.Canaries) > 0 {
		send(admin.ReloadLine{Canaries: report.Canaries})
	}
	var told sync.WaitGroup
	told.Go(func() {
		for e := range events {
			event := admin.NewEvent(e)
			send(admin.ReloadLine{Event: &event})
		}
	})
	stopTelling := tellWaits(waitsEvery, func() admin.Waits { return waitsOf(r.plugins, settings, began, everyPlugin) }, func(waits admin.Waits) { send(admin.ReloadLine{Waits: &waits}) })
	err = round.Wait(ctx, func(o fleet.Outcome) {
		r.tell(o)
		done := admin.PluginReload{Name: o.Plugin, Action: string(o.Action), Seconds: time.Since(began).Seconds()}
		if o.Err != nil {
			done.Error = o.Err.Error()
		}
		report.Plugins = append(report.Plugins, done)
	})
	stopTelling()
	stop()
	told.Wait()
	if err != nil {
		report.Error = "the reload goes on, but nobody waited for its end: " + err.Error()
	}
	states := map[string]fleet.State{}
	for _, s := range r.plugins.Status() {
		states[s.Name] = s.State
	}
	for i, of := range report.Plugins {
		if of.Action != string(fleet.Removed) {
			report.Plugins[i].State = string(states[of.Name])
		}
	}
	slices.SortFunc(report.Plugins, func(a, b admin.PluginReload) int { return strings.Compare(a.Name, b.Name) })
}
