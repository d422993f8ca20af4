package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"sync"
	"time"

	"github.com/agenthost/agenthost/test/chaos/agent"
	"github.com/agenthost/agenthost/test/chaos/procs"
	"github.com/agenthost/agenthost/test/propeller"
)

// subject is one of the plugins of the run.
type subject struct {
	name       string
	idempotent bool
	// kind is what else is special about its jobs.
	kind kind
	// removable says that the plugin is removed from the configuration and comes back: Flyte 2's jobs only.
	removable bool
	// interval is its status.min_interval.
	interval time.Duration
	share    int // of the jobs, in percent
	more     map[string]any
}

// kind tells plugins apart by how their jobs are done. The usual ones, of kind zero, are made, and asked for until they are over.
type kind int

const (
	// development jobs are those of gamma's task type in another domain. The service behind them does not know gamma's.
	development kind = iota + 1
	// silent jobs are those of a service that stops answering.
	silent
	// synchronous tasks are done in one call. Only Flyte 1 has them.
	synchronous
)

// agents are the plugins. A call that cannot be repeated must outlive a swap, so that those who have such are drained for longer
// than a call can take.
var agents = []subject{
	{name: "alpha", idempotent: true, share: 30, interval: 3 * time.Second},
	{name: "beta", idempotent: true, share: 20, more: map[string]any{"instances": 2, "pin": "always"}},
	{name: "gamma", share: 15, more: map[string]any{"limits": map[string]any{"concurrency": 64}, "drain_timeout": "11s"}},
	{name: "delta", idempotent: true, removable: true, share: 15},
	{name: "epsilon", kind: synchronous, share: 12, more: map[string]any{"drain_timeout": "11s"}},
	{name: "zeta", kind: development, idempotent: true, share: 5},
	{name: "eta", kind: silent, idempotent: true, share: 3, more: map[string]any{"status": map[string]any{"max_stale": maxStale.String()}}},
}

// maxStale is the status.max_stale of the plugin whose service stops answering.
const maxStale = 4 * time.Second

// named is the plugin of a name; it has to be one.
func named(name string) subject {
	return agents[slices.IndexFunc(agents, func(a subject) bool { return a.name == name })]
}

// taskType is that of its tasks, and domain theirs.
func (s subject) taskType() string {
	if s.kind == development {
		return agent.TaskType("gamma")
	}
	return agent.TaskType(s.name)
}

func (s subject) domain() string {
	if s.kind == development {
		return "development"
	}
	return "production"
}

// serves tells whether a Flyte has jobs of it. Why not all of them: see main.go.
func (s subject) serves(flyte propeller.Flyte) bool {
	return flyte == propeller.V1 && !s.removable || flyte == propeller.V2 && s.kind != synchronous
}

// routes are the rules for the task type that two plugins serve.
func routes() []any {
	var rules []any
	for _, a := range agents {
		if a.taskType() == agent.TaskType("gamma") {
			rules = append(rules, map[string]any{"task": a.taskType(), "domain": a.domain(), "plugin": a.name})
		}
	}
	return rules
}

// startTimeout is the plugins' start_timeout.
const startTimeout = 5 * time.Second

// settings is the hosts' configuration file, and what it is meant to say.
type settings struct {
	file, ledger, mark, runDir string
	// program is what the plugins run; this program if empty.
	program string
	// mounted has the file change as one in a mounted ConfigMap does: it is a link into a folder, which is a link that is replaced.
	mounted bool
	// knows tells whether the host knows a plugin's key.
	knows func(key string) bool

	guests []*guest

	mu      sync.Mutex
	plugins map[string]agent.Flags // those that are configured
	release int
	swaps   int
}

func newSettings(dir, ledger, mark string, knows func(string) bool) *settings {
	s := &settings{
		file: filepath.Join(dir, "agenthost.json"), runDir: filepath.Join(dir, "run"), ledger: ledger, mark: mark,
		knows: knows, plugins: map[string]agent.Flags{},
	}
	for _, a := range agents {
		s.plugins[a.name] = agent.Flags{
			Agent: a.name, Type: a.taskType(), Sync: a.kind == synchronous, Release: s.nextRelease(), Idempotent: a.idempotent,
		}
	}
	return s
}

// nextRelease needs s.mu.
func (s *settings) nextRelease() string {
	s.release++
	return "r" + strconv.Itoa(s.release)
}

