package systems

import (
	"fmt"
	"net/http"
	"os/exec"
	"path/filepath"
	"regexp"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/agenthost/agenthost/host/internal/hosttest"
)

// maven builds the plugin in Java, with its tests' classes, once.
var maven = sync.OnceValue(func() error {
	build := exec.Command("mvn", "--quiet", "--batch-mode", "--projects", "plugins/snowflake", "--also-make", "package", "-DskipTests")
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
	s.swap(t, tasks, 1, system, jobs) // their connector logs in for each call: many creations at once take more than Flyte's deadline
}
