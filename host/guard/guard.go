// Package guard keeps other processes of the host's user, such as a plugin, from looking into the host.
//
// What it is imported by and serves cannot be traced, and its memory, descriptors and environment cannot be read, but by
// root: it is not dumpable (PR_SET_DUMPABLE), from before anything else of the program runs. It leaves no core dump either.
//
// The environment that a process was started with stays where the kernel shows it (/proc/PID/environ), whatever becomes of
// the process's variables. So a host moves what may be secret in it to where nothing shows it: see HideEnvironment.
package guard

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"os"
	"slices"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"
)

func init() {
	if len(os.Args) > 1 && os.Args[1] == Command {
		//nolint:errcheck // there is nobody to tell yet: HideEnvironment looks whether it holds
		unix.Prctl(unix.PR_SET_DUMPABLE, 0, 0, 0, 0)
	}
}

const (
	// Command is the first argument of a program that is a host.
	Command = "serve"
	// variable is the number of the descriptor from which the environment is to be read.
	variable = "AGENTHOST_ENVIRONMENT"
)

// The variables that stay: they say where things are, or are read before this program's first line: by the loader, by Go's
// runtime, by packages as they are initialised. What every plugin gets is among them.
var (
	shown = []string{
		"PATH", "HOME", "USER", "LOGNAME", "SHELL", "TMPDIR", "TZ", "LANG", "LC_ALL", "TERM", "SSL_CERT_FILE", "SSL_CERT_DIR",
		"LD_LIBRARY_PATH", "LD_PRELOAD", "GOGC", "GOMEMLIMIT", "GOMAXPROCS", "GODEBUG", "GOTRACEBACK", "GOCOVERDIR", "GORACE",
		"GOLANG_PROTOBUF_REGISTRATION_CONFLICT",
	}
	shownPrefixes = []string{"GRPC_"}
)

// Shown are the variables of an environment that may be seen by other processes of the same user.
func Shown(environment []string) []string {
	var rest []string
	for _, entry := range environment {
		name, _, _ := strings.Cut(entry, "=")
		if slices.Contains(shown, name) || slices.ContainsFunc(shownPrefixes, func(p string) bool { return strings.HasPrefix(name, p) }) {
			rest = append(rest, entry)
		}
	}
	return rest
}

// HideEnvironment has nothing in the environment that this process was started with but what may be Shown: where there is more,
// it starts the program once more in this very process, which then finds its variables as they were, in memory that nobody
// else can read. It is to be called first, while there is one goroutine. After an error the process is as it was, and its
// environment can be seen.
func HideEnvironment() error {
	dumpable, err := unix.PrctlRetInt(unix.PR_GET_DUMPABLE, 0, 0, 0, 0)
	if err != nil || dumpable != 0 {
		return errors.Join(errors.New("the kernel lets other processes of this user look into this one"), err)
	}
	if given, ok := os.LookupEnv(variable); ok {
		return takeEnvironment(given)
	}
	all := os.Environ()
	if len(Shown(all)) == len(all) {
		return nil
	}
	if err := again(all); err != nil {
		return fmt.Errorf("cannot hide the environment: %w", err)
	}
	return nil
}

// again starts the program in this process with all in a file of memory. It returns only where it fails.
func again(all []string) error {
	program, err := os.Executable()
	if err != nil {
		return err
	}
	const self = "/proc/self/exe"
	if !same(program, self) { // replaced since
		program = self
	}
	descriptor, err := unix.MemfdCreate("environment", 0)
	if err != nil {
		return err
	}
	memory := os.NewFile(uintptr(descriptor), "environment")
	defer memory.Close()
	if _, err := memory.WriteString(strings.Join(all, "\x00")); err != nil {
		return err
	}
	return unix.Exec(program, os.Args, append(Shown(all), fmt.Sprintf("%s=%d", variable, descriptor)))
}

func same(a, b string) bool {
	infoA, errA := os.Stat(a)
	infoB, errB := os.Stat(b)
	return errA == nil && errB == nil && os.SameFile(infoA, infoB)
}

func takeEnvironment(given string) error {
	if err := os.Unsetenv(variable); err != nil {
		return err
	}
	descriptor, err := strconv.Atoi(given)
	if err != nil {
		return fmt.Errorf("%s: %w: it is for a host that starts, and for nobody else to set", variable, err)
	}
	memory := os.NewFile(uintptr(descriptor), "environment")
	if memory == nil {
		return fmt.Errorf("%s: there is no descriptor %s", variable, given)
	}
	defer memory.Close()
	all, err := io.ReadAll(io.NewSectionReader(memory, 0, 1<<62))
	if err != nil {
		return fmt.Errorf("cannot read the environment: %w", err)
	}
	return SetEnvironment(all)
}

// SetEnvironment sets variables as Environment gives them.
func SetEnvironment(all []byte) error {
	for entry := range bytes.SplitSeq(all, []byte{0}) {
		name, value, ok := strings.Cut(string(entry), "=")
		if !ok || name == "" {
			continue // no variable that anybody could look up
		}
		if err := os.Setenv(name, value); err != nil {
			return fmt.Errorf("cannot set the variable %s: %w", name, err)
		}
	}
	return nil
}

// Environment is all variables of this process.
func Environment() []byte { return []byte(strings.Join(os.Environ(), "\x00")) }
