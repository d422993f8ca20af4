package config

import (
	"errors"
	"fmt"
	"hash/fnv"
	"math"
	"path/filepath"
	"reflect"
	"slices"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/host/secret"
)

// Sandbox is what a plugin's process may do (package sandbox applies it). `sandbox: off` and `sandbox: on` mean the mapping with
// nothing but that mode.
//
// To add a key: the field with its comment here, its rule in rules.go; a value in everyKey of load_test.go and a wrong one in
// bad_test.go; the reference. Where it acts finds it in plugin.Spec.Sandbox. A change of it is a new generation, as of the others.
type Sandbox struct {
	// Whether the process is kept to what the other keys of sandbox allow; off: it may do whatever the host's user may. sandbox: off is
	// short for it.
	Mode string `koanf:"mode" check:"switch"`
	// Whether the plugin is not started where this machine cannot grant all of its sandbox. Otherwise it is started with what there
	// is, and log, status and metrics say what is missing.
	Require bool `koanf:"require"`
	// What the program's runtime needs beside its own folder: go, java, python or rust; none adds nothing. Default: found out from
	// the command.
	Preset string `koanf:"preset" check:"sandbox_preset"`
	// Files and folders that the process may read, with all below, and execute; beside what the system and its program consist of.
	Read []string `koanf:"read" check:"path"`
	// Files and folders that it may read and write, with all below; beside a private directory, in which its TMPDIR is. A
	// folder that is missing is made.
	Write []string `koanf:"write" check:"path"`
	// The TCP ports that it may connect to. Left out: all. An empty list: none.
	Connect []int `koanf:"connect" check:"port"`
	// The TCP ports that it may listen on, beside those that the kernel chooses.
	Bind []int `koanf:"bind" check:"port"`
	// The user that the process runs as: a name, an id, or a range of ids such as 70000-70999, of which each plugin gets one of its
	// own, by its name. The host must be root, or have the capabilities to change users. Default: the host's user.
	User string `koanf:"user" check:"sandbox_user"`
	// How many files the process may have open. Default: as many as the host.
	OpenFiles int `koanf:"open_files" check:"open_files"`
	// How large a file may be that the process writes. Default: no limit.
	FileSize Size `koanf:"file_size" check:"file_size"`
	// How much memory the process and what it starts may take. Where the host has cgroups with that controller one that needs more is
	// killed, and started again; elsewhere, as in a container, the host watches it, and restarts it at the limit: status and check say
	// which. Default: no limit.
	Memory Size `koanf:"memory" check:"sandbox_memory"`
	// How many processes and threads it may have, where the host has cgroups with that controller. Default: 1024 there.
	Pids int `koanf:"pids" check:"sandbox_pids"`
	// How many processors it may take, where the host has cgroups with that controller. Default: no limit.
	CPU float64 `koanf:"cpu" check:"processors"`
}

// On says that there is a sandbox.
func (s Sandbox) On() bool { return s.Mode == On }

// The values of Sandbox.Preset.
const (
	PresetNone   = "none"
	PresetGo     = "go"
	PresetJava   = "java"
	PresetPython = "python"
	PresetRust   = "rust"
)

// maxUID is the last id that means a user: the next one means "none" to the kernel.
const maxUID = math.MaxUint32 - 1

func checkSandboxUser(value string) error {
	from, to, err := userRange(value)
	switch {
	case err != nil:
		return err
	case from == 0 && to == 0 && value != "0":
		return nil // a name
	case from == 0:
		return errors.New("user 0 is root, whom nothing keeps out; choose another")
	case to < from:
		return errors.New("the range ends before it begins")
	}
	return nil
}

// userRange are the ids that a user key gives; zeros where it is a name.
func userRange(value string) (from, to uint32, err error) {
	first, last, isRange := strings.Cut(value, "-")
	if value == "" || value[0] < '0' || value[0] > '9' {
		return 0, 0, nil
	}
	if !isRange {
		last = first
	}
	ids := [2]uint64{}
	for i, text := range []string{first, last} {
		if ids[i], err = strconv.ParseUint(text, 10, 64); err != nil || ids[i] > maxUID {
			return 0, 0, fmt.Errorf("an id is at most %d", uint32(maxUID))
		}
	}
	return uint32(ids[0]), uint32(ids[1]), nil
}

