// Package bqtest runs bqemulator, an emulator of BigQuery's REST API that others wrote, for the tests of this plugin. A
// Proxy before it adds what BigQuery does and the emulator does not, and goes wrong where a test wants it to.
package bqtest

import (
	"bufio"
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"regexp"
	"runtime"
	"syscall"
	"time"
)

// startLimit is for slow machines; Start returns as soon as the emulator answers.
const startLimit = 3 * time.Minute

// Emulator is a running emulator without any tables.
type Emulator struct {
	// Endpoint is its URL, on loopback.
	Endpoint string
	// Python is an interpreter with flytekit and its BigQuery plugin.
	Python string

	command *exec.Cmd
	drained chan struct{}
}

var listening = regexp.MustCompile(`running on (http://127\.0\.0\.1:\d+)`)

// Start installs the emulator, if need be, and starts it.
func Start() (*Emulator, error) {
	programs, err := install()
	if err != nil {
		return nil, err
	}
	e := &Emulator{
		Python:  filepath.Join(programs, "python"),
		command: exec.Command(filepath.Join(programs, "bqemulator"), "start", "--rest-port", "0", "--grpc-port", "0", "--ephemeral", "--log-level", "info"),
		drained: make(chan struct{}),
	}
	e.command.Env = append(os.Environ(), "HOME="+filepath.Join(filepath.Dir(programs), "home"), "BQEMU_ENABLE_FORMAT_EXTENSIONS=false")
	// It must not outlive a test that is killed. The signal is tied to the thread that starts it, which is the main one in
	// a TestMain and stays.
	e.command.SysProcAttr = &syscall.SysProcAttr{Pdeathsig: syscall.SIGKILL}
	out, err := e.command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	e.command.Stderr = e.command.Stdout
	if err := e.command.Start(); err != nil {
		return nil, fmt.Errorf("bqemulator does not start: %w", err)
	}
	return e, e.await(out)
}

func (e *Emulator) await(out io.Reader) error {
	found := make(chan string, 1)
	var said bytes.Buffer
	go func() {
		defer close(e.drained)
		for lines := bufio.NewScanner(out); lines.Scan(); {
			said.Write(append(lines.Bytes(), '\n'))
			if m := listening.FindSubmatch(bytes.ToLower(lines.Bytes())); m != nil {
				found <- string(m[1])
				break
			}
		}
		close(found)
		_, _ = io.Copy(io.Discard, out)
	}()
	select {
	case e.Endpoint = <-found:
	case <-time.After(startLimit):
	}
	if e.Endpoint == "" {
		e.Stop()
		return errors.New("bqemulator does not say where it listens; it says:\n" + said.String())
	}
	return nil
}

// Stop kills the emulator.
func (e *Emulator) Stop() {
	_ = e.command.Process.Kill()
	<-e.drained
	_ = e.command.Wait()
}

// install makes the virtual environment, and gives its folder of programs.
func install() (string, error) {
	_, here, _, _ := runtime.Caller(0)
	script := exec.Command(filepath.Join(filepath.Dir(here), "../../../scripts/venv"), "bqemulator")
	var said bytes.Buffer
	script.Stderr = &said
	programs, err := script.Output()
	if err != nil {
		return "", fmt.Errorf("scripts/venv bqemulator cannot install the emulator, which this test needs: %w\n%s", err, said.String())
	}
	return string(bytes.TrimSpace(programs)), nil
}

// Rows are the rows of a finished query's result: a list of columns each, as BigQuery writes them.
func (e *Emulator) Rows(ctx context.Context, project, job string) ([]any, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, fmt.Sprintf("%s/bigquery/v2/projects/%s/queries/%s", e.Endpoint, project, job), http.NoBody)
	if err != nil {
		return nil, err
	}
	client := &http.Client{Transport: &http.Transport{DisableKeepAlives: true}}
	response, err := client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	var answer struct {
		Rows []struct {
			F []struct{ V any }
		}
	}
	if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
		return nil, err
	}
	var rows []any
	for _, row := range answer.Rows {
		var columns []any
		for _, column := range row.F {
			columns = append(columns, column.V)
		}
		rows = append(rows, columns)
	}
	return rows, nil
}
