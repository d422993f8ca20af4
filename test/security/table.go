package main

import (
	"context"
	"slices"

	"github.com/agenthost/agenthost/test/security/hostile"
)

// place is where a cell's host runs: as root or as an ordinary user, with its plugins in sandboxes or not.
type place struct{ root, sandbox bool }

// places are all fields of the matrix.
var places = []place{{true, true}, {true, false}, {false, true}, {false, false}}

func (p place) short() string {
	short := "user"
	if p.root {
		short = "root"
	}
	if p.sandbox {
		return short + "-on"
	}
	return short + "-off"
}

func (p place) String() string {
	text := "user"
	if p.root {
		text = "root"
	}
	if p.sandbox {
		return text + ", sandbox on"
	}
	return text + ", sandbox off"
}

func (p place) bit() where {
	for i, other := range places {
		if p == other {
			return 1 << i
		}
	}
	return 0
}

// where is a set of places.
type where int

const (
	rootOn where = 1 << iota
	rootOff
	userOn
	userOff

	nowhere where = 0
	on            = rootOn | userOn
	off           = rootOff | userOff
	all           = on | off
)

func (w where) has(p place) bool { return w&p.bit() != 0 }

// kind is what an attempt is about; the kinds are the headings of the published table.
type kind string

const (
	memoryKind    kind = "Memory and other resources"
	typesKind     kind = "Task types and discovery"
	hostKind      kind = "The host's process"
	victimKind    kind = "Another plugin's process"
	filesKind     kind = "Files"
	networkKind   kind = "Sockets"
	privilegeKind kind = "Privileges"
	outputKind    kind = "Logs and terminals"
	strangerKind  kind = "The ports"
)

var kinds = []kind{hostKind, victimKind, filesKind, networkKind, privilegeKind, memoryKind, typesKind, outputKind, strangerKind}

// who makes an attempt.
type who string

const (
	plugin   who = "plugin"
	stranger who = "client"
)

// Task types of the hostile plugins, and names of their folders.
const (
	goType     = "hostile_go"
	pythonType = "hostile_python"
	thiefName  = "thief"
)

// The reasons for which the table concedes that an attempt succeeds.
const (
	sameUser   = "without a sandbox a plugin is one more process of the host's user"
	isRoot     = "without a sandbox a plugin of a host that is root is root"
	kernelOpen = "without a sandbox a plugin has every system call that the kernel gives to any user"
	noIdentity = "no `access:` is configured, as with Flyte 1, which has no identity to show"
	pathSocket = "Landlock does not know unix sockets by their paths (up to ABI 8), and the user is the host's own"
	sameModes  = "Landlock does not know modes and owners of files, and the user is the host's own"
	sameOwner  = "the kernel lets a user choose the processors of its processes, and the user is the host's own"
)

// concession says where an attempt may succeed, and why.
type concession struct {
	where  where
	reason string
}

// row is an attempt.
type row struct {
	name string
	kind kind
	who  who
	// what is attempted, in words for docs/security.md.
	what string
	// bound is how many of something are gone for.
	bound int
	// try makes the attempt, where that is not simply what a hostile plugin does by the row's name.
	try func(ctx context.Context, c *cell, by string, w hostile.World) (hostile.Result, error)
	// unsaid are the places where it is no success that the plugin says so: what counts is whether the host lives and the victim is
	// served, which counts for every row.
	unsaid where
	// deadly says that the plugin may die of the attempt, which then was refused: of a limit, or as the one that the kernel chose.
	deadly bool
	// only says whose attempt it is, where not every plugin's.
	only     string
	conceded []concession
}

func (r row) concededIn(p place) (reason string, conceded bool) {
	for _, c := range r.conceded {
		if c.where.has(p) {
			return c.reason, true
		}
	}
	return "", false
}

// by are the names under which the attempt is made: a task type for each plugin.
func (r row) by() []string {
	switch {
	case r.who == stranger:
		return []string{"client"}
	case r.only != "":
		return []string{r.only}
	}
	return []string{goType, pythonType}
}

// user concedes what the host's user may, root what root may, kernel what everybody may.
func user(more ...concession) []concession { return append(more, concession{off, sameUser}) }
func root() []concession                   { return []concession{{rootOff, isRoot}} }
func kernel() []concession                 { return []concession{{off, kernelOpen}} }

