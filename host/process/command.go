package process

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"syscall"

	"golang.org/x/sys/unix"
)

// command is the exec.Cmd of a Config: its own process group, and dead when its parent is.
func (c Config) command() (*exec.Cmd, error) {
	if len(c.Command) == 0 || c.Command[0] == "" {
		return nil, errors.New("there is no command to start")
	}
	if c.Dir != "" {
		if info, err := os.Stat(c.Dir); err != nil {
			return nil, fmt.Errorf("cannot start %s: its working directory cannot be used: %w", c.Command[0], err)
		} else if !info.IsDir() {
			return nil, fmt.Errorf("cannot start %s: its working directory %s is not a directory", c.Command[0], c.Dir)
		}
	}
	path, err := c.Program()
	if err != nil {
		return nil, err
	}
	return &exec.Cmd{
		Path: path,
		Args: c.Command,
		Dir:  c.Dir,
		Env:  append([]string{}, c.Env...), // never nil: that would inherit the parent's
		SysProcAttr: &syscall.SysProcAttr{
			Setpgid:   true,
			Pdeathsig: syscall.SIGKILL,
		},
	}, nil
}

// Program finds the program the way a shell in Dir with the environment Env would.
func (c Config) Program() (string, error) {
	program := c.Command[0]
	if filepath.IsAbs(program) {
		return program, nil
	}
	if strings.ContainsRune(program, filepath.Separator) {
		return filepath.Abs(filepath.Join(c.Dir, program))
	}
	path := c.getenv("PATH")
	for _, dir := range filepath.SplitList(path) {
		if !filepath.IsAbs(dir) {
			continue // a program must not change with the directory it is started from
		}
		candidate := filepath.Join(dir, program)
		if info, err := os.Stat(candidate); err == nil && info.Mode().IsRegular() && info.Mode()&0o111 != 0 {
			return candidate, nil
		}
	}
	return "", fmt.Errorf("cannot start %s: no such program in its PATH (%q)", program, path)
}

func (c Config) getenv(name string) string {
	value := ""
	for _, entry := range c.Env {
		if rest, ok := strings.CutPrefix(entry, name+"="); ok {
			value = rest // the last one wins, as in os/exec
		}
	}
	return value
}

// explain says why the kernel did not start a program, in words for the person who named it.
func (c Config) explain(path string, err error) error {
	switch {
	case errors.Is(err, fs.ErrNotExist):
		if interpreter := interpreterOf(path); interpreter != "" {
			return fmt.Errorf("cannot start %s: its first line asks for %s, which does not exist: %w", path, interpreter, err)
		}
		if _, statErr := os.Stat(path); statErr == nil {
			return fmt.Errorf("cannot start %s: the file exists, but the dynamic loader it needs does not: %w", path, err)
		}
		return fmt.Errorf("cannot start %s: no such file", path)
	case errors.Is(err, fs.ErrPermission):
		if info, statErr := os.Stat(path); statErr == nil && info.IsDir() {
			return fmt.Errorf("cannot start %s: it is a directory", path)
		}
		if c.Sandbox != nil && isExecutable(path) {
			return fmt.Errorf("cannot start %s: its sandbox does not let it: what its first line or its loader asks for must be readable (sandbox.read), for its user too: %w", path, err)
		}
		return fmt.Errorf("cannot start %s: it is not executable (try chmod +x, and look for a noexec mount): %w", path, err)
	case errors.Is(err, syscall.ENOEXEC):
		return fmt.Errorf("cannot start %s: it is neither a program for this machine nor a script with a #! line: %w", path, err)
	default:
		return fmt.Errorf("cannot start %s: %w", path, err)
	}
}

// isExecutable says that this process could start the program.
func isExecutable(path string) bool { return unix.Access(path, unix.X_OK) == nil }

// interpreterOf is what the #! line of a script names; empty where there is none.
func interpreterOf(path string) string {
	file, err := os.Open(path)
	if err != nil {
		return ""
	}
	defer file.Close()
	head, _ := io.ReadAll(io.LimitReader(file, 256)) // what could be read is looked at
	rest, ok := bytes.CutPrefix(head, []byte("#!"))
	if !ok {
		return ""
	}
	first, _, _ := bytes.Cut(rest, []byte("\n"))
	if fields := strings.Fields(string(first)); len(fields) > 0 {
		return clean(fields[0])
	}
	return ""
}
