package fleet

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/proto/nearest"
)

// Operation is what an operator has done to one plugin, beside the configuration.
type Operation string

// The operations.
const (
	// Restart puts a new generation of the same spec in the place of the running one, as in a swap: it takes up files that have
	// changed, and may list other task types. It starts a plugin that was stopped.
	Restart Operation = "restart"
	// Stop ends the plugin's processes until Start, Restart or another configuration of the plugin. Its task types stay listed, and
	// calls fare as while it restarts.
	Stop Operation = "stop"
	// Kill is Stop that does not let the calls under way end.
	Kill Operation = "kill"
	// Start ends that.
	Start Operation = "start"
	// Disable does what taking the plugin out of the configuration does, until Enable.
	Disable Operation = "disable"
	// Enable ends that.
	Enable Operation = "enable"
	// Rollback brings back the generation before the current one, until another configuration of the plugin.
	Rollback Operation = "rollback"
	// Promote ends a rollout: the canary gets all calls at once.
	Promote Operation = "promote"
	// Retry has what was withdrawn or rolled back tried again, as if it were new.
	Retry Operation = "retry"
)

// Operations are all of them.
var Operations = []Operation{Restart, Stop, Kill, Start, Disable, Enable, Rollback, Promote, Retry}

// instruction is what operators have done to a plugin that is still in effect.
type instruction struct {
	// Since is when that was.
	Since time.Time
	// Disabled holds whatever the configuration says, Stopped while it says of the plugin what it then did.
	Disabled bool   `json:",omitempty"`
	Stopped  string `json:",omitempty"` // entryID

	edition int // how often it was restarted
	// back is what was rolled back to, while the configuration says of the plugin what it then did: from.
	back *revision
	from string // entryID
}

func (i instruction) lasting() bool { return i.Disabled || i.Stopped != "" }

// entryID stands for what the configuration says of a plugin, in every host.
func entryID(spec plugin.Spec, entry config.Plugin) string {
	encoded, err := json.Marshal(entry)
	if err != nil { // a value of the plugin's own configuration that JSON cannot hold
		encoded = fmt.Appendf(nil, "%+v", entry)
	}
	sum := sha256.Sum256(append([]byte(spec.Hash()), encoded...))
	return hex.EncodeToString(sum[:12])
}

// Done is the error of an operation that is not needed.
type Done struct{ text string }

func (d Done) Error() string { return d.text }

// Operate carries out an operation, and returns at once. Wait on the Round for what comes of it. It fails, and changes nothing, where
// there is no such plugin, or nothing to do: then with a Done.
func (f *Fleet) Operate(name string, what Operation) (*Round, error) {
	f.applying.Lock()
	defer f.applying.Unlock()
	entry, ok := f.settingsOf(name)
	if !ok {
		return nil, f.unknown(name)
	}
	i := f.instructions[name]
	spec := f.specOf(name, entry)
	var how manner
	if i.Disabled && what != Enable && what != Disable {
		return nil, fmt.Errorf("plugin %q is disabled: 'agenthost enable %s' puts it back first", name, name)
	}
	switch what {
	case Restart:
		i.edition++
		i.Stopped, how = "", manner{because: "an operator restarts it", atOnce: true}
	case Stop, Kill:
		if i.Stopped != "" {
			return nil, Done{fmt.Sprintf("plugin %q is stopped already", name)}
		}
		i.Stopped, how.now = entryID(spec, entry), what == Kill
	case Start:
		if i.Stopped == "" {
			return nil, Done{fmt.Sprintf("plugin %q is not stopped", name)}
		}
		i.Stopped = ""
	case Disable:
		if i.Disabled {
			return nil, Done{fmt.Sprintf("plugin %q is disabled already", name)}
		}
		i = instruction{Disabled: true, edition: i.edition}
	case Enable:
		if !i.Disabled {
			return nil, Done{fmt.Sprintf("plugin %q is not disabled", name)}
		}
		i.Disabled = false
	case Rollback:
		if i.Stopped != "" {
			return nil, fmt.Errorf("plugin %q is stopped: 'agenthost start %s' starts it first", name, name)
		}
		before, err := f.before(name)
		if err != nil {
			return nil, err
		}
		i.back, i.from, how = before, entryID(spec, entry), manner{because: "an operator rolls it back", atOnce: true}
		if before.id == revisionOf(spec, entry).id { // it is what the configuration says
			i.back, i.from = nil, ""
		}
	case Promote:
		if st := f.stateOf(name); !st.canary.exists() && !st.candidate.exists() {
			return nil, Done{fmt.Sprintf("plugin %q has no canary to promote", name)}
		}
		how = manner{because: "an operator promotes it", atOnce: true}
	case Retry:
		if len(f.stateOf(name).rejected) == 0 && i.back == nil {
			return nil, Done{fmt.Sprintf("plugin %q has nothing to try again: it was neither withdrawn nor rolled back", name)}
		}
		i.back, i.from, how = nil, "", manner{because: "an operator has it tried again", again: true}
	default:
		return nil, fmt.Errorf("there is no operation %q", what)
	}
	i.Since = time.Now()
	f.instruct(name, i)
	return f.move([]string{name}, how), nil
}

