package config

import "time"

// HostLimits bounds what others can make the host spend: callers, and plugins by what they answer. The defaults suit hosts of any
// size; what is refused by one of them says so, with the key.
type HostLimits struct {
	// The most bytes of messages of more than 64 KiB that may be under way: being received, waiting for a plugin, or not yet
	// taken by their caller. A call waits for its share, and no caller or plugin gets more than what it leaves to the others.
	// Default: a quarter of what the host's cgroup, or else the machine, has of memory.
	Memory Size `koanf:"memory" check:"memory_size"`
	// How many calls from Flyte may be under way. More are refused; and so is a caller who has as many as he leaves to others.
	Calls int `koanf:"calls" check:"positive"`
	// How many of them one connection may carry at once. More wait at their caller.
	CallsPerConnection int `koanf:"calls_per_connection" check:"positive"`
	// How many connections listen.grpc takes; fewer where the limit of open files (ulimit -n) leaves less to them. Where there are as
	// many, the one that was silent for longest makes room, from the address with the most first.
	Connections int `koanf:"connections" check:"positive"`
	// After how long without a call a connection is asked to close, which costs no call.
	ConnectionIdle time.Duration `koanf:"connection_idle" check:"positive_duration"`
	// How many task types one plugin may list. One that lists more is not started; in a swap, what served before goes on.
	TaskTypes int `koanf:"task_types" check:"positive"`
}

// defaultHostLimits are those where the configuration says nothing.
func defaultHostLimits() HostLimits {
	return HostLimits{Calls: 8192, CallsPerConnection: 1024, Connections: 1024, ConnectionIdle: 2 * time.Hour, TaskTypes: 1000}
}
