package admin

import (
	"errors"
	"fmt"
	"net/http"
	"path/filepath"
	"strings"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
)

// Config is where the API learns which configuration is in effect. What is nil is empty.
type Config struct {
	// Hash stands for the configuration in effect.
	Hash func() string
	// Refused is what became of the files as they are now; nil where they are in effect.
	Refused func() *Refused
	// LastSound is when the configuration was kept that is in effect, where it is the last sound one and the host was started with it; else
	// zero.
	LastSound func() time.Time
	// Standings is how it stands with each plugin of the configuration in effect.
	Standings func() []fleet.Standing
}

// Refused is a configuration that was read and is not in effect; what was before is.
type Refused struct {
	// Err is why.
	Err error
	// FilesHash stands for what the files hold, and Hash for the configuration; empty where they could not be read, or are none.
	FilesHash, Hash string
}

func (c Config) hash() string {
	if c.Hash == nil {
		return ""
	}
	return c.Hash()
}

func (c Config) refused() *Refused {
	if c.Refused == nil {
		return nil
	}
	return c.Refused()
}

// lastSound is when the configuration in effect was kept; nil where it is that of the files, or a host has run it since its start.
func (c Config) lastSound() *time.Time {
	if c.LastSound == nil {
		return nil
	}
	if saved := c.LastSound(); !saved.IsZero() {
		return &saved
	}
	return nil
}

// problem is why the files, as they are now, are not in effect; empty where they are.
func (c Config) problem() string {
	if refused := c.refused(); refused != nil {
		return refused.Err.Error()
	}
	return ""
}

// ConfigState is what GET /config answers: at listen.admin with the reasons in full, at listen.probe without any value of the
// configuration and without what plugins say.
type ConfigState struct {
	// Stands for the configuration that is in effect: the same on every host that has the same, and as `agenthost check -o json` gives
	// it as config_hash. It tells nothing of what is in it.
	Hash string `json:"hash"`
	// Whether the configuration's files, as they are now, are in effect; otherwise a former sound configuration is.
	Valid bool `json:"valid"`
	// When the configuration was kept that is in effect, where it is the last sound one, with which the host was started because the files
	// hold none.
	LastSound *time.Time `json:"last_sound,omitempty"`
	// The files as they are now, where they are not in effect.
	Refused *RefusedConfig `json:"refused,omitempty"`
	// How it stands with each plugin of the configuration in effect, by name.
	Plugins []PluginStanding `json:"plugins"`
}

// RefusedConfig is a configuration that the host has read and not taken up.
type RefusedConfig struct {
	// Stands for what the files hold, sound or not, as `agenthost check -o json` gives it as files_hash; absent where they cannot be read.
	FilesHash string `json:"files_hash,omitempty"`
	// Stands for the configuration, as config_hash does; absent where it is none.
	Hash string `json:"hash,omitempty"`
	// Why, one mistake each: source, line, key and what is wrong; at listen.probe source, line and the beginning of the key.
	Reasons []string `json:"reasons"`
}

// PluginStanding is how it stands with a plugin of the configuration in effect.
type PluginStanding struct {
	// The name that the configuration gives it.
	Name string `json:"name"`
	// One of: as configured (it runs), pending (it is on its way), failing (it does not run as configured, which is tried again), refused (it
	// does not, and only another configuration or an operator helps), excused (an operator stopped or disabled it).
	Standing string `json:"standing"`
	// Whether it takes calls, be it as configured or as before.
	Serves bool `json:"serves"`
	// Why it does not run as configured; absent where it does, or where that is not known yet.
	Reason string `json:"reason,omitempty"`
}

// state is how it stands with the configuration. Strangers learn no values, and nothing that plugins say.
func (c Config) state(strangers bool) ConfigState {
	refused := c.refused()
	state := ConfigState{Hash: c.hash(), Valid: refused == nil, Plugins: []PluginStanding{}}
	state.LastSound = c.lastSound()
	if refused != nil {
		state.Refused = &RefusedConfig{FilesHash: refused.FilesHash, Hash: refused.Hash, Reasons: refused.reasons(strangers)}
	}
	if c.Standings == nil {
		return state
	}
	for _, s := range c.Standings() { // after the hash: they are of no configuration before it
		standing := PluginStanding{Name: s.Plugin, Standing: string(s.Stand), Serves: s.Serves, Reason: reason(s.Problem)}
		if strangers {
			standing.Reason = s.Brief
		}
		state.Plugins = append(state.Plugins, standing)
	}
	return state
}

// shownMistakes is how many of the mistakes of a configuration are told.
const shownMistakes = 10

// reasons are why it was refused.
func (r *Refused) reasons(strangers bool) []string {
	var mistakes config.Errors
	if !errors.As(r.Err, &mistakes) {
		if strangers {
			return []string{"the host cannot run it on this machine: its log has the reason"}
		}
		return []string{r.Err.Error()}
	}
	var reasons []string
	for _, mistake := range mistakes[:min(len(mistakes), shownMistakes)] {
		if !strangers {
			reasons = append(reasons, mistake.Error())
			continue
		}
		reasons = append(reasons, place(mistake))
	}
	if more := len(mistakes) - len(reasons); more > 0 {
		reasons = append(reasons, fmt.Sprintf("and %d more", more))
	}
	return reasons
}

// place is where a mistake is, as strangers may know it: the file's name and line, and of the key what is no name of somebody's own but
// a plugin's.
func place(mistake config.KeyError) string {
	source := "its environment or command line"
	if mistake.Line > 0 || filepath.IsAbs(mistake.Source) || filepath.Ext(mistake.Source) != "" {
		source = filepath.Base(mistake.Source)
	}
	if mistake.Line > 0 {
		source += fmt.Sprintf(":%d", mistake.Line)
	}
	if mistake.Key == "" {
		return source + ": it cannot be read"
	}
	parts := strings.SplitN(mistake.Key, ".", 3)
	return fmt.Sprintf("%s: %s: a mistake, which the host's log names", source, strings.Join(parts[:min(len(parts), 2)], "."))
}

func (s *Server) serveConfig(w http.ResponseWriter, _ *http.Request) {
	writeJSON(w, s.options.Config.state(false))
}
