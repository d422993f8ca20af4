package main

import (
	"encoding/json"
	"fmt"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"go.yaml.in/yaml/v3"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/tools/flyteconfig"
)

// nowhere is where no host answers.
const nowhere = "127.0.0.1:1"

// README's block is what the command prints, word for word.
func TestReadmeShowsWhatFlyteIsToBeTold(t *testing.T) {
	readme, err := os.ReadFile(filepath.Join("..", "..", "README.md"))
	if err != nil {
		t.Fatal(err)
	}
	t.Chdir(t.TempDir()) // where no configuration is found
	command := "agenthost flyte-config --task-types bigquery_query_job_task,duckdb_query --sync-task-types chatgpt"
	got := agenthost(t, strings.Fields(command)[1:]...)
	if block := "```console\n$ " + command + "\n```\n\n```yaml\n" + got.stdout + "```\n"; got.code != 0 || !strings.Contains(string(readme), block) {
		t.Errorf("README.md has to show this:\n%s%s", block, got.stderr)
	}
}

func TestTheTypesAreThoseOfTheRunningHost(t *testing.T) {
	address := serveStatus(t, true, twoPlugins)
	got := agenthost(t, "flyte-config", "--admin", address, "-o", "json")
	var printed printedConfig
	if err := json.Unmarshal([]byte(got.stdout), &printed); err != nil || got.code != 0 {
		t.Fatalf("%v: %+v", err, got)
	}
	for _, want := range []string{"duckdb_query"} {
		if !strings.Contains(fmt.Sprint(printed.Types), want) {
			t.Errorf("%s is not among %v", want, printed.Types)
		}
	}
	if printed.Flyte != "1.16" || printed.Form != flyteconfig.FormConfig || len(printed.Settings) == 0 {
		t.Errorf("printed %+v", printed)
	}
	var document map[string]any
	if err := yaml.Unmarshal([]byte(agenthost(t, "flyte-config", "--admin", address).stdout), &document); err != nil {
		t.Error(err)
	}
}

func TestWithoutAHostItsPluginsAreStartedAndAsked(t *testing.T) {
	file := writeFile(t, "host.yaml", fmt.Sprintf("listen: {grpc: '0.0.0.0:8123'}\nrun_dir: %s/r\nplugins: {echo: {command: %s}}\n", shortDir(t), jsonList(badplugin.Command("good"))))
	got := agenthost(t, "flyte-config", "-c", file, "--start", "--flyte", "2")
	got.expect(t, 0, "echo_task", "starting echo")
	got.expect(t, 0, "endpoint: dns:///agenthost.flyte.svc.cluster.local:8123", "")
	if strings.Contains(got.stdout, "echo_sync") {
		t.Errorf("Flyte 2 is told of a sync type:\n%s", got.stdout)
	}
	agenthost(t, "flyte-config", "-c", file, "--start").expect(t, 0, "- ExecuteTaskSync: 1m", "")
	agenthost(t, "flyte-config", "-c", file, "--admin", nowhere).expect(t, exitFailed, "", "--start starts the plugins of the configuration")
}

// What keeps Flyte's calls out of the host is said.
func TestAHostThatRefusesFlyteIsToldOf(t *testing.T) {
	file := writeFile(t, "host.yaml", "plugins: {}\naccess: {rules: [{certificate: CN=flyte, may: [run, poll, delete, list]}]}\nlisten: {tls: {cert: /a.crt, key: /a.key, client_ca: /ca.crt}}\n")
	got := agenthost(t, "flyte-config", "-c", file, "--task-types", "a")
	got.expect(t, 0, "insecure: false", "no rule of access.rules is for anyone")
	got.expect(t, 0, "", "Flyte can show none")
	agenthost(t, "flyte-config", "-c", file, "--task-types", "a", "--tls=false").expect(t, 0, "insecure: true", "")
}

