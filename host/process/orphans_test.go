package process_test

import (
	"context"
	"fmt"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/test/wait"
)

// As a program has to that adopts orphans.
func init() { runtime.LockOSThread() }

// adopter makes the test binary one that adopts orphans. Its first argument says what it does with a folder, the second.
const adopter = "PROCESS_TEST_ADOPTER"

func actAsAdopter() {
	code, err := process.AdoptOrphans(func() int {
		if err := adoptions[os.Args[1]](os.Args[2]); err != nil {
			fmt.Println(err)
			return 1
		}
		return 0
	})
	if err != nil {
		fmt.Println(err)
		os.Exit(2)
	}
	os.Exit(code)
}

var adoptions = map[string]func(folder string) error{
	"end": func(folder string) error {
		p, err := leader(folder, `setsid env -i /bin/sh -c 'echo $$ >"$0"; exec sleep 1000' "$RUN_DIR/away" & setsid sh -c 'setsid sh -c "echo \$\$ >$RUN_DIR/farther; exec sleep 1000" & wait' & wait`)
		if err != nil {
			return err
		}
		left := append([]int{}, awaitPID(folder, "away"), awaitPID(folder, "farther"))
		p.Stop(context.Background(), nil)
		for _, pid := range left {
			if !gone(pid) {
				return fmt.Errorf("process %d outlived its leader", pid)
			}
		}
		if killed := p.Left().Killed; len(killed) != 3 || !strings.Contains(strings.Join(killed, " "), fmt.Sprintf("sleep (%d)", left[0])) {
			return fmt.Errorf("said to have been left behind: %v", killed)
		}
		return nil
	},
	"living": func(folder string) error {
		// Orphans already, while their leader lives.
		p, err := leader(folder, `(sh -c 'echo $$ >"$RUN_DIR/inside"; exec sleep 1000' &); (setsid sh -c 'echo $$ >"$RUN_DIR/named"; exec sleep 1000' &);
			(setsid env -i /bin/sh -c 'echo $$ >"$0"; exec sleep 1000' "$RUN_DIR/away" &); exec sleep 1000`)
		if err != nil {
			return err
		}
		inside, named, away := awaitPID(folder, "inside"), awaitPID(folder, "named"), awaitPID(folder, "away")
		for adopted := false; !adopted; { // the shells between them and this process have ended
			adopted = true
			for _, pid := range []int{inside, named, away} {
				adopted = adopted && parent(pid) == os.Getpid()
			}
		}
		other, err := leader(folder, `exit 0`)
		if err != nil {
			return err
		}
		<-other.Done()
		if gone(inside) || gone(named) || !gone(away) {
			return fmt.Errorf("when another ended: in the group gone %v, with the run directory gone %v; of no known origin gone %v", gone(inside), gone(named), gone(away))
		}
		p.Stop(context.Background(), nil)
		if !gone(inside) || !gone(named) {
			return fmt.Errorf("after the end: in the group gone %v, with the run directory gone %v", gone(inside), gone(named))
		}
		return nil
	},
	"others": func(folder string) error {
		// Orphans end all the time, and everybody learns how their own children ended.
		p, err := leader(folder, `while :; do (true &); (setsid sleep 0.01 &); sleep 0.005; done`)
		if err != nil {
			return err
		}
		var all sync.WaitGroup
		wrong := make(chan error, 1000)
		for range 4 {
			all.Go(func() {
				for range 50 {
					if err := exec.Command("/bin/sh", "-c", "exit 7").Run(); err == nil || err.Error() != "exit status 7" {
						wrong <- err
					}
				}
			})
		}
		all.Go(func() {
			for range 20 {
				short, err := leader(folder, "exit 5")
				if err != nil {
					wrong <- err
					return
				}
				<-short.Done()
				if got := short.Exit().Code; got != 5 {
					wrong <- fmt.Errorf("a process that exited with 5 %v", short.Exit())
				}
			}
		})
		all.Wait()
		p.Stop(context.Background(), nil)
		close(wrong)
		return <-wrong
	},
	"leaves": func(folder string) error {
		// Started by nothing of this package, as a library does.
		err := exec.Command("/bin/sh", "-c", `(setsid env -i /bin/sh -c 'echo $$ >"$0"; exec sleep 1000' "$0/away" >/dev/null 2>&1 &)`, folder).Run()
		awaitPID(folder, "away")
		return err
	},
	"nothing": func(string) error { return nil },
}

func leader(folder, script string) (*process.Process, error) {
	p := process.New(process.Config{
		Name: "leader", Command: []string{"/bin/sh", "-c", script}, Env: []string{"PATH=" + os.Getenv("PATH"), "RUN_DIR=" + folder}, RunDir: folder,
	})
	return p, p.Start(context.Background())
}

// awaitPID is for the program, which its test ends if it hangs.
func awaitPID(folder, name string) (pid int) {
	for pid == 0 {
		content, _ := os.ReadFile(filepath.Join(folder, name)) // it comes
		_, _ = fmt.Sscan(string(content), &pid)
		time.Sleep(time.Millisecond)
	}
	return pid
}

func parent(pid int) (parent int) {
	stat, _ := os.ReadFile(fmt.Sprintf("/proc/%d/stat", pid)) // none: no parent either
	_, rest, _ := strings.Cut(string(stat), ") ")
	var state string
	_, _ = fmt.Sscan(rest, &state, &parent)
	return parent
}

func adopt(t *testing.T, what string, before ...string) (folder string) {
	t.Helper()
	folder = t.TempDir()
	self, err := os.Executable()
	if err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithTimeout(t.Context(), 20*time.Second)
	defer cancel()
	command := append(append([]string{}, before...), self, what, folder)
	program := exec.CommandContext(ctx, command[0], command[1:]...)
	program.Env = append(os.Environ(), adopter+"=1")
	if out, err := program.CombinedOutput(); err != nil {
		t.Errorf("%v: %s", err, out)
	}
	return folder
}

func TestWhatAProcessLeavesBehindEndsWithItHoweverItHides(t *testing.T) { adopt(t, "end") }

func TestAnOrphanLivesAsLongAsTheProcessItBelongsTo(t *testing.T) { adopt(t, "living") }

func TestAdoptingOrphansTakesNobodysChildren(t *testing.T) { adopt(t, "others") }

func TestNoOrphanOutlivesWhoAdoptsIt(t *testing.T) {
	folder := adopt(t, "leaves")
	if pid := readPID(t, filepath.Join(folder, "away")); !gone(pid) {
		t.Errorf("process %d outlived it", pid)
	}
}

func TestChildrenFromBeforeAreNoOrphans(t *testing.T) {
	folder := adopt(t, "nothing", "/bin/sh", "-c", `sleep 1000 >/dev/null 2>&1 & echo $! >"$3/helper"; exec "$@"`, "sh")
	helper := readPID(t, filepath.Join(folder, "helper"))
	if gone(helper) {
		t.Error("a helper that was started beside the program was killed")
	}
	t.Cleanup(func() {
		kill(t, helper, 9)
		wait.Until(t, "the helper is gone", func() bool { return gone(helper) })
	})
}

func TestOrphansGoToTheFirstThreadOnly(t *testing.T) {
	if _, err := process.AdoptOrphans(func() int { return 0 }); err == nil {
		t.Error("they were adopted by another thread, which would have taken everybody's children")
	}
}
