// Package procs finds the processes of one chaos run: those that have its mark in their environment, wherever they went.
package procs

import (
	"bytes"
	"os"
	"path/filepath"
	"strconv"
	"strings"
)

// Variable is the environment variable that marks a run's processes.
const Variable = "CHAOS_RUN"

// Process is one.
type Process struct {
	PID, Parent int
	// Arguments are its command line's.
	Arguments []string
}

// Marked lists the processes that have the mark. A process that is ending is not among them.
func Marked(mark string) []Process {
	entries, err := os.ReadDir("/proc")
	if err != nil {
		return nil
	}
	want := []byte(Variable + "=" + mark)
	var found []Process
	for _, entry := range entries {
		pid, err := strconv.Atoi(entry.Name())
		if err != nil {
			continue
		}
		environ, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "environ"))
		if err != nil || !has(environ, want) {
			continue
		}
		arguments, err := os.ReadFile(filepath.Join("/proc", entry.Name(), "cmdline"))
		if err != nil {
			continue
		}
		found = append(found, Process{
			PID: pid, Parent: parent(pid), Arguments: strings.Split(strings.TrimRight(string(arguments), "\x00"), "\x00"),
		})
	}
	return found
}

// Argument gives what follows a flag on the command line.
func (p Process) Argument(flag string) string {
	for i, argument := range p.Arguments {
		if argument == flag && i+1 < len(p.Arguments) {
			return p.Arguments[i+1]
		}
	}
	return ""
}

func has(environ, want []byte) bool {
	for variable := range bytes.SplitSeq(environ, []byte{0}) {
		if bytes.Equal(variable, want) {
			return true
		}
	}
	return false
}

// parent reads /proc/PID/stat, in which the second field is a name in parentheses that may hold anything.
func parent(pid int) int {
	stat, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(pid), "stat"))
	if err != nil {
		return 0
	}
	_, rest, _ := bytes.Cut(stat[bytes.LastIndexByte(stat, ')')+1:], []byte(" "))
	fields := bytes.Fields(rest)
	if len(fields) < 2 {
		return 0
	}
	ppid, _ := strconv.Atoi(string(fields[1]))
	return ppid
}
