package main

import (
	"fmt"
	"os"
	"path/filepath"
	"syscall"
	"testing"
	"time"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// The file is a pipe: opening it for writing waits for the worker who reads it, and what is in it is gone with that worker.
func TestAJobWhoseWorkerEndsIsBegunAnewByTheNextProcess(t *testing.T) {
	program := agenttest.Build(t, ".")
	for name, end := range map[string]func(*agenttest.Client) error{
		"killed":   func(c *agenttest.Client) error { return syscall.Kill(c.PID(), syscall.SIGKILL) },
		"replaced": func(c *agenttest.Client) error { c.Replace(); return nil },
	} {
		t.Run(name, func(t *testing.T) {
			pipe, folder := filepath.Join(t.TempDir(), "pipe"), t.TempDir()
			if err := syscall.Mkfifo(pipe, 0o600); err != nil {
				t.Fatal(err)
			}
			first := start(t, program, folder)
			job, err := first.Create(t.Context(), agenttest.Task{Type: "checksum", Inputs: map[string]any{"path": pipe}})
			if err != nil {
				t.Fatal(err)
			}
			half := feed(t, pipe, "what the first worker reads")
			if err := end(first); err != nil {
				t.Fatal(err)
			}
			empty(t, half)
			second := start(t, program, folder)
			if err := feed(t, pipe, "hello").Close(); err != nil {
				t.Fatal(err)
			}
			result, err := second.Job(agent.Category{Name: "checksum"}, job.Meta).Wait(t.Context())
			if err != nil {
				t.Fatal(err)
			}
			const hello = "2cf24dba5fb0a30e26e83b2ac5b9e29e1b161e5c1fa7425e73043362938b9824"
			if sum, size := agenttest.Output[string](t, result, "sha256"), agenttest.Output[int](t, result, "size"); sum != hello || size != 5 {
				t.Errorf("%d bytes, %s", size, sum)
			}
		})
	}
}

func TestOneProcessWorksAtATime(t *testing.T) {
	program, folder, pipe := agenttest.Build(t, "."), t.TempDir(), filepath.Join(t.TempDir(), "pipe")
	if err := syscall.Mkfifo(pipe, 0o600); err != nil {
		t.Fatal(err)
	}
	first := start(t, program, folder)
	if _, err := first.Create(t.Context(), agenttest.Task{Type: "checksum", Inputs: map[string]any{"path": pipe}}); err != nil {
		t.Fatal(err)
	}
	endless := feed(t, pipe, "more to come")
	defer endless.Close()
	second := start(t, program, folder)
	for range 30 { // longer than it would take to look for jobs
		time.Sleep(10 * time.Millisecond)
		open, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", second.PID()))
		if err != nil || len(open) == 0 {
			t.Fatal(open, err)
		}
		for _, file := range open {
			if to, err := os.Readlink(file); err == nil && to == pipe {
				t.Fatal("two processes have the job")
			}
		}
	}
}

func start(t *testing.T, program, folder string) *agenttest.Client {
	t.Helper()
	client := agenttest.Command(t, program)
	if errs := client.Configure(map[string]any{"folder": folder}); len(errs) > 0 {
		t.Fatal(errs)
	}
	return client
}

// feed writes into a pipe, as soon as somebody reads it.
func feed(t *testing.T, pipe, text string) *os.File {
	t.Helper()
	to, err := os.OpenFile(pipe, os.O_WRONLY, 0)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := to.WriteString(text); err != nil {
		t.Fatal(err)
	}
	return to
}

// empty closes a pipe when nobody reads it any more, by which it is empty.
func empty(t *testing.T, pipe *os.File) {
	t.Helper()
	for {
		if _, err := pipe.WriteString("."); err != nil {
			break
		}
		time.Sleep(time.Millisecond)
	}
	if err := pipe.Close(); err != nil {
		t.Fatal(err)
	}
}
