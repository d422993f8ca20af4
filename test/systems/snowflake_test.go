package systems

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"testing"
	"time"

	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/propeller"
	"github.com/agenthost/agenthost/test/wait"
)

// maven builds the plugin in Java, with its tests' classes, once.
var maven = sync.OnceValue(func() error {
	build := exec.Command("scripts/java-program", "plugins/snowflake")
	build.Dir = hosttest.Root()
	if out, err := build.CombinedOutput(); err != nil {
		return fmt.Errorf("%s: %w\n%s", build, err, out)
	}
	return nil
})

// snowflake is fakesnow, with what it lacks, and either plugin for it. flytekit's connector can only be told Snowflake's own
// addresses: it finds the emulator through a proxy.
func snowflake(t *testing.T) (s sides, system *held, jobs func() int) {
	t.Helper()
	if err := maven(); err != nil {
		t.Fatal(err)
	}
	_ = venv(t, "fakesnow") // which Snow starts
	jar := hosttest.Root("plugins", "snowflake", "target", "snowflake.jar")
	port := freePort(t)
	emulator := exec.Command("java", "-cp", hosttest.Root("plugins", "snowflake", "target", "test-classes")+":"+jar,
		"io.agenthost.snowflake.Snow", strconv.Itoa(port))
	emulator.Dir = hosttest.Root("plugins", "snowflake")
	server(t, port, emulator)
	emulated := "http://127.0.0.1:" + strconv.Itoa(port)
	isPoll := func(r *http.Request) bool { return strings.HasPrefix(r.URL.Path, "/monitoring/queries/") }
	system = hold(t, emulated, isPoll, `"SUCCESS"`, `"RUNNING"`)

	pem := privateKey(t)
	secrets := map[string]any{"snowflake_private_key": secretFile(t, pem)}
	s = sides{
		ours: map[string]any{
			"command": []string{"java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-Xmx256m", "-jar", jar},
			"config":  map[string]any{"url": system.url, "call_timeout": "60s"},
			"secrets": secrets,
		},
		theirs: map[string]any{
			"command": []string{filepath.Join(venv(t, "connectors"), "agenthost-flytekit"), "--task-types", "snowflake"},
			"env":     disguise(t, "snowflakecomputing.com", system.url),
			"secrets": secrets,
		},
		secrets:  lines(pem),
		volatile: regexp.MustCompile(`[0-9a-f]{8}-[0-9a-f-]{27}`),
		failing: map[string]string{ // without a word
			"bad-sql":       "failed to run the job: ",
			"no-such-table": "failed to run the job: ",
		},
		intended: map[string]string{
			"bad-sql: links":       "flytekit's connector gives no link to a query that failed, where one is wanted most",
			"no-such-table: links": "likewise",
		},
	}
	jobs = func() int {
		var started struct{ Queries int }
		getJSON(t, emulated+"/started", &started)
		return started.Queries
	}
	return s, system, jobs
}

func TestSnowflakeTasksSeeNoDifference(t *testing.T) {
	s, system, _ := snowflake(t)
	system.released.Store(true)
	s.compare(t, compile(t, venv(t, "connectors"), "snowflake_tasks"))
}

func TestSnowflakeQueriesOfFlytekitsConnectorAreFinishedByOurs(t *testing.T) {
	s, system, jobs := snowflake(t)
	tasks := succeeding(compile(t, venv(t, "connectors"), "snowflake_tasks"))
	s.swap(t, tasks, 1, system, jobs) // their connector logs in for each call, which takes its time
}

// The plugin dies when Snowflake has taken a query, and neither has answered nor lists it yet: the host repeats the creation on
// the plugin's next process, by another session.
func TestSnowflakeQueryIsOneWhenThePluginDiesBeforeTheAnswer(t *testing.T) {
	s, system, jobs := snowflake(t)
	system.released.Store(true)
	getJSON(t, system.url+"/unlisted", &struct{}{})
	address, withheld := withhold(t, system.url, `"333334"`)
	s.ours["config"].(map[string]any)["url"] = address //nolint:forcetypeassert // it is made above
	h := startHost(t, one("system", s.ours))
	k := succeeding(compile(t, venv(t, "connectors"), "snowflake_tasks"))[0]

	flyte := propeller.Start(t.Context(), propeller.Options{
		Flyte: propeller.V1, Endpoint: h.Endpoint(), PollInterval: time.Second, Resync: 100 * time.Millisecond, Round: 50 * time.Millisecond,
		Timeouts: map[string]time.Duration{"CreateTask": startLimit}, // in which a process in Java starts, too
	})
	t.Cleanup(flyte.Close)

	execution := k.submit(flyte, "cut-off", t.TempDir())
	wait.Until(t, "Snowflake has taken the query", func() bool {
		select {
		case <-withheld:
			return true
		default:
			return false
		}
	})
	if err := syscall.Kill(-pid(t, h), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	if result := k.end(t, execution); result.Attempts != 1 {
		t.Errorf("%s took %d attempts; its calls: %v", k.Name, result.Attempts, result.Calls)
	}
	if made := jobs(); made != 1 {
		t.Errorf("%d queries were made for one attempt", made)
	}
}

// withhold is a proxy in front of a system that keeps the first answer with a text to itself, until whoever asked is gone.
func withhold(t *testing.T, target, text string) (address string, withheld <-chan struct{}) {
	t.Helper()
	came := make(chan struct{})
	var once sync.Once
	address = rewriting(t, target, func(request *http.Request, body []byte) []byte {
		if bytes.Contains(body, []byte(text)) {
			once.Do(func() {
				close(came)
				<-request.Context().Done()
			})
		}
		return body
	})
	return address, came
}

// pid is the process of a host's only plugin.
func pid(t *testing.T, h *hosttest.Host) int {
	t.Helper()
	var status struct {
		Plugins []struct{ PID int }
	}
	if err := json.Unmarshal([]byte(h.Ask(t, "/status")), &status); err != nil {
		t.Fatal(err)
	}
	if len(status.Plugins) != 1 || status.Plugins[0].PID == 0 {
		t.Fatalf("there should be one plugin that runs: %+v", status)
	}
	return status.Plugins[0].PID
}
