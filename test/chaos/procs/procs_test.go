package procs_test

import (
	"os"
	"os/exec"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/chaos/procs"
)

func TestAMarkedProcessIsFoundUntilItHasEnded(t *testing.T) {
	mark := "of-this-test-" + time.Now().Format("150405.000000")
	command := exec.Command("/bin/sh", "-c", "read x", "name", "-flag", "value")
	command.Env = append(os.Environ(), procs.Variable+"="+mark)
	stdin, err := command.StdinPipe()
	if err != nil {
		t.Fatal(err)
	}
	if err := command.Start(); err != nil {
		t.Fatal(err)
	}
	found := procs.Marked(mark)
	if len(found) != 1 || found[0].PID != command.Process.Pid || found[0].Parent != os.Getpid() {
		t.Fatalf("found %+v, want process %d of parent %d", found, command.Process.Pid, os.Getpid())
	}
	if got := found[0].Argument("-flag"); got != "value" {
		t.Errorf("what follows -flag is %q", got)
	}
	if others := procs.Marked(mark + "0"); len(others) != 0 {
		t.Errorf("another mark found %+v", others)
	}
	stdin.Close()
	command.Wait()
	if left := procs.Marked(mark); len(left) != 0 {
		t.Errorf("after its end found %+v", left)
	}
}