// manner is how a round moves plugins.
type manner struct {
	because string // for people; empty: the configuration changed
	atOnce  bool   // see wanted
	now     bool   // what is retired lets no calls end
	again   bool   // see wanted
}

func (f *Fleet) settingsOf(name string) (config.Plugin, bool) {
	if f.settings == nil {
		return config.Plugin{}, false
	}
	entry, ok := f.settings.Plugins[name]
	return entry, ok
}

func (f *Fleet) specOf(name string, entry config.Plugin) plugin.Spec {
	spec := plugin.SpecOf(name, entry)
	spec.Contents, spec.Image = f.settings.Fingerprint(name), f.settings.ImageOf(name)
	return spec
}

func (f *Fleet) unknown(name string) error {
	var known []string
	if f.settings != nil {
		known = slices.Sorted(maps.Keys(f.settings.Plugins))
	}
	text := fmt.Sprintf("no plugin is called %q", name)
	switch near := nearest.Name(name, known); {
	case near != "":
		text += fmt.Sprintf("; did you mean %s?", near)
	case len(known) > 0:
		text += "; the plugins are " + strings.Join(known, ", ")
	default:
		text += "; none is configured"
	}
	return errors.New(text)
}

// stateOf is what there is of a plugin; nothing, where it does not run.
func (f *Fleet) stateOf(name string) state {
	f.mu.Lock()
	s := f.supervisors[name]
	f.mu.Unlock()
	if s == nil {
		return state{}
	}
	return s.view.Load().state
}

// before is what a rollback goes back to.
func (f *Fleet) before(name string) (*revision, error) {
	st := f.stateOf(name)
	switch {
	case st.round == 0:
		return nil, fmt.Errorf("plugin %q does not run", name)
	case st.canary.exists():
		return &st.current.revision, nil
	case st.previous.id == "":
		return nil, fmt.Errorf("plugin %q has no generation to roll back to: this host has run no other one that served", name)
	case st.previous.id == st.current.id:
		return nil, fmt.Errorf("plugin %q has been rolled back already, from what the configuration says", name)
	case slices.Contains(st.rejected, st.previous.id):
		return nil, fmt.Errorf("plugin %q has no generation to roll back to: the one before, %s, crash-looped", name, st.previous.id)
	}
	return &st.previous, nil
}

// instruct remembers what is in effect for a plugin, over the end of the host where it is to last.
func (f *Fleet) instruct(name string, i instruction) {
	was := f.instructions[name]
	f.mu.Lock()
	f.instructions[name] = i
	f.mu.Unlock()
	defer f.change()
	if was.lasting() || i.lasting() {
		f.memory.keepInstructions(f.instructions)
	}
}

// review drops the instructions that another configuration has ended.
func (f *Fleet) review() {
	for _, name := range slices.Sorted(maps.Keys(f.instructions)) {
		i := f.instructions[name]
		entry, configured := f.settings.Plugins[name]
		if !configured {
			f.instruct(name, instruction{Since: i.Since, Disabled: i.Disabled, edition: i.edition})
			continue
		}
		id := entryID(f.specOf(name, entry), entry)
		if i.Stopped != "" && i.Stopped != id {
			f.options.Log.Info("the plugin is started: the configuration changed since an operator stopped it", "plugin", name)
			i.Stopped = ""
		}
		if i.from != id {
			i.back, i.from = nil, ""
		}
		if was := f.instructions[name]; was.Stopped != i.Stopped || was.from != i.from {
			f.instruct(name, i)
		}
	}
}

// wanted says whether a plugin is configured and not disabled.
func (f *Fleet) wanted(name string) bool {
	_, ok := f.settings.Plugins[name]
	return ok && !f.instructions[name].Disabled
}

