package creation

import (
	"context"
	"crypto/tls"
	"crypto/x509"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/agenthost/agenthost/test/propeller"
)

// emulated is a real plugin whose jobs are those of an emulator.
type emulated struct {
	// program is the emulator: it prints a line of JSON with its url when it is ready, and tells at /answers what each of its jobs
	// answered, by its id.
	program func(w *world) *exec.Cmd
	// command and config are the plugin's, and secret the name of the secret that it needs.
	command func(o Options) []string
	config  func(w *world, url string) map[string]any
	secret  string
	// id is where a task's custom info has its job's.
	id string
}

var emulators = map[guest]emulated{
	bigQuery: {
		program: func(w *world) *exec.Cmd { return exec.Command(filepath.Join(w.Emulated, ".cache/emulators/bigquery")) },
		command: func(o Options) []string { return []string{filepath.Join(o.Emulated, "bin/plugins/bigquery/bigquery")} },
		config:  func(_ *world, url string) map[string]any { return map[string]any{"endpoint": url, "anonymous": true} },
		id:      "job_id",
	},
	databricks: {
		program: func(w *world) *exec.Cmd {
			return exec.Command(filepath.Join(w.Emulated, ".cache/emulators/databricks"), "-work", "-authority", w.path("authority.pem"), "-token", secret+"=chaos")
		},
		command: func(o Options) []string {
			return []string{filepath.Join(o.Emulated, "bin/plugins/databricks/databricks")}
		},
		config: func(w *world, url string) map[string]any {
			return map[string]any{"instance": strings.TrimPrefix(url, "https://"), "ca_file": w.path("authority.pem")}
		},
		secret: "flyte_databricks_access_token",
		id:     "run_id",
	},
	snowflake: {
		program: func(w *world) *exec.Cmd {
			folder := filepath.Join(w.Emulated, "plugins/snowflake")
			command := java("-cp", filepath.Join(folder, "target/test-classes")+":"+filepath.Join(folder, "target/snowflake.jar"),
				"io.agenthost.snowflake.Snow", "0")
			made := exec.Command(command[0], command[1:]...)
			made.Dir = folder
			return made
		},
		command: func(o Options) []string {
			return java("-jar", filepath.Join(o.Emulated, "plugins/snowflake/target/snowflake.jar"))
		},
		config: func(_ *world, url string) map[string]any {
			return map[string]any{"url": url, "authenticator": "password"}
		},
		secret: "snowflake_password",
		id:     "query_id",
	},
}

// secret is by what plugins show who they are.
const secret = "of-the-chaos"

// java is a command that starts soon.
func java(arguments ...string) []string {
	return append([]string{"java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m"}, arguments...)
}

// emulator is one that runs.
type emulator struct {
	url     string
	command *exec.Cmd
	drained chan struct{}
	client  http.Client
}

// emulate starts the emulators of the scenario's plugins.
func (w *world) emulate() error {
	if err := os.WriteFile(w.path("secret"), []byte(secret), 0o600); err != nil {
		return err
	}
	var starting sync.WaitGroup
	var failures []error
	for _, p := range w.scenario.plugins {
		if !p.emulated() {
			continue
		}
		starting.Go(func() {
			e, err := startEmulator(emulators[p.guest].program(w), w.path(p.name+"-emulator.log"))
			w.mu.Lock()
			defer w.mu.Unlock()
			if err != nil {
				failures = append(failures, fmt.Errorf("the emulator of %s does not start: %w", p.name, err))
				return
			}
			w.emulators[p.guest] = e
		})
	}
	starting.Wait()
	if err := errors.Join(failures...); err != nil {
		return err
	}
	if e := w.emulators[databricks]; e != nil {
		return e.trust(w.path("authority.pem"))
	}
	return nil
}

