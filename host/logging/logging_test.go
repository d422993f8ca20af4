package logging_test

import (
	"errors"
	"fmt"
	"io"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/logging"
	"github.com/agenthost/agenthost/test/wait"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

// sink is a writer that fails while it is told to.
type sink struct {
	mu      sync.Mutex
	fails   error
	written strings.Builder
}

func (s *sink) Write(line []byte) (int, error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	if s.fails != nil {
		return 0, s.fails
	}
	return s.written.Write(line)
}

func (s *sink) fail(err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	s.fails = err
}

func (s *sink) text() string {
	s.mu.Lock()
	defer s.mu.Unlock()
	return s.written.String()
}

func lost(log *logging.Log) int64 {
	count, _ := log.Lost()
	return count
}

func TestWhatWasLoggedIsWrittenInOrderBeforeTheEnd(t *testing.T) {
	for format, want := range map[string]string{"text": "level=INFO msg=line n=99", "json": `"level":"INFO","msg":"line","n":99`} {
		out := &sink{}
		log := logging.New(config.Log{Level: "info", Format: format}, out)
		log.Debug("not this")
		for n := range 100 {
			log.Info("line", "n", n)
		}
		log.Close(time.Minute)
		lines := strings.Split(strings.TrimSuffix(out.text(), "\n"), "\n")
		if len(lines) != 100 || !strings.Contains(lines[99], want) || !strings.Contains(lines[0], "n") {
			t.Errorf("%s: %d lines, the last is %q", format, len(lines), lines[len(lines)-1])
		}
		if count, why := log.Lost(); count != 0 || why != "" {
			t.Errorf("%d lines were lost: %s", count, why)
		}
	}
}

func TestLinesThatCannotBeWrittenAreToldWhenOthersCan(t *testing.T) {
	out := &sink{}
	log := logging.New(config.Log{Level: "info", Format: "text"}, out)
	out.fail(errors.New("no space left on device"))
	for range 3 {
		log.Info("into the void")
	}
	wait.Until(t, "3 lines are lost", func() bool { return lost(log) == 3 })
	if _, why := log.Lost(); why != "no space left on device" {
		t.Errorf("the reason is %q", why)
	}
	out.fail(nil)
	log.Info("room again")
	const told = `level=WARN msg="lines of this log were lost here" lines=3 error="no space left on device"`
	wait.Until(t, "the log tells of them", func() bool { return strings.Contains(out.text(), told) })
	if count, why := log.Lost(); count != 3 || why != "" {
		t.Errorf("afterwards %d lines are lost: %q", count, why)
	}
	log.Info("and on")
	log.Close(time.Minute)
	if text := out.text(); strings.Count(text, "were lost") != 1 || !strings.Contains(text, "and on") {
		t.Errorf("the log is\n%s", text)
	}
}

// A reader that is stopped is no reason for the host to stop.
func TestNobodyWaitsForAReaderThatDoesNotRead(t *testing.T) {
	reader, writer := io.Pipe()
	log := logging.New(config.Log{Level: "info", Format: "text"}, writer)
	text := strings.Repeat("x", 64<<10)
	for n := 0; lost(log) < 10; n++ { // would hang here
		log.Info(text, "n", n)
	}
	if _, why := log.Lost(); !strings.Contains(why, "does not read") {
		t.Errorf("the reason is %q", why)
	}
	log.Close(time.Millisecond) // a stuck writer does not hold up the end
	told := make(chan string)
	go func() {
		all, err := io.ReadAll(reader)
		told <- fmt.Sprint(string(all), err)
	}()
	log.Close(time.Minute)
	writer.Close()
	if all := <-told; !strings.Contains(all, "n=0\n") {
		t.Errorf("what was queued was not written: %.100q", all)
	}
}
