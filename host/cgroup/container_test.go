package cgroup_test

import (
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"testing"

	"github.com/agenthost/agenthost/host/cgroup"
)

// asContained makes the test binary write and keep two files of 64 MiB, one of them only in the cache, and print what its container
// uses, before and after it takes as much memory itself.
const asContained = "CGROUP_TEST_CONTAINED"

func actAsContained() {
	c, err := cgroup.FindContainer()
	if err != nil || c == nil {
		fmt.Println(c, err)
		os.Exit(1)
	}
	file, err := os.Create(os.Getenv(asContained))
	if err == nil {
		_, err = file.Write(make([]byte, 64<<20))
	}
	if err == nil {
		err = file.Sync() // dirty pages are not given back at once
	}
	used, errUsed := c.Used()
	taken := make([]byte, 64<<20)
	for i := range taken {
		taken[i] = 1
	}
	after, errAfter := c.Used()
	fmt.Println(c.Limit, used>>20, (after-used)>>20, err, errUsed, errAfter, taken[1])
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
	if before > 100 { // 64 MiB of its own, from which it wrote the file, and itself
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