// startEmulator starts one, whose log goes to a file.
func startEmulator(command *exec.Cmd, file string) (*emulator, error) {
	log, err := os.Create(file)
	if err != nil {
		return nil, err
	}
	defer log.Close()
	command.Stderr = log
	command.SysProcAttr = &syscall.SysProcAttr{Setpgid: true}
	if _, err := command.StdinPipe(); err != nil { // it is closed when this process ends, however it does
		return nil, err
	}
	said, err := command.StdoutPipe()
	if err != nil {
		return nil, err
	}
	if err := command.Start(); err != nil {
		return nil, err
	}
	e := &emulator{command: command, drained: make(chan struct{})}
	tooLong := time.AfterFunc(hostLimit, e.kill)
	var ready struct{ URL string }
	err = json.NewDecoder(said).Decode(&ready)
	tooLong.Stop()
	e.url = ready.URL
	go func() {
		defer close(e.drained)
		_, _ = io.Copy(io.Discard, said)
	}()
	if err != nil {
		e.stop()
		return nil, fmt.Errorf("it does not say where it is: %w", err)
	}
	return e, nil
}

// trust has the client trust the certificate in a file.
func (e *emulator) trust(file string) error {
	content, err := os.ReadFile(file)
	if err != nil {
		return err
	}
	roots := x509.NewCertPool()
	if !roots.AppendCertsFromPEM(content) {
		return fmt.Errorf("%s has no certificate", file)
	}
	e.client.Transport = &http.Transport{TLSClientConfig: &tls.Config{RootCAs: roots, MinVersion: tls.VersionTLS12}}
	return nil
}

// answers are those of all jobs, by their ids.
func (e *emulator) answers(ctx context.Context) (map[string]answer, error) {
	request, err := http.NewRequestWithContext(ctx, http.MethodGet, e.url+"/answers", http.NoBody)
	if err != nil {
		return nil, err
	}
	request.Close = true
	response, err := e.client.Do(request)
	if err != nil {
		return nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return nil, fmt.Errorf("%s: %s", request.URL, response.Status)
	}
	var answers map[string]answer
	return answers, json.NewDecoder(response.Body).Decode(&answers)
}

// kill ends the emulator with all that it has started.
func (e *emulator) kill() { _ = syscall.Kill(-e.command.Process.Pid, syscall.SIGKILL) }

func (e *emulator) stop() {
	e.kill()
	<-e.drained
	_ = e.command.Wait() // it was killed
}

// answer is a job's, or one that a task wants: its number and its text.
type answer [2]string

// jobShown is the id of the job that Flyte shows of a task, "" where it shows none.
func jobShown(result propeller.Result, key string) string {
	if result.Final.Info == nil {
		return ""
	}
	return result.Final.Info.CustomInfo.GetFields()[key].GetStringValue()
}

// judgeEmulated counts the jobs that the plugin's emulator has, which the ledger knows nothing of: each is told from others by what it
// answered. A task that succeeded was told of the one that answered it.
func (w *world) judgeEmulated(ctx context.Context, r *report) error {
	answers, err := w.emulators[r.plugin.guest].answers(ctx)
	if err != nil {
		return fmt.Errorf("the jobs of %s cannot be counted: %w", r.plugin.name, err)
	}
	jobs := map[answer]int{}
	for _, given := range answers {
		jobs[given]++
	}
	warm, counted := 1, 0
	for _, t := range w.tasks {
		if t.plugin != r.plugin {
			continue
		}
		wanted := t.answer()
		made := jobs[wanted]
		counted += made
		r.doubled += max(0, made-1)
		if t.result.Phase != propeller.Succeeded {
			r.orphaned += min(made, 1)
			continue
		}
		if id := jobShown(t.result, emulators[r.plugin.guest].id); answers[id] != wanted {
			r.violate("%s has the job %q, which answered %q", t.name(), id, answers[id])
		}
	}
	if strange := len(answers) - counted - warm; strange != 0 {
		r.violate("it has %d jobs that are no task's", strange)
	}
	return nil
}
