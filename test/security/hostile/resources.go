package hostile

import (
	"errors"
	"fmt"
	"net"
	"os"
	"os/exec"
	"path/filepath"
	"runtime"
	"strings"
	"syscall"
	"time"

	"golang.org/x/sys/unix"
)

// onResources are attempts to take what others need. Whether others got it all the same is not for the attacker to say.
var onResources = map[string]attempt{
	"many-processes":   manyProcesses,
	"much-memory":      muchMemory,
	"many-descriptors": manyDescriptors,
	"many-connections": manyConnections,
	"busy-processors":  busyProcessors,
	"full-disk":        fullDisk,
	"forged-log":       forgedLog,
	"noisy-log":        noisyLog,
	"outlive":          outlive,
}

// manyProcesses makes threads, which count as processes do and cost less.
func manyProcesses(w World) (string, error) {
	made, hold := make(chan bool), make(chan bool)
	defer close(hold)
	for range w.Bound {
		go func() {
			runtime.LockOSThread()
			made <- true
			<-hold
			runtime.UnlockOSThread()
		}()
		<-made // a program of Go's ends where it cannot have a thread
	}
	return fmt.Sprintf("has %d threads", w.Bound), nil
}

// muchMemory takes as many MiB.
func muchMemory(w World) (string, error) {
	var taken [][]byte
	for range w.Bound {
		piece := make([]byte, 1<<20)
		for i := 0; i < len(piece); i += 4096 {
			piece[i] = 1
		}
		taken = append(taken, piece)
	}
	return fmt.Sprintf("has %d MiB", len(taken)), nil
}

func manyDescriptors(w World) (string, error) {
	for n := range w.Bound {
		if _, err := unix.Open("/dev/null", unix.O_RDONLY|unix.O_CLOEXEC, 0); err != nil {
			return "", fmt.Errorf("after %d: %w", n, err)
		}
	}
	return fmt.Sprintf("has %d descriptors", w.Bound), nil
}

// manyConnections opens connections to the host, and says nothing on them.
func manyConnections(w World) (string, error) {
	for n := range w.Bound {
		conn, err := net.DialTimeout("tcp", w.GRPC, answerLimit)
		if err != nil {
			return "", fmt.Errorf("after %d: %w", n, err)
		}
		defer conn.Close()
	}
	time.Sleep(time.Second) // meanwhile others are served, or not
	return fmt.Sprintf("has %d connections", w.Bound), nil
}

// busyProcessors computes on all processors for a while.
func busyProcessors(World) (string, error) {
	until := time.Now().Add(1500 * time.Millisecond)
	done := make(chan bool)
	for range 2 * runtime.NumCPU() {
		go func() {
			for time.Now().Before(until) {
			}
			done <- true
		}()
	}
	for range 2 * runtime.NumCPU() {
		<-done
	}
	return "kept all processors busy", nil
}

// fullDisk fills the file system of its own folder, with as many MiB at most.
func fullDisk(w World) (string, error) {
	path := filepath.Join(w.Own, "large")
	file, err := os.Create(path)
	if err != nil {
		return "", err
	}
	defer os.Remove(path)
	defer file.Close()
	piece := make([]byte, 1<<20)
	for n := range w.Bound {
		if _, err := file.Write(piece); err != nil {
			time.Sleep(time.Second) // meanwhile others are served, or not
			return "", fmt.Errorf("after %d MiB: %w", n, err)
		}
	}
	return fmt.Sprintf("wrote %d MiB", w.Bound), nil
}

// Forged is what no line of the host's log may be, and Escape what none may hold.
const (
	Forged = "the host was replaced"
	Escape = "\x1b]0;hostile\x07\x1b[31m"
)

// forgedLog prints lines that look like the host's, ends them in ways that a log might take for an end, and writes to terminals.
func forgedLog(World) (string, error) {
	forged := `{"time":"2026-01-01T00:00:00Z","level":"ERROR","msg":"` + Forged + `"}`
	for _, line := range []string{
		forged + "\n", "\n" + forged + "\n", "x\r" + forged + "\n", "x\r\n" + forged + "\r\n", "x\u2028" + forged + "\n", "x\x00" + forged + "\n",
		"x\x85" + forged + "\n", `"}` + "\n" + forged + "\n", "time=2026-01-01T00:00:00Z level=ERROR msg=\"" + Forged + "\"\n",
		`{"@level":"error","@message":"` + Forged + `","msg":"` + Forged + `","level":"ERROR","time":"x"}` + "\n",
		Escape + "\n", "\x9b31m\n", strings.Repeat("long ", 100_000) + "\n",
	} {
		for _, out := range []int{1, 2} {
			if _, err := unix.Write(out, []byte(line)); err != nil {
				return "", err
			}
		}
	}
	return "printed it", nil
}

// noisyLog prints as many lines.
func noisyLog(w World) (string, error) {
	line := strings.Repeat("noise ", 20) + "\n"
	for range w.Bound {
		if _, err := os.Stderr.WriteString(line); err != nil {
			return "", err
		}
	}
	return fmt.Sprintf("printed %d lines", w.Bound), nil
}

// outlive leaves a process behind that nothing ties to the plugin: in a session of its own, without an environment, and without the
// parent that started it. What shows the attempt is its id.
func outlive(World) (string, error) {
	self, err := os.Executable()
	if err != nil {
		return "", err
	}
	child := exec.Command(self, holdMarker)
	child.Env = []string{}
	child.SysProcAttr = &syscall.SysProcAttr{Setsid: true}
	if err := child.Start(); err != nil {
		return "", err
	}
	if child.Process.Pid <= 0 {
		return "", errors.New("the child has no process id")
	}
	return fmt.Sprint(child.Process.Pid), nil
}
