package sandbox

import (
	"fmt"
	"slices"
	"strings"

	"github.com/elastic/go-seccomp-bpf"
	llsyscall "github.com/landlock-lsm/go-landlock/landlock/syscall"
	"golang.org/x/sys/unix"
)

// Policy is what a program may do. Paths are absolute; those that do not exist are passed over, but for Write.
type Policy struct {
	// Program are the files and folders that the program consists of: read and executed, also where they lie in something private.
	Program []string
	// Read are others that it may read and execute.
	Read []string
	// Write are files and folders that it may read, write and execute.
	Write []string
	// SharedMemory is whether it may have semaphores and shared memory by names that it knows, as Python's multiprocessing has.
	SharedMemory bool
	// Private is never granted by a folder above it, nor by Read.
	Private []string
	// Connect are the TCP ports to connect to, unless ConnectAny. Bind are those to listen on; port 0, where the kernel chooses,
	// always is.
	ConnectAny bool
	Connect    []uint16
	Bind       []uint16
	// User is whom it runs as; nil: as this process.
	User *User
	// OpenFiles and FileSize are limits; zero: none of the policy's own.
	OpenFiles, FileSize uint64
	// Enter is a folder that the program must be able to use, whoever runs it.
	Enter string
	// Require has the start fail where this machine cannot apply all of it.
	Require bool
}

// User is a user of the system.
type User struct {
	Name     string // empty where the id has no name
	UID, GID uint32
	Home     string // empty where it has none
}

// Granted is what was applied of a policy.
type Granted struct {
	// Landlock is the version of the kernel's Landlock; 0: there is none.
	Landlock int
	// Seccomp says that the filter of system calls is in place.
	Seccomp bool
	// UID is the user's id.
	UID uint32
	// Missing is what this machine cannot grant; empty where it granted everything.
	Missing []string
}

// Degraded says that something is missing.
func (g Granted) Degraded() bool { return len(g.Missing) > 0 }

// String is such as "Landlock 7, seccomp, user 70012".
func (g Granted) String() string {
	parts := []string{"no Landlock", "no seccomp", fmt.Sprintf("user %d", g.UID)}
	if g.Landlock > 0 {
		parts[0] = fmt.Sprintf("Landlock %d", g.Landlock)
	}
	if g.Seccomp {
		parts[1] = "seccomp"
	}
	return strings.Join(parts, ", ")
}

// Machine is what this machine would grant of any policy, to a process of the user who asks.
func Machine() Granted {
	g := Granted{Landlock: landlockABI(), Seccomp: seccomp.Supported(), UID: uint32(unix.Geteuid())}
	g.Missing = missing(g)
	return g
}

// The versions of Landlock that something came with.
const (
	abiRefer    = 2
	abiTruncate = 3
	abiTCP      = 4
	abiIoctl    = 5
	abiScope    = 6
	abiUnix     = 9
)

func landlockABI() int {
	abi, err := llsyscall.LandlockGetABIVersion()
	if err != nil {
		return 0
	}
	return abi
}

func missing(g Granted) []string {
	var parts []string
	lacks := func(abi int, what string) {
		if g.Landlock < abi {
			parts = append(parts, what)
		}
	}
	lacks(1, "files")
	lacks(abiTruncate, "cutting files")
	lacks(abiTCP, "TCP ports")
	lacks(abiIoctl, "device controls")
	lacks(abiScope, "signals and abstract sockets")
	var missing []string
	if len(parts) > 0 {
		has := "none: Linux 5.13 has the first, unless it is switched off (lsm=)"
		if g.Landlock > 0 {
			has = fmt.Sprintf("version %d", g.Landlock)
		}
		missing = append(missing, fmt.Sprintf("%s are not kept apart (Landlock %d does; this kernel has %s)", strings.Join(parts, ", "), abiScope, has))
	}
	if !g.Seccomp {
		missing = append(missing, "system calls are not filtered (this kernel, or the container's own filter, lets no filter be added)")
	}
	return missing
}

// MissingForUsers are the capabilities that this process lacks to start programs as other users, and to look after them; empty
// where it has them all.
func MissingForUsers() []string {
	names := map[string]int{
		"CAP_SETUID": unix.CAP_SETUID, "CAP_SETGID": unix.CAP_SETGID, "CAP_KILL": unix.CAP_KILL, "CAP_CHOWN": unix.CAP_CHOWN,
		"CAP_DAC_OVERRIDE": unix.CAP_DAC_OVERRIDE, "CAP_FOWNER": unix.CAP_FOWNER,
	}
	held, err := capabilities()
	var lacking []string
	for name, number := range names {
		if err != nil || !held.has(number) {
			lacking = append(lacking, name)
		}
	}
	slices.Sort(lacking)
	return lacking
}