// move begins a round that moves some plugins towards what is wanted of them.
func (f *Fleet) move(names []string, how manner) *Round {
	f.round++
	round := &Round{number: f.round}
	f.mu.Lock()
	var fresh, gone []*supervisor
	for _, name := range names {
		s := f.supervisors[name]
		switch wanted := f.wanted(name); {
		case wanted && s == nil:
			s = newSupervisor(f, name)
			f.supervisors[name] = s
			fresh = append(fresh, s)
		case !wanted && s != nil:
			gone = append(gone, s)
			delete(f.supervisors, name)
			f.leaving[s] = struct{}{}
		case !wanted:
			if f.instructions[name].Disabled {
				round.disabled = append(round.disabled, name)
			}
			continue
		}
		round.supervisors = append(round.supervisors, s)
	}
	f.mu.Unlock()

	f.routes.begin(f.round, rulesOf(f.settings), f.settings.Create.RemovedGrace, f.holders(), names)
	for _, s := range gone {
		s.want(&desired{wanted: wanted{round: f.round, removed: true}, settings: f.settings})
		go f.forget(s)
	}
	for _, s := range round.supervisors {
		if f.wanted(s.name) {
			d := f.desiredOf(s.name)
			d.because, d.atOnce, d.now, d.again = how.because, how.atOnce, how.now, how.again
			s.want(d)
		}
	}
	slices.SortFunc(fresh, func(a, b *supervisor) int { return strings.Compare(a.name, b.name) })
	for _, s := range fresh { // before any of them claims what another owned
		s.expect()
	}
	for _, s := range fresh {
		s.recall()
	}
	for _, s := range fresh {
		go s.run()
	}
	go f.acceptInOrder(fresh, f.round == 1)
	f.change() // there may be fewer
	return round
}

// desiredOf is what is wanted of a plugin: what the configuration says, or what operators have made of it.
func (f *Fleet) desiredOf(name string) *desired {
	entry, i := f.settings.Plugins[name], f.instructions[name]
	want := revisionOf(f.specOf(name, entry), entry)
	if i.back != nil {
		want = *i.back
	}
	want.edition = i.edition
	return &desired{wanted: wanted{revision: want, round: f.round, halted: i.Stopped != ""}, settings: f.settings, rolledBack: i.back != nil}
}

// holders are the plugins that are wanted, as those who claim task types.
func (f *Fleet) holders() map[string]holder {
	f.mu.Lock()
	defer f.mu.Unlock()
	holders := map[string]holder{}
	for name, s := range f.supervisors {
		holders[name] = s
	}
	return holders
}

// disabled are the plugins that an operator has disabled, as their status has them.
func (f *Fleet) disabled() (all []Status) {
	f.mu.Lock()
	defer f.mu.Unlock()
	for _, name := range slices.Sorted(maps.Keys(f.instructions)) {
		i := f.instructions[name]
		if _, configured := f.settingsOf(name); configured && i.Disabled {
			all = append(all, Status{Name: name, State: StateDisabled, Since: i.Since, Reason: errDisabled})
		}
	}
	return all
}

var (
	errDisabled = errors.New("an operator disabled it")
	errHalted   = errors.New("an operator stopped it")
)

// instructionsFile has a name that no plugin has.
const instructionsFile = "_instructions"

// instructions remembers what operators did to plugins in hosts before this one.
func (m memory) instructions() map[string]instruction {
	all := map[string]instruction{}
	if m.state == nil {
		return all
	}
	content, _, err := m.state.Read(m.file(instructionsFile), memoryFormat)
	if err == nil {
		err = json.Unmarshal(content, &all)
	}
	if err != nil && !errors.Is(err, fs.ErrNotExist) {
		m.log.Error("which plugins operators stopped or disabled cannot be read: all are started", "error", err)
		return map[string]instruction{}
	}
	return all
}

func (m memory) keepInstructions(all map[string]instruction) {
	if m.state == nil {
		return
	}
	lasting := maps.Clone(all)
	maps.DeleteFunc(lasting, func(_ string, i instruction) bool { return !i.lasting() })
	content, err := json.Marshal(lasting)
	if err == nil {
		err = m.state.Write(m.file(instructionsFile), memoryFormat, content)
	}
	if err != nil {
		m.log.Warn("which plugins operators stopped or disabled cannot be kept for the next start of the host", "error", err)
	}
}
