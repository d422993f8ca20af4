package server

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"path/filepath"
	"slices"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/state"
)

// LastSound is the last configuration that a host with these files has run soundly, as the host keeps it in its state directory.
type LastSound struct {
	// Hash stands for it.
	Hash string `json:"hash"`
	// Saved is when it was in effect, and Version that of the host.
	Saved   time.Time `json:"saved"`
	Version string    `json:"version"`
	// Read is what it was read from.
	Read config.Snapshot `json:"read"`

	// Config is what Read holds, and Path where it was found.
	Config *config.Config `json:"-"`
	Path   string         `json:"-"`
}

// lastSoundFormat is the format of the files.
const lastSoundFormat = 1

// lastSoundFile is where it is kept for hosts with these files. Others on the machine have theirs.
func lastSoundFile(sources config.Sources) string { return "configurations/" + idOf(sources) + ".json" }

// isSound says whether a configuration that is in effect is one to start with when its files are broken: each of its plugins runs, or waits
// for something else than the configuration.
func isSound(standings []fleet.Standing) bool {
	runs, counted := 0, 0
	for _, s := range standings {
		switch {
		case s.Stand == fleet.Excused:
			continue
		case s.Stand == fleet.AsConfigured:
			runs++
		case s.Stand != fleet.Failing || plugin.FaultOf(s.Problem) != plugin.FaultOfService:
			return false
		}
		counted++
	}
	return runs > 0 || counted == 0
}

// keepLastSound keeps each configuration that turns out to be sound, until ctx ends.
func (h *host) keepLastSound(ctx context.Context, dir *state.Dir) {
	var saved *config.Config
	problem := ""
	select {
	case <-h.readiness.first:
	case <-ctx.Done():
		return
	}
	for {
		changed := h.plugins.Changed()
		settings := h.reloader.settings()
		if settings != saved && isSound(h.plugins.Standings()) && h.reloader.settings() == settings {
			saved = settings
			if err := saveLastSound(dir, h.options, settings, h.reloader.configHash()); err != nil && err.Error() != problem {
				problem = err.Error()
				h.options.Log.Warn("the configuration cannot be kept for a start with a broken one", "error", err)
			}
		}
		select {
		case <-changed:
		case <-ctx.Done():
			return
		}
	}
}

func saveLastSound(dir *state.Dir, options Options, settings *config.Config, hash string) error {
	content, err := json.Marshal(LastSound{Hash: hash, Saved: time.Now().UTC().Truncate(time.Second), Version: options.Version, Read: settings.Snapshot()})
	if err != nil {
		return err
	}
	return dir.Write(lastSoundFile(options.Sources), lastSoundFormat, content)
}

// wellKnownState is where the images and units have state_dir.
const wellKnownState = "/var/lib/agenthost/state"

// stateDirs are where hosts with these sources may have their state directory, whatever is wrong with these.
func stateDirs(sources config.Sources) []string {
	places := config.PlacesOf(sources)
	var dirs []string
	for _, dir := range []string{places.StateDir, below(places.RunDir), wellKnownState, below(config.DefaultRunDir(sources.Environ))} {
		if dir != "" && !slices.Contains(dirs, dir) {
			dirs = append(dirs, dir)
		}
	}
	return dirs
}

func below(runDir string) string {
	if runDir == "" {
		return ""
	}
	return filepath.Join(runDir, "state")
}

// FindLastSound finds the last sound configuration of hosts with these files. The error says where it was looked for.
func FindLastSound(sources config.Sources) (*LastSound, error) {
	var tried []error
	for _, dir := range stateDirs(sources) {
		found, err := readLastSound(dir, sources)
		switch {
		case err == nil:
			return found, nil
		case errors.Is(err, fs.ErrNotExist):
			err = fmt.Errorf("%s has none", dir)
		}
		tried = append(tried, err)
	}
	return nil, fmt.Errorf("no host has kept a sound configuration of these files: %w", joined(tried))
}

// joined are errors in a line.
func joined(all []error) error {
	text := ""
	for i, err := range all {
		if i > 0 {
			text += "; "
		}
		text += err.Error()
	}
	return errors.New(text)
}

func readLastSound(dir string, sources config.Sources) (*LastSound, error) {
	content, path, err := state.ReadOwn(dir, lastSoundFile(sources), lastSoundFormat)
	if err != nil {
		return nil, err
	}
	found := &LastSound{Path: path}
	if err := json.Unmarshal(content, found); err != nil {
		return nil, fmt.Errorf("%s: %w", path, err)
	}
	if found.Config, err = found.Read.Load(sources.Environ); err != nil {
		return nil, fmt.Errorf("%s is not sound for this host: %w", path, err)
	}
	return found, nil
}

// Start is what a host starts with.
type Start struct {
	Config *config.Config
	// Instead is the last sound configuration, where it is that, and Err why.
	Instead *LastSound
	Err     error
}

// StartWith is the configuration to start a host with: that of the files, or the last sound one where they are broken. The error is what is
// wrong with the files, and why there is nothing else.
func StartWith(sources config.Sources, settings *config.Config, err error) (Start, error) {
	if err == nil && len(settings.Plugins) > 0 {
		return Start{Config: settings}, nil
	}
	last, lastErr := FindLastSound(sources)
	switch {
	case err == nil && (last == nil || !last.Read.Emptied(settings)):
		return Start{Config: settings}, nil
	case err == nil:
		err = config.Errors{{Source: sources.Files[0], Message: "the file is empty, and was not when a host last ran with it: to remove all plugins write `plugins: {}`"}}
	case last == nil:
		return Start{}, fmt.Errorf("%w\n%w", err, lastErr)
	}
	return Start{Config: last.Config, Instead: last, Err: err}, nil
}

// tellLastSound says loudly what the host starts with.
func (o Options) tellLastSound() {
	if last := o.Instead; last != nil {
		o.Log.Error("THE CONFIGURATION HAS MISTAKES: the host starts with the last sound one", "hash", last.Hash, "saved", last.Saved, "from", last.Path, "error", o.Mistake)
	}
}
