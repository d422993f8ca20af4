package verify_test

import (
	"encoding/json"
	"errors"
	"fmt"
	"net"
	"os"
	"path/filepath"
	"regexp"
	"strings"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/wait"
	"github.com/agenthost/agenthost/tools/verify"
)

const serviceFlag = "-listen-at"

// running is what a service tells of itself.
type running struct {
	Address, Temporary string
	PID                int
}

func told(t *testing.T, file string) (r running) {
	t.Helper()
	content, err := os.ReadFile(file)
	if err := errors.Join(err, json.Unmarshal(content, &r)); err != nil {
		t.Fatal(err)
	}
	return r
}

// serveForVerify is what this program does as a service: it tells a file about itself, and then listens at a port.
func serveForVerify() error {
	address := net.JoinHostPort("127.0.0.1", os.Args[2])
	whole, err := json.Marshal(running{address, os.TempDir(), os.Getpid()})
	if err := errors.Join(err, os.WriteFile(os.Args[3], whole, 0o600)); err != nil {
		return err
	}
	listener, err := net.Listen("tcp", address)
	if err != nil {
		return err
	}
	for {
		conn, err := listener.Accept()
		if err != nil {
			return err
		}
		if err := conn.Close(); err != nil {
			return err
		}
	}
}

var configured = regexp.MustCompile("^configure/accepts$")

func TestAServiceRunsBesideThePluginAndEndsAfterIt(t *testing.T) {
	file := filepath.Join(t.TempDir(), "told")
	subject := good("good")
	subject.Service = []string{os.Args[0], serviceFlag, "${PORT}", file}
	subject.Config = map[string]any{"threads": "${PORT}"} // which has to be a number
	report := run(t, subject, verify.Options{Select: configured})
	if !report.OK() || report.Count(verify.Passed) != 1 {
		t.Errorf("%+v", report.Checks)
	}
	of := told(t, file)
	if conn, err := net.Dial("tcp", of.Address); err == nil {
		t.Error("the service is still there", conn.Close())
	}
	if _, err := os.Stat(of.Temporary); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("its temporary directory %s is left: %v", of.Temporary, err)
	}
}

func TestAServiceThatIsNotThereIsToldBeforeAnythingOfThePlugin(t *testing.T) {
	for says, c := range map[string]struct {
		service []string
		timeout time.Duration
	}{
		"service: it exited with code 3; last output: no licence": {[]string{"sh", "-c", "echo no licence; exit 3"}, time.Minute},
		`service: ["sleep" "60"] does not listen at 127.0.0.1:`:   {[]string{"sleep", "60"}, 300 * time.Millisecond},
		"service: ": {[]string{"./nowhere"}, time.Minute},
	} {
		t.Run(fmt.Sprint(c.service), func(t *testing.T) {
			subject := good("good")
			subject.Service, subject.StartTimeout = c.service, verify.Duration(c.timeout)
			_, err := verify.Run(t.Context(), subject, verify.Options{Select: configured})
			if err == nil || !strings.HasPrefix(err.Error(), says) {
				t.Errorf("error = %v, want %q", err, says)
			}
		})
	}
}

func TestResultsWithoutTheServiceToTheEndAreNone(t *testing.T) {
	file := filepath.Join(t.TempDir(), "told")
	subject := good("good")
	subject.Service = []string{os.Args[0], serviceFlag, "${PORT}", file}
	_, err := verify.Run(t.Context(), subject, verify.Options{Select: configured, Progress: func(int, int, string) {
		pid := told(t, file).PID
		wait.Until(t, "somebody has learnt of the service's end", func() bool { return syscall.Kill(pid, syscall.SIGKILL) != nil })
	}})
	if err == nil || !strings.HasPrefix(err.Error(), "service: it was killed by SIGKILL") {
		t.Errorf("error = %v", err)
	}
}
