// Package hostile is a plugin that means harm, written with the Go SDK: what it is told to attempt, it attempts with ordinary system
// calls and ordinary requests, bounded where nothing stops it, and says how it went. attempts.py is its twin in Python.
//
//	func main() {
//		hostile.Main() // does not return in the plugin's processes
//		…
//	}
package hostile

import (
	"errors"
	"fmt"
	"slices"
)

// World is what the attacker knows: more than one would, so that nothing depends on guessing well.
type World struct {
	// Host and Victim are process ids, of the host and of another plugin.
	Host   int `json:"host"`
	Victim int `json:"victim"`
	// SecretSource is the file behind the victim's `secrets:`, SecretFile what the host made of it for the victim.
	SecretSource string `json:"secret_source"`
	SecretFile   string `json:"secret_file"`
	// SecretName is the variable of the host's environment behind another of its secrets.
	SecretName string `json:"secret_name"`
	// VictimSocket is where the victim serves the host.
	VictimSocket string `json:"victim_socket"`
	// Config, RunDir and StateDir are the host's, Programs is the folder of all programs, its own among them.
	Config   string `json:"config"`
	RunDir   string `json:"run_dir"`
	StateDir string `json:"state_dir"`
	Programs string `json:"programs"`
	// Own is a folder in which the plugin may do as it likes.
	Own string `json:"own"`
	// GRPC and Admin are the host's addresses; Admin is a path where it is a socket. Authority is the certificate by which the former
	// is known, as PEM; empty: it speaks no TLS.
	GRPC      string `json:"grpc"`
	Admin     string `json:"admin"`
	Authority string `json:"authority"`
	// Job is the resource_meta of a job of the victim's, JobType its task type.
	Job     []byte `json:"job"`
	JobType string `json:"job_type"`
	// Neighbour is the TCP address of a service that is none of the plugin's business; Abstract and Socket are the same as an abstract
	// and as an ordinary unix socket.
	Neighbour string `json:"neighbour"`
	Abstract  string `json:"abstract"`
	Socket    string `json:"socket"`
	// SetUser is a program that is root's, with the set-user-ID bit; empty: nobody could make one.
	SetUser string `json:"set_user"`
	// Bound is how many of something an attempt goes for at most.
	Bound int `json:"bound"`
}

// Outcome is how an attempt went.
type Outcome string

// Outcomes.
const (
	Succeeded Outcome = "succeeded"
	Refused   Outcome = "refused"
	NotTried  Outcome = "not tried" // the machine lacks what it takes
)

// Result is an attempt's outcome, and what shows it.
type Result struct {
	Outcome  Outcome `json:"outcome"`
	Evidence string  `json:"evidence"`
}

// lack is the error of an attempt for which the machine lacks something.
type lack string

func (l lack) Error() string { return string(l) }

// resultOf makes a result of what an attempt returned.
func resultOf(evidence string, err error) Result {
	var lacks lack
	switch {
	case errors.As(err, &lacks):
		return Result{NotTried, lacks.Error()}
	case err != nil:
		return Result{Refused, err.Error()}
	}
	return Result{Succeeded, evidence}
}

// attempt does one thing. Its error says that it was refused.
type attempt func(World) (evidence string, err error)

// attempts are those that a process of their own makes, a child of the plugin's.
var attempts = merge(onProcesses, onFiles, onNetwork, onPrivileges, onResources)

// Names are the names of all attempts, sorted.
func Names() []string {
	names := make([]string, 0, len(attempts)+len(within))
	for name := range attempts {
		names = append(names, name)
	}
	for name := range within {
		names = append(names, name)
	}
	slices.Sort(names)
	return names
}

func merge(tables ...map[string]attempt) map[string]attempt {
	all := map[string]attempt{}
	for _, table := range tables {
		for name, a := range table {
			if all[name] != nil {
				panic(fmt.Sprintf("two attempts %s", name))
			}
			all[name] = a
		}
	}
	return all
}
