package main

import (
	"context"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"time"

	"github.com/prometheus/procfs"
	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/test/bench/report"
)

// thisMachine says where it runs.
func thisMachine() (m report.Machine, err error) {
	proc, err := procfs.NewDefaultFS()
	if err != nil {
		return m, err
	}
	cpus, err := proc.CPUInfo()
	if err != nil {
		return m, err
	}
	if len(cpus) > 0 {
		m.CPU = cpus[0].ModelName
	}
	memory, err := proc.Meminfo()
	if err != nil {
		return m, err
	}
	if memory.MemTotal != nil {
		m.MemoryMiB = float64(*memory.MemTotal / kib)
	}
	load, err := proc.LoadAvg()
	if err != nil {
		return m, err
	}
	var name unix.Utsname
	if err := unix.Uname(&name); err != nil {
		return m, err
	}
	m.Cores, m.Kernel, m.Load = runtime.NumCPU(), unix.ByteSliceToString(name.Release[:]), load.Load1
	return m, nil
}

// versions are those of what is measured, as far as it is there.
func (p programs) versions(ctx context.Context) map[string]string {
	found := map[string]string{"go": runtime.Version()}
	say := func(what, program string, arguments ...string) {
		ctx, cancel := context.WithTimeout(ctx, time.Minute)
		defer cancel()
		command := exec.CommandContext(ctx, program, arguments...)
		command.WaitDelay = time.Second
		said, err := command.CombinedOutput()
		if err != nil {
			return // a row that needs it says what is missing
		}
		line, _, _ := strings.Cut(string(said), "\n")
		found[what] = strings.TrimSpace(line)
	}
	say("agenthost", filepath.Join(p.bin, "agenthost"), "version")
	if p.against != "" {
		say("against", filepath.Join(p.against, "agenthost"), "version")
	}
	python := filepath.Join(p.flytekit, "python")
	if _, err := os.Stat(python); err == nil {
		say("python", python, "--version")
		for _, one := range []string{"flytekit", "grpcio", "protobuf"} {
			say(one, python, "-c", "import importlib.metadata as m; print(m.version('"+one+"'))")
		}
	}
	say("java", "java", "-version")
	say("rust", "rustc", "--version")
	return found
}
