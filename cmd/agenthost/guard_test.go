package main

import (
	"errors"
	"fmt"
	"io"
	"io/fs"
	"os"
	"os/exec"
	"path/filepath"
	"strconv"
	"strings"
	"syscall"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

// pry makes the test binary one that tries to look into another process, and prints what it could do.
const pry = "pry"

func pryInto(id string) {
	pid, err := strconv.Atoi(id)
	if err != nil {
		fmt.Println("the id:", err)
		return
	}
	dir := filepath.Join("/proc", id)
	for _, name := range []string{"environ", "mem", "maps", "auxv", "stack", "syscall"} {
		if file, err := os.Open(filepath.Join(dir, name)); err == nil {
			if _, err := file.Read(make([]byte, 1)); err == nil || name == "mem" { // nothing is mapped at its beginning
				fmt.Println("can read", name)
			}
			file.Close()
		}
	}
	for _, name := range []string{"fd", "map_files"} {
		if entries, err := os.ReadDir(filepath.Join(dir, name)); err == nil && len(entries) > 0 {
			fmt.Println("can list", name)
		}
	}
	for _, name := range []string{"exe", "cwd", "root"} {
		if _, err := os.Readlink(filepath.Join(dir, name)); err == nil {
			fmt.Println("can follow", name)
		}
	}
	if unix.PtraceSeize(pid) == nil {
		fmt.Println("can trace")
	}
	buffer := make([]byte, 1)
	_, err = unix.ProcessVMReadv(pid, []unix.Iovec{{Base: &buffer[0], Len: 1}}, []unix.RemoteIovec{{Base: 0x400000, Len: 1}}, 0)
	if err == nil || errors.Is(err, unix.EFAULT) {
		fmt.Println("can read memory")
	}
	if handle, err := unix.PidfdOpen(pid, 0); err == nil {
		if _, err := unix.PidfdGetfd(handle, 0, 0); err == nil {
			fmt.Println("can take descriptors")
		}
	}
}

// stranger is the user of a process that is to be kept out: no root, if that can be.
func stranger() *syscall.SysProcAttr {
	if os.Getuid() != 0 {
		return nil
	}
	return &syscall.SysProcAttr{Credential: &syscall.Credential{Uid: 65534, Gid: 65534}}
}

// forEverybody is a copy of the test binary that every user may start, and a folder for each of them.
func forEverybody(t *testing.T) (program, folder string) {
	t.Helper()
	self, err := os.Open("/proc/self/exe")
	if err != nil {
		t.Fatal(err)
	}
	defer self.Close()
	folder = shortDir(t)
	if err := os.Chmod(folder, 0o777); err != nil {
		t.Fatal(err)
	}
	program = filepath.Join(folder, "agenthost")
	out, err := os.OpenFile(program, os.O_CREATE|os.O_WRONLY, 0o755)
	if err != nil {
		t.Fatal(err)
	}
	if _, err := io.Copy(out, self); err != nil {
		t.Fatal(err)
	}
	if err := out.Close(); err != nil {
		t.Fatal(err)
	}
	return program, folder
}

func pried(t *testing.T, program string, pid int) string {
	t.Helper()
	other := exec.Command(program, pry, strconv.Itoa(pid))
	other.Env, other.SysProcAttr = []string{}, stranger()
	out, err := other.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	return string(out)
}

func TestNobodyOfItsUserLooksIntoTheHost(t *testing.T) {
	program, folder := forEverybody(t)
	// What is tried does work, on a process that does nothing about it.
	open := exec.Command("sleep", "1000")
	open.SysProcAttr = stranger()
	if err := open.Start(); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { _ = open.Process.Kill(); _ = open.Wait() })
	for _, want := range []string{"read environ", "read mem", "list fd", "follow exe", "can trace", "can take descriptors"} {
		if got := pried(t, program, open.Process.Pid); !strings.Contains(got, want) {
			t.Errorf("of any process one %q is missing, so that its absence says nothing:\n%s", want, got)
		}
	}

	config := filepath.Join(folder, "host.yaml")
	write := func(secrets string) {
		t.Helper()
		content := fmt.Sprintf("run_dir: %s/r\nstate_dir: %[1]s/s\nlisten: {grpc: '127.0.0.1:0', admin: '127.0.0.1:0'}\nplugins: {echo: {command: [%[1]s/agenthost, %s], secrets: {%s}}}\n",
			folder, strings.Join(badplugin.Command("good")[1:], ", "), secrets)
		if err := os.WriteFile(config, []byte(content), 0o644); err != nil {
			t.Fatal(err)
		}
	}
	write("one: 'env:FIRST_SECRET'")
	p := newProgram(t, "serve", "-c", config)
	p.cmd.Path, p.cmd.Args[0], p.cmd.SysProcAttr = program, program, stranger()
	p.cmd.Env = append(p.cmd.Env, "FIRST_SECRET=first value", "SECOND_SECRET=second value", "HOME="+folder)
	p.start(t)
	p.stderr.await(t, "agenthost is ready", 1)
	addresses := readyLine.FindStringSubmatch(p.stderr.String())
	host := &served{p, addresses[1], addresses[2]}

	if got := pried(t, program, p.cmd.Process.Pid); got != "" {
		t.Errorf("another process of the host's user\n%s", got)
	}
	if os.Getuid() == 0 { // who may look all the same, and finds nothing in what the host was started with
		shown, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", p.cmd.Process.Pid))
		if err != nil || strings.Contains(string(shown), "SECRET") || !strings.Contains(string(shown), "PATH=") {
			t.Errorf("the environment of the host shows %q, %v", shown, err)
		}
		if descriptors, err := filepath.Glob(fmt.Sprintf("/proc/%d/fd/*", p.cmd.Process.Pid)); err != nil || len(descriptors) == 0 {
			t.Errorf("%v: %v", descriptors, err)
		} else {
			for _, path := range descriptors {
				if target, _ := os.Readlink(path); strings.Contains(target, "memfd:environment") {
					t.Errorf("%s is %s", path, target)
				}
			}
		}
	}
	if name, err := os.ReadFile(fmt.Sprintf("/proc/%d/comm", p.cmd.Process.Pid)); string(name) != "agenthost\n" {
		t.Errorf("it is called %q, %v", name, err)
	}
	plugin := host.status(t).PID
	if own, err := os.ReadFile(fmt.Sprintf("/proc/%d/environ", plugin)); err != nil || strings.Contains(string(own), "SECRET=") {
		t.Errorf("the plugin got %q, %v", own, err)
	}

	// A secret that the configuration names only now was in the environment at the start.
	write("one: 'env:FIRST_SECRET', two: 'env:SECOND_SECRET'")
	agenthost(t, "reload", "--admin", host.admin).expect(t, 0, "", "")
	wait.Until(t, "the plugin was replaced", func() bool { s := host.status(t); return s.State == "running" && s.PID != plugin })
	var found string
	if err := filepath.WalkDir(filepath.Join(folder, "r"), func(path string, _ fs.DirEntry, err error) error {
		if filepath.Base(path) == "two" {
			content, err := os.ReadFile(path)
			found = string(content)
			return err
		}
		return err
	}); err != nil || found != "second value" {
		t.Errorf("the plugin's second secret is %q, %v", found, err)
	}
	// What the host reads of itself it can still read.
	for _, metric := range []string{"process_open_fds", "process_resident_memory_bytes", "process_max_fds", "process_start_time_seconds"} {
		if !strings.Contains(host.get(t, "/metrics"), "\n"+metric+" ") {
			t.Errorf("no metric %s", metric)
		}
	}
	if code := host.signal(t, syscall.SIGTERM); code != 0 {
		t.Errorf("the host ended with %d:\n%s", code, p.stderr)
	}
}