// table is every attempt.
var table = []row{
	{name: "host-environ", kind: hostKind, what: "read its environment", conceded: root()},
	{name: "host-secret", kind: hostKind, what: "find a secret of `env:` in it"},
	{name: "host-maps", kind: hostKind, what: "read where its memory is", conceded: root()},
	{name: "host-memory", kind: hostKind, what: "read its memory by /proc/PID/mem", conceded: root()},
	{name: "host-vm-read", kind: hostKind, what: "read its memory by process_vm_readv", conceded: root()},
	{name: "host-vm-write", kind: hostKind, what: "write to its memory", conceded: root()},
	{name: "host-descriptors", kind: hostKind, what: "see its descriptors", conceded: root()},
	{name: "host-descriptor", kind: hostKind, what: "take one of them by pidfd_getfd", conceded: root()},
	{name: "host-files", kind: hostKind, what: "read the configuration by /proc/PID/root", conceded: root()},
	{name: "host-ptrace", kind: hostKind, what: "trace it", conceded: root()},
	{name: "host-perf", kind: hostKind, what: "measure it by perf_event_open", conceded: root()},
	{name: "host-stop", kind: hostKind, what: "stop it for a moment", conceded: user()},
	{name: "host-signal", kind: hostKind, what: "signal it by a pidfd", conceded: user()},
	{name: "host-kill", kind: hostKind, what: "kill it", conceded: user()},
	{name: "host-limits", kind: hostKind, what: "set its limits", conceded: user()},
	{name: "host-priority", kind: hostKind, what: "lower its priority", conceded: user()},
	{name: "host-affinity", kind: hostKind, what: "choose its processors", conceded: user(concession{userOn, sameOwner})},
	{name: "host-oom-score", kind: hostKind, what: "set its oom_score_adj", conceded: root()},

	{name: "victim-environ", kind: victimKind, what: "read its environment", conceded: user()},
	{name: "victim-memory", kind: victimKind, what: "read its memory by /proc/PID/mem", conceded: user()},
	{name: "victim-vm-read", kind: victimKind, what: "read its memory by process_vm_readv", conceded: user()},
	{name: "victim-descriptors", kind: victimKind, what: "see its descriptors", conceded: user()},
	{name: "victim-ptrace", kind: victimKind, what: "trace it", conceded: user()},
	{name: "victim-stop", kind: victimKind, what: "stop it for a moment", conceded: user()},
	{name: "victim-kill", kind: victimKind, what: "kill it", conceded: user()},
	{name: "victim-limits", kind: victimKind, what: "set its limits", conceded: user()},
	{name: "victim-priority", kind: victimKind, what: "lower its priority", conceded: user()},
	{name: "victim-oom-score", kind: victimKind, what: "set its oom_score_adj", conceded: user()},
	{name: "victim-socket", kind: victimKind, what: "call it by the socket on which it serves the host"},

	{name: "secret-source", kind: filesKind, what: "read the file behind another plugin's `secrets:`", conceded: user()},
	{name: "secret-source-link", kind: filesKind, what: "the same by a hard link", conceded: user()},
	{name: "secret-source-alias", kind: filesKind, what: "the same by a symbolic link", conceded: user()},
	{name: "secret-source-root", kind: filesKind, what: "the same by /proc/self/root", conceded: user()},
	{name: "victim-secret", kind: filesKind, what: "read the file that another plugin gets a secret in", conceded: user()},
	{name: "config-read", kind: filesKind, what: "read the configuration", conceded: user()},
	{name: "config-write", kind: filesKind, what: "write to it", conceded: user()},
	{name: "config-mode", kind: filesKind, what: "set its mode", conceded: user(concession{userOn, sameModes})},
	{name: "config-replace", kind: filesKind, what: "put a file beside it", conceded: user()},
	{name: "config-rename", kind: filesKind, what: "rename it", conceded: user()},
	{name: "run-dir-list", kind: filesKind, what: "list `run_dir`", conceded: user()},
	{name: "run-dir-write", kind: filesKind, what: "write to it", conceded: user()},
	{name: "run-dir-victim-write", kind: filesKind, what: "write to another plugin's run directory", conceded: user()},
	{name: "state-dir-list", kind: filesKind, what: "list `state_dir`", conceded: user()},
	{name: "state-dir-write", kind: filesKind, what: "write to it", conceded: user()},
	{name: "programs-write", kind: filesKind, what: "write to the folder of the programs", conceded: root()},
	{name: "host-program-rename", kind: filesKind, what: "rename the host's program", conceded: root()},
	{name: "inherited", kind: filesKind, what: "find a descriptor of the host's among its own"},
	{name: "kernel-settings", kind: filesKind, what: "write to /proc/sys", conceded: root()},
	{name: "kernel-log", kind: filesKind, what: "write to /dev/kmsg", conceded: root()},
	{name: "machine-disk", kind: filesKind, what: "read a disk past its file system", conceded: root()},

	{name: "job-poll", kind: networkKind, what: "poll another plugin's job by the Flyte port", conceded: user()},
	{name: "job-delete", kind: networkKind, what: "delete it", conceded: user()},
	{name: "task-run", kind: networkKind, what: "run a task of another plugin's", conceded: user()},
	{name: "admin-read", kind: networkKind, what: "read the host's status", conceded: user()},
	{name: "admin-reload", kind: networkKind, what: "have the host reload"},
	{name: "admin-token", kind: networkKind, what: "read the token that operates it", conceded: user()},
	{name: "admin-profile", kind: networkKind, what: "profile the host"},
	{name: "neighbour", kind: networkKind, what: "connect to a service on the machine by TCP", conceded: user()},
	{name: "abstract-socket", kind: networkKind, what: "the same by an abstract unix socket", conceded: user()},
	{name: "unix-socket", kind: networkKind, what: "the same by a unix socket of the host's user's", conceded: user(concession{userOn, pathSocket})},
	{name: "listen", kind: networkKind, what: "listen on a TCP port of its choice", conceded: user()},
	{name: "listen-beside", kind: networkKind, what: "listen on the Flyte port beside the host"},

	{name: "own-root", kind: privilegeKind, what: "become root", conceded: root()},
	{name: "own-capabilities", kind: privilegeKind, what: "have a capability", conceded: root()},
	{name: "own-set-user-id", kind: privilegeKind, what: "run a set-user-ID program of root's", conceded: kernel()},
	{name: "own-limits", kind: privilegeKind, what: "raise its own limits", conceded: root()},
	{name: "own-priority", kind: privilegeKind, what: "raise its priority", conceded: root()},
	{name: "own-oom-score", kind: privilegeKind, what: "have the kernel spare it when memory ends", conceded: root()},
	{name: "own-mount", kind: privilegeKind, what: "mount a file system", conceded: root()},
	{name: "own-chroot", kind: privilegeKind, what: "change its root", conceded: root()},
	{name: "own-namespaces", kind: privilegeKind, what: "make namespaces", conceded: root()},
	{name: "own-user-namespace", kind: privilegeKind, what: "make a user namespace", conceded: kernel()},
	{name: "own-device", kind: privilegeKind, what: "make a device", conceded: root()},
	{name: "own-bpf", kind: privilegeKind, what: "use bpf", conceded: kernel()},
	{name: "own-keyring", kind: privilegeKind, what: "use the kernel's keyrings", conceded: kernel()},
	{name: "own-userfaultfd", kind: privilegeKind, what: "use userfaultfd", conceded: kernel()},
	{name: "own-io-uring", kind: privilegeKind, what: "use io_uring", conceded: kernel()},
	{name: "own-kernel-module", kind: privilegeKind, what: "load a kernel module", conceded: root()},
	{name: "own-packet-socket", kind: privilegeKind, what: "have a packet socket", conceded: root()},
	{name: "own-raw-socket", kind: privilegeKind, what: "have a raw socket", conceded: root()},
	{name: "own-cgroup-leave", kind: privilegeKind, what: "leave its cgroup", conceded: root()},
	{name: "own-cgroup-raise", kind: privilegeKind, what: "set its cgroup's limits", conceded: root()},
	{name: "own-file-by-handle", kind: privilegeKind, what: "open a file by its number on the disk", conceded: root()},

	{name: "many-processes", deadly: true, kind: memoryKind, what: "have 150 processes, or threads", bound: 150, unsaid: off},
	{name: "much-memory", deadly: true, kind: memoryKind, what: "have 700 MiB, which is more than the host may", bound: 700},
	{name: "many-descriptors", kind: memoryKind, what: "have more descriptors than the host", bound: 2 * hostDescriptors},
	{name: "many-connections", kind: memoryKind, what: "have 400 connections to the Flyte port, and say nothing on them", bound: 400, unsaid: off},
	{name: "busy-processors", kind: memoryKind, what: "compute on all processors", unsaid: all},
	{name: "full-disk", kind: memoryKind, what: "fill the disk of its own folder, on which `state_dir` is too", bound: 100, unsaid: all},
	{name: "large-answer", kind: memoryKind, what: "answer a sync task with 50 MiB, eight times at once", bound: 50, try: large("large-answer")},
	{name: "large-error", kind: memoryKind, what: "answer with an error of 20 MiB, eight times at once", bound: 20, try: large("large-error")},
	{name: "large-message", kind: memoryKind, what: "end a sync task with a reason of 20 MiB, eight times at once", bound: 20, try: large("large-message")},
	{name: "outlive-plugin", kind: memoryKind, what: "leave a process behind, with setsid and without environment, when the plugin is removed", try: outlivePlugin},
	{name: "outlive-host", kind: memoryKind, what: "the same when the host stops", try: outliveHost},

	{name: "forged-log", kind: outputKind, what: "print lines that look like the host's, and terminal escapes", try: forgedLog},
	{name: "noisy-log", kind: outputKind, what: "print 100,000 lines", bound: 100_000, unsaid: all},
	{name: "terminal-answer", kind: outputKind, what: "answer and fail with terminal escapes what `agenthost task run` shows", try: terminal},
}

func init() {
	table = slices.Concat(table, typesRows(), strangers())
	for i := range table {
		if table[i].who == "" {
			table[i].who = plugin
		}
	}
}
