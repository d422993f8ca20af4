package cgroup_test

import (
	"errors"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/cgroup"
)

// asContained makes the test binary write a file of 64 MiB, which is then in the cache, and print what its container uses, before and
// after it takes as much memory itself.
const asContained = "CGROUP_TEST_CONTAINED"

func actAsContained() {
	c, err := cgroup.FindContainer()
	if err != nil || c == nil {
		fmt.Println(c, err)
		os.Exit(1)
	}
	file, err := os.Create(os.Getenv(asContained))
	if err == nil {
		part := make([]byte, 1<<20)
		for n := 0; n < 64 && err == nil; n++ {
			_, err = file.Write(part)
		}
	}
	if err == nil {
		err = file.Sync() // dirty pages are not given back at once
	}
	used, errUsed := c.Used()
	// Not by touching it from Go, of which the race detector keeps a record that is larger.
	taken, errTaken := unix.Mmap(-1, 0, 64<<20, unix.PROT_READ|unix.PROT_WRITE, unix.MAP_PRIVATE|unix.MAP_ANONYMOUS|unix.MAP_POPULATE)
	after, errAfter := c.Used()
	fmt.Println(c.Limit, used>>20, (after-used)>>20, errors.Join(err, errTaken), errUsed, errAfter, len(taken)>>20)
}

func TestAContainersUseIsWithoutTheCacheOfFiles(t *testing.T) {
	memory := memoryCgroup(t)
	program, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	if err := os.Mkdir(filepath.Join(memory.path, "inner"), 0o755); err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.Remove(filepath.Join(memory.path, "inner")) })
	memory.limit(t, "", 512<<20)
	folder, err := os.MkdirTemp("/var/tmp", "cached-") // /tmp may be in memory
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(folder) })
	run := exec.Command("sh", "-c", `echo $$ >"$0/inner/cgroup.procs" && exec "$1"`, memory.path, program)
	run.Env = append(os.Environ(), asContained+"="+filepath.Join(folder, "file"))
	out, err := run.CombinedOutput()
	if err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	var limit, before, grown, touched int
	var problems [3]string
	if _, err := fmt.Sscan(string(out), &limit, &before, &grown, &problems[0], &problems[1], &problems[2], &touched); err != nil {
		t.Fatalf("%v: %s", err, out)
	}
	if limit != 512<<20 || problems != [3]string{"<nil>", "<nil>", "<nil>"} {
		t.Errorf("it says %s", out)
	}
	if before > 60 { // what it needs itself, under the race detector
		t.Errorf("with 64 MiB of files in the cache it used %d MiB", before)
	}
	if grown < 55 || grown > 80 {
		t.Errorf("64 MiB more are %d MiB", grown)
	}
}

func TestWhatTheMachineCanGiveIsKnown(t *testing.T) {
	if free, err := cgroup.Available(); err != nil || free < 1<<20 {
		t.Errorf("%d, %v", free, err)
	}
}