// UserFor gives the user, a name or an id, that the plugin of this name runs as; empty: the host's. Of a range it is always the
// same one, so that what a plugin has written stays its own.
func (s Sandbox) UserFor(plugin string) string {
	from, to, err := userRange(s.User)
	if !s.On() || err != nil || from == to {
		return s.userOfOne()
	}
	digest := fnv.New64a()
	fmt.Fprint(digest, plugin)
	return strconv.FormatUint(uint64(from)+digest.Sum64()%(uint64(to)-uint64(from)+1), 10)
}

func (s Sandbox) userOfOne() string {
	if !s.On() {
		return ""
	}
	first, _, isRange := strings.Cut(s.User, "-")
	if isRange && first != "" && first[0] >= '0' && first[0] <= '9' {
		return first
	}
	return s.User
}

// checkSandboxes finds plugins that get the same user out of a range, and folders to write in that hold the host's own.
func (c *Config) checkSandboxes() Errors {
	var errs Errors
	taken := map[string]string{}
	for _, name := range sortedKeys(c.Plugins) {
		s := c.Plugins[name].Sandbox
		if !s.On() || c.Plugins[name].Remote() {
			continue
		}
		if user := s.UserFor(name); user != s.User {
			if other, twice := taken[user]; twice {
				errs = append(errs, c.ErrorAt(fmt.Sprintf("gives %s the user %s, as it does %s: choose a wider range, or a user for one of the two", name, user, other),
					"plugins", name, "sandbox", "user"))
			}
			taken[user] = name
		}
		for _, key := range []string{"read", "write"} {
			for _, path := range map[string][]string{"read": s.Read, "write": s.Write}[key] {
				if hold := c.holds(key, path); hold != "" {
					errs = append(errs, c.ErrorAt(fmt.Sprintf("%s %s: name what the plugin needs, and keep the host's own elsewhere", path, hold),
						"plugins", name, "sandbox", key))
				}
			}
		}
	}
	return errs
}

// holds says what of the host's own a path would give away; empty: nothing. A folder to read may hold it: it is left out there.
func (c *Config) holds(key, path string) string {
	for _, what := range []string{"run_dir", "state_dir"} {
		own := map[string]string{"run_dir": c.RunDir, "state_dir": c.StateDir}[what]
		switch {
		case isWithin(path, own):
			return fmt.Sprintf("is in %s (%s), which is the host's own", what, own)
		case key == "write" && isWithin(own, path):
			return fmt.Sprintf("holds %s (%s), which is the host's own", what, own)
		}
	}
	if key == "write" {
		for _, file := range sortedKeys(c.own) {
			if isWithin(file, path) {
				return fmt.Sprintf("holds the configuration %s", file)
			}
		}
	}
	return ""
}

// isWithin says that path is folder or lies below it.
func isWithin(path, folder string) bool {
	path, err := filepath.Abs(path)
	if err != nil {
		return false
	}
	folder, err = filepath.Abs(folder)
	if err != nil {
		return false
	}
	below, err := filepath.Rel(folder, path)
	return err == nil && filepath.IsLocal(below)
}

// Private are the files and folders that no plugin's process has any business with, as absolute paths in order: the
// configuration itself, run_dir, state_dir, and the files behind secrets and keys.
func (c *Config) Private() []string {
	paths := append([]string{c.RunDir, c.StateDir}, sortedKeys(c.own)...)
	paths = append(paths, privateFiles(configShape, reflect.ValueOf(*c))...)
	absolute := make([]string, 0, len(paths))
	for _, path := range paths {
		if path == "" {
			continue
		}
		if path, err := filepath.Abs(path); err == nil {
			absolute = append(absolute, path)
		}
	}
	slices.Sort(absolute)
	return slices.Compact(absolute)
}

// privateFiles are the files that keys name which say where a secret is, or are private themselves.
func privateFiles(s *shape, value reflect.Value) []string {
	var files []string
	switch s.kind {
	case object:
		for _, f := range s.fields {
			below := f.in(value)
			if f.private {
				files = append(files, below.String())
			} else {
				files = append(files, privateFiles(f.shape, below)...)
			}
		}
	case table:
		for _, key := range value.MapKeys() {
			if s.elem.kind != free {
				files = append(files, privateFiles(s.elem, value.MapIndex(key))...)
			}
		}
	case list:
		for i := range value.Len() {
			files = append(files, privateFiles(s.elem, value.Index(i))...)
		}
	case text:
		if s.check == rules["secret_url"] {
			files = append(files, secret.Files(value.String())...)
		}
	}
	return files
}