// swap gives a plugin that is configured another spec: another release, and the other version of the program.
func (s *settings) swap(name string, change func(*agent.Flags)) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	flags, ok := s.plugins[name]
	if !ok {
		return nil // removed: it comes back as something new by itself
	}
	flags.Release, flags.Second, flags.Doomed, flags.Slow = s.nextRelease(), !flags.Second, 0, 0
	if change != nil {
		change(&flags)
	}
	s.plugins[name] = flags
	s.swaps++
	return s.write()
}

// remove takes a plugin out; the returned function puts it back.
func (s *settings) remove(name string) (back func() error, err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	flags, ok := s.plugins[name]
	if !ok {
		return func() error { return nil }, nil
	}
	delete(s.plugins, name)
	return func() error {
		s.mu.Lock()
		defer s.mu.Unlock()
		flags.Release = s.nextRelease()
		s.plugins[name] = flags
		return s.write()
	}, s.write()
}

// heal replaces the releases that cannot live, as whoever made them does in the end.
func (s *settings) heal() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	for name, flags := range s.plugins {
		if flags.Doomed > 0 {
			flags.Release, flags.Doomed = s.nextRelease(), 0
			s.plugins[name] = flags
		}
	}
	return s.write()
}

// spoil replaces the file by one that no host should take; repair writes the good one again.
func (s *settings) spoil(content string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.replace([]byte(content))
}

func (s *settings) repair() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.write()
}

// halfWrite writes the good file as a careless editor does: in place, and in two parts.
func (s *settings) halfWrite(pause time.Duration) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	content := s.content()
	file, err := os.Create(s.file)
	if err != nil {
		return err
	}
	defer file.Close()
	if _, err := file.Write(content[:len(content)/2]); err != nil {
		return err
	}
	time.Sleep(pause)
	_, err = file.Write(content[len(content)/2:])
	return err
}

// write needs s.mu.
func (s *settings) write() error { return s.replace(s.content()) }

func (s *settings) replace(content []byte) error {
	target := s.file
	if s.mounted {
		folder, err := os.MkdirTemp(filepath.Dir(s.file), "..version-")
		if err != nil {
			return err
		}
		target = filepath.Join(folder, filepath.Base(s.file))
	}
	temporary := target + ".new"
	if err := os.WriteFile(temporary, content, 0o600); err != nil {
		return fmt.Errorf("the hosts' configuration cannot be written: %w", err)
	}
	if err := os.Rename(temporary, target); err != nil || !s.mounted {
		return err
	}
	return s.mount(filepath.Dir(target))
}

// mount makes a folder the one that the file lies in, as the kubelet does.
func (s *settings) mount(folder string) error {
	data := filepath.Join(filepath.Dir(s.file), "..data")
	old, _ := os.Readlink(data) // none the first time
	if err := os.Symlink(filepath.Base(folder), data+".new"); err != nil {
		return err
	}
	if err := os.Rename(data+".new", data); err != nil {
		return err
	}
	if old == "" {
		return os.Symlink(filepath.Join("..data", filepath.Base(s.file)), s.file)
	}
	return os.RemoveAll(filepath.Join(filepath.Dir(s.file), old))
}

// content needs s.mu.
func (s *settings) content() []byte {
	plugins := map[string]any{}
	for _, a := range agents {
		flags, ok := s.plugins[a.name]
		if !ok {
			continue
		}
		command := agent.Command(flags)
		if s.program != "" {
			command[0] = s.program
		}
		plugin := map[string]any{
			"command":       command,
			"env":           map[string]any{agent.LedgerVariable: s.ledger, procs.Variable: s.mark},
			"start_timeout": startTimeout.String(), "stop_timeout": "2s", "drain_timeout": "3s",
			"restart": map[string]any{
				"initial_backoff": "50ms", "max_backoff": "500ms",
				"crash_loop": map[string]any{"failures": 10, "window": "20s"},
			},
		}
		if a.interval > 0 && s.knows("min_interval") {
			plugin["status"] = map[string]any{"min_interval": a.interval.String()}
		}
		for key, value := range a.more {
			if s.knows(key) {
				plugin[key] = value
			}
		}
		plugins[a.name] = plugin
	}
	rules := append(routes(), s.configureGuests(plugins)...)
	config := map[string]any{"run_dir": s.runDir, "state_dir": s.runDir + "-state", "shutdown_timeout": "12s", "plugins": plugins, "routes": rules}
	content, err := json.MarshalIndent(config, "", "  ")
	if err != nil {
		panic(err) // texts, numbers and maps of them
	}
	return content
}