func TestCheckSaysWhatAFileLacks(t *testing.T) {
	t.Chdir(t.TempDir())
	agenthost(t, "flyte-config", "--task-types", "a,spark").write(t, "sound.yaml")
	agenthost(t, "flyte-config", "--check", "sound.yaml", "--task-types", "a,spark").expect(t, 0, "read for Flyte 1.16 (connector-service, config): ok", "")

	broken := writeFile(t, "broken.yaml", "plugins:\n  connector-service:\n    defaultConnector: {timeouts: {GetTask: 20s}}\n")
	got := agenthost(t, "flyte-config", "--check", "sound.yaml", broken, "--task-types", "a,spark")
	got.expect(t, exitFailed, broken+":3: error: plugins.connector-service.defaultConnector.timeouts: {GetTask: 20s}", "")
	got = agenthost(t, "flyte-config", "--check", broken, "--admin", nowhere, "-o", "json")
	var report flyteconfig.Report
	if err := json.Unmarshal([]byte(got.stdout), &report); err != nil || got.code != exitFailed || got.stderr != "" {
		t.Fatalf("%v: %+v", err, got)
	}
	if first := report.Findings[0]; report.OK || first.Severity != flyteconfig.SeverityError || first.Key == "" {
		t.Errorf("%+v", report)
	}
	agenthost(t, "flyte-config", "--check", broken, "--admin", nowhere).expect(t, exitFailed, "", "task types are not compared: no host answers at "+nowhere)

	// A note alone is no failure.
	notes := writeFile(t, "notes.yaml", strings.Replace(agenthost(t, "flyte-config", "--task-types", "a").stdout, "resyncInterval: 10s", "workers: 20", 1))
	agenthost(t, "flyte-config", "--check", notes, "--task-types", "a").expect(t, 0, "0 errors, 0 warnings, 1 note", "")

	agenthost(t, "flyte-config", "--check", writeFile(t, "none.yaml", "kind: Pod\napiVersion: v1\n"), "--task-types", "a").expect(t, exitFailed, "none.yaml: error: there is no configuration of Flyte's in it", "")

	// A directory is what Flyte reads of it, and - is stdin.
	if err := os.Mkdir("config[1]", 0o700); err != nil {
		t.Fatal(err)
	}
	agenthost(t, "flyte-config", "--task-types", "a").write(t, "config[1]/a.yaml")
	if err := os.WriteFile("config[1]/b.txt", []byte("["), 0o600); err != nil {
		t.Fatal(err)
	}
	agenthost(t, "flyte-config", "--check", "config[1]", "--task-types", "a").expect(t, 0, "ok", "")
	sound, err := os.ReadFile("sound.yaml")
	if err != nil {
		t.Fatal(err)
	}
	agenthostIn(t, t.Context(), string(sound), "flyte-config", "--check", "-", "--task-types", "a").expect(t, 0, "ok", "")
}

// write puts what was printed into a file.
func (o outcome) write(t *testing.T, file string) {
	t.Helper()
	if o.code != 0 {
		t.Fatalf("%+v", o)
	}
	if err := os.WriteFile(file, []byte(o.stdout), 0o600); err != nil {
		t.Fatal(err)
	}
}

func TestFlyteConfigIsCompleted(t *testing.T) {
	agenthost(t, "__complete", "flyte-config", "--form", "flyte-").expect(t, 0, "flyte-binary\nflyte-core\n", "")
	agenthost(t, "__complete", "flyte-config", "--flyte", "").expect(t, 0, "1.14\n1.16\n2\n", "")
	agenthost(t, "__complete", "flyte-config", "--che").expect(t, 0, "--check", "")
}

func TestWhatFlyteConfigCannotDoIsSaid(t *testing.T) {
	t.Chdir(t.TempDir())
	for words, c := range map[string]struct {
		code int
		says string
	}{
		"--flyte 1.2 --task-types a":                         {exitUsage, "1.13 to 1.16 and 2 are"},
		"--flyte new --task-types a":                         {exitUsage, "expected a version of Flyte"},
		"--flyte 2 --form flyte-core --task-types a":         {exitUsage, "no chart flyte-core of Flyte 2"},
		"--flyte 2 --endpoint k8s:///a.b:1 --task-types a":   {exitUsage, "dns:///"},
		"--endpoint http://a --task-types a":                 {exitUsage, "gRPC has no targets with http://"},
		"--form helm --task-types a":                         {exitUsage, "config, flyte-binary or flyte-core"},
		"--flyte 2 --sync-task-types a":                      {exitFailed, "for which Flyte 2 has no calls"},
		"--task-types a file.yaml":                           {exitUsage, "files are for --check"},
		"--check nothing.yaml --task-types a":                {exitFailed, "nothing.yaml: no such file"},
		"--check . --task-types a":                           {exitFailed, "has no *.yaml"},
		"--form flyte-core --task-types {{a}}":               {exitUsage, "takes what is between braces for a template"},
		"--start --task-types= --set plugins.a.command=none": {exitFailed, "a cannot be asked for its task types: "},
	} {
		agenthost(t, append([]string{"flyte-config"}, strings.Fields(words)...)...).expect(t, c.code, "", c.says)
	}
}
