package plugin

import (
	"fmt"
	"strings"

	"github.com/agenthost/agenthost/host/process"
)

// The steps of Start, in their order.
const (
	StepPull      = "pull" // only with an image
	StepPrepare   = "prepare"
	StepLaunch    = "launch"
	StepHandshake = "handshake"
	StepConnect   = "connect"
	StepHealth    = "health"
	StepDescribe  = "describe"
	StepConfigure = "configure"
	StepList      = "list"
)

// StartError is why a plugin could not be started.
type StartError struct {
	// Plugin is the plugin's name in the configuration.
	Plugin string
	// Step is the step of Start that failed, one of the Step constants.
	Step string
	// Err is what happened.
	Err error
	// Exited says how the process ended, such as "exited with code 3"; empty where it had not.
	Exited string
	// OOMKills is how many processes, of it and what it had started, the kernel ended for want of memory.
	OOMKills uint64
	// Fault says whose fault it is.
	Fault Fault
	// LastOutput is the last lines that the process printed, oldest first.
	LastOutput []string
	// Advice is what to do about it; empty where there is none to give.
	Advice string
	// ConfigErrors are the plugin's own words on its `config:` block, at StepConfigure.
	ConfigErrors []ConfigError
}

// ConfigError is what a plugin found wrong in its `config:` block.
type ConfigError struct {
	// Key is the dotted key inside the block; empty for the block as a whole.
	Key string
	// Message says what is wrong and what would be right.
	Message string
}

// Error is everything in one line.
func (e *StartError) Error() string {
	var b strings.Builder
	fmt.Fprintf(&b, "plugin %s: %s: %v", e.Plugin, e.Step, e.Err)
	if e.Exited != "" {
		fmt.Fprintf(&b, "; it %s", e.Exited)
	}
	b.WriteString(lastOutput(e.LastOutput))
	if e.Advice != "" {
		b.WriteString("; ")
		b.WriteString(e.Advice)
	}
	return b.String()
}

// Unwrap is what happened.
func (e *StartError) Unwrap() error { return e.Err }

// shownLines is how many lines of output an error shows.
const shownLines = 6

func lastOutput(lines []string) string {
	if len(lines) == 0 {
		return ""
	}
	return "; last output: " + process.Excerpt(lines, shownLines)
}

// failure is an error with advice, on its way to a StartError.
type failure struct {
	err    error
	advice string
	config []ConfigError
	// away says that the plugin waits for something else, refuses that it does not take its configuration.
	away, refuses bool
}

func (f *failure) Error() string { return f.err.Error() }
func (f *failure) Unwrap() error { return f.err }

// advise adds what to do about an error.
func advise(err error, advice string) error { return &failure{err: err, advice: advice} }
