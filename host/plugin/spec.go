package plugin

import (
	"crypto/sha256"
	"encoding/hex"
	"encoding/json"
	"fmt"
	"time"

	"github.com/agenthost/agenthost/host/config"
)

// Spec is everything that defines a plugin: the process that the host starts, or, where Address is set, the servers
// elsewhere that it connects to. Two equal specs describe the same generation: an instance
// of the one is as good as an instance of the other.
type Spec struct {
	// Name is the plugin's name in the host's configuration. It leads every error and marks every log line.
	Name string
	// Command is the program and its arguments. A program without a slash is looked up in the PATH that the plugin
	// gets, a relative one is relative to Dir.
	Command []string
	// Image is the artifact that the program is in: Command is relative to its root then, and Dir too. Where Command is empty, it is
	// what the artifact says. CosignKey is a file with the keys of which one must have signed it.
	Image     string `json:",omitempty"`
	CosignKey string `json:",omitempty"`
	// Address is where agent servers run that the host does not start, each as host:port, instead of Command. They are equal:
	// any call may go to any of them.
	Address []string `json:",omitempty"`
	// Dir is the working directory; the host's own where empty.
	Dir string
	// Env is added to the base environment (see BaseEnv) and wins over it.
	Env map[string]string
	// InheritEnv names variables of the host's own environment that the plugin gets too. One that is not set is left out.
	InheritEnv []string
	// SHA256 maps paths (relative ones to Dir) to the hex SHA-256 that the file must have, checked before each start.
	SHA256 map[string]string
	// Secrets maps a secret's name to where its value is read at start, as package secret says.
	Secrets map[string]string
	// Sandbox is what the process may do. The zero value is no sandbox.
	Sandbox config.Sandbox `json:",omitzero"`
	// Config is the plugin's own `config:` block, handed over as JSON.
	Config map[string]any
	// Contents stands for what the files behind Secrets and SHA256 hold: a secret that rotates makes another spec.
	Contents string
	// TLS asks for mutual TLS between host and plugin; for a remote one, for TLS as RemoteTLS says.
	TLS bool
	// RemoteTLS is how the two sides of a remote plugin's TLS know each other.
	RemoteTLS RemoteTLS `json:",omitzero"`
	// StartTimeout bounds the whole start, from the checksums to the list of agents. Zero: config.DefaultStartTimeout.
	StartTimeout time.Duration
	// StopTimeout bounds how long a stop waits for the plugin before killing it. Zero: config.DefaultStopTimeout.
	StopTimeout time.Duration
}

// Remote says that the plugin is to be connected to (Connect), not to be started (Start).
func (s Spec) Remote() bool { return len(s.Address) > 0 }

// hashVersion leads what Hash digests. It changes when the digested form does, so that a later form, which also takes
// in the contents of secrets and artefacts, can never be mistaken for this one.
const hashVersion = "spec/1"

// Hash is the same for equal specs, in every process and at every time, and differs for different ones. It covers
// what the spec says, not what the files behind it hold.
func (s Spec) Hash() string {
	encoded, err := json.Marshal(s.withDefaults())
	if err != nil { // a config value that JSON cannot hold: Start will say so, but a hash must always be there
		encoded = fmt.Appendf(nil, "%+v", s.withDefaults())
	}
	sum := sha256.Sum256(append([]byte(hashVersion+"\n"), encoded...))
	return hex.EncodeToString(sum[:])
}

func (s Spec) withDefaults() Spec {
	if s.StartTimeout <= 0 {
		s.StartTimeout = config.DefaultStartTimeout
	}
	if s.StopTimeout <= 0 {
		s.StopTimeout = config.DefaultStopTimeout
	}
	return s
}
