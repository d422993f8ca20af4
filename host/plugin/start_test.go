package plugin_test

import (
	"context"
	"crypto/sha256"
	"encoding/hex"
	"errors"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/test/wait"
)

func TestAGoodPluginIsReadyForWorkWhenStartReturns(t *testing.T) {
	for _, tls := range []bool{true, false} {
		h := newHost(t)
		good := spec("echo", "good", "-agents", "query:async:sql@2,sql@1;chat:sync:ask", "-version", "1.4.0",
			"-capabilities", "idempotent_create,other,ask=patience", "-schema", `{"type":"object"}`)
		good.TLS = tls
		instance := h.start(good)
		got := instance.Manifest()
		if !strings.HasPrefix(got.SDK, "badplugin 0 (go1") {
			t.Errorf("SDK %q", got.SDK)
		}
		got.SDK = ""
		want := plugin.Manifest{
			Name: "badplugin", Version: "1.4.0", Capabilities: []string{"idempotent_create", "other"}, ConfigSchema: `{"type":"object"}`,
			CategoryCapabilities: map[plugin.Category][]string{{Name: "ask"}: {"patience"}},
			Agents: []plugin.Agent{
				{Name: "query", Categories: []plugin.Category{{Name: "sql", Version: 2}, {Name: "sql", Version: 1}}},
				{Name: "chat", Sync: true, Categories: []plugin.Category{{Name: "ask"}}},
			},
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Errorf("manifest (-want +got):\n%s", diff)
		}
		if instance.PID() <= 0 || time.Since(instance.Started()) > maxWait {
			t.Errorf("pid %d, started %v", instance.PID(), instance.Started())
		}
		if err := instance.Stop(context.Background()); err != nil {
			t.Fatal(err)
		}
	}
}

func TestAPluginWithoutDescribeIsUsedAsItIs(t *testing.T) {
	h := newHost(t)
	got := h.start(spec("plain", "describe-missing", "-by-task-type", "-agents", "old:async:sensor")).Manifest()
	want := plugin.Manifest{Name: "plain", Agents: []plugin.Agent{{Name: "old", Categories: []plugin.Category{{Name: "sensor"}}, ByTaskType: true}}}
	if diff := cmp.Diff(want, got); diff != "" {
		t.Errorf("manifest (-want +got):\n%s", diff)
	}
}

func TestAPluginWithoutConfigureRefusesAConfigBlock(t *testing.T) {
	plain := spec("plain", "describe-missing")
	plain.Config = map[string]any{"region": "EU"}
	newHost(t).wantFailure(plain, plugin.StepConfigure, "takes no configuration", "remove the block")
}

// Every way of failing to start is a promise: the error names the plugin, says what happened and what to do, it comes
// in time, and neither a process nor a file is left.
func TestAPluginThatCannotStartSaysWhyAndLeavesNothing(t *testing.T) {
	for _, test := range []struct {
		mode    string
		args    []string
		noTLS   bool
		timeout time.Duration // where it is the timeout that ends it
		step    string
		fault   plugin.Fault
		parts   []string
	}{
		{mode: "wrong-cookie", step: plugin.StepHandshake, parts: []string{"did not recognise the host", "exited with code 1", "This binary is a plugin", "AGENTHOST_PLUGIN"}},
		{mode: "wrong-version", step: plugin.StepHandshake, parts: []string{"version 99", "this host version 1", "build the plugin"}},
		{mode: "wrong-core", step: plugin.StepHandshake, parts: []string{"core protocol version 2", "current SDK"}},
		{mode: "netrpc", step: plugin.StepHandshake, parts: []string{"does not say grpc"}},
		{mode: "silent", timeout: 300 * time.Millisecond, step: plugin.StepHandshake, parts: []string{"no handshake line", "start_timeout of 300ms", "raise start_timeout"}},
		{mode: "slow", args: []string{"-delay", "1h"}, timeout: 300 * time.Millisecond, step: plugin.StepHandshake, parts: []string{"no handshake line", "raise start_timeout"}},
		{mode: "prints-no-handshake", timeout: 5 * time.Second, step: plugin.StepHandshake, parts: []string{`no handshake line came on its stdout (the line "1|2|3|4" is none)`, "raise start_timeout"}},
		{mode: "sigstop-early", timeout: 300 * time.Millisecond, step: plugin.StepHandshake, parts: []string{"no handshake line"}},
		{mode: "prints-for-ever", step: plugin.StepHandshake, parts: []string{"without a handshake line among them", "progress: ", "print to stderr"}},
		{mode: "dies", args: []string{"-code", "3", "-text", "cannot find libduckdb.so"}, step: plugin.StepHandshake, parts: []string{"before its handshake", "exited with code 3", "cannot find libduckdb.so", "by hand"}},
		{mode: "dies", args: []string{"-code", "75", "-text", "no route to the warehouse"}, step: plugin.StepHandshake, fault: plugin.FaultOfService, parts: []string{"exited with code 75", "no route"}},
		{mode: "forks-and-dies", step: plugin.StepHandshake, parts: []string{"before its handshake", "exited with code 3", "cannot find libduckdb.so"}},
		{mode: "forks-and-dies", args: []string{"-setsid"}, step: plugin.StepHandshake, parts: []string{"before its handshake", "exited with code 3"}},
		{mode: "closes-stdout", step: plugin.StepHandshake, parts: []string{"closed its stdout"}},
		{mode: "huge-handshake", step: plugin.StepHandshake, parts: []string{"handshake line is 10", "bytes long"}},
		{mode: "garbage", timeout: 5 * time.Second, step: plugin.StepHandshake, parts: []string{`\x`}},
		{mode: "cert-without-tls", noTLS: true, step: plugin.StepHandshake, parts: []string{"sent a certificate", "TLS is off", "tls: on"}},
		{mode: "bad-cert", step: plugin.StepHandshake, parts: []string{"cert"}},
		{mode: "no-cert", step: plugin.StepHandshake, parts: []string{"no certificate", "tls: off"}},
		{mode: "dead-address", noTLS: true, timeout: 5 * time.Second, step: plugin.StepHealth, parts: []string{"never said SERVING", "no such file"}},
		{mode: "dies-after-handshake", noTLS: true, parts: []string{"exited with code 3", "cannot find libduckdb.so"}},
		{mode: "mute-server", noTLS: true, timeout: 5 * time.Second, step: plugin.StepConnect, parts: []string{"does not answer", "start_timeout"}},
		{mode: "never-serving", timeout: 5 * time.Second, step: plugin.StepHealth, fault: plugin.FaultOfService, parts: []string{"never said SERVING", "NOT_SERVING", "raise start_timeout"}},
		{mode: "health-hangs", timeout: 5 * time.Second, step: plugin.StepHealth, parts: []string{"never said SERVING"}},
		{mode: "describe-fails", step: plugin.StepDescribe, parts: []string{"the agent registry is broken"}},
		{mode: "describe-hangs", timeout: 5 * time.Second, step: plugin.StepDescribe, fault: plugin.FaultOfService, parts: []string{"Describe was not answered", "start_timeout"}},
		{mode: "configure-errors", step: plugin.StepConfigure, fault: plugin.FaultOfConfiguration, parts: []string{`config.limits.memory: must be a size such as 2GiB, got "lots"`, "config: either token or token_file is needed", "config: block"}},
		{mode: "configure-hangs", timeout: 5 * time.Second, step: plugin.StepConfigure, fault: plugin.FaultOfService, parts: []string{"Configure was not answered"}},
		{mode: "dies-in-configure", step: plugin.StepConfigure, parts: []string{"exited with code 3", "cannot find libduckdb.so"}},
		{mode: "list-hangs", timeout: 5 * time.Second, step: plugin.StepList, fault: plugin.FaultOfService, parts: []string{"ListAgents was not answered"}},
		{mode: "list-fails", step: plugin.StepList, parts: []string{"the agent registry is broken"}},
		{mode: "list-missing", step: plugin.StepList, parts: []string{"does not serve", "ListAgents"}},
		{mode: "list-empty", step: plugin.StepList, parts: []string{"lists no agents"}},
		{mode: "list-nameless", step: plugin.StepList, parts: []string{"agent 1 of 1", "no name"}},
		{mode: "list-without-categories", step: plugin.StepList, parts: []string{"lonely", "no task categories"}},
		{mode: "list-nameless-category", step: plugin.StepList, parts: []string{"half", "without a name"}},
		{mode: "list-clash", step: plugin.StepList, parts: []string{"one and two", "query version 1"}},
	} {
		t.Run(strings.Join(append([]string{test.mode}, test.args...), " "), func(t *testing.T) {
			t.Parallel()
			h := newHost(t)
			bad := spec("bad-one", test.mode, test.args...)
			bad.TLS = !test.noTLS
			if test.timeout > 0 {
				bad.StartTimeout = test.timeout
			}
			began := time.Now()
			if failed := h.wantFailure(bad, test.step, test.parts...); failed.Fault != test.fault {
				t.Errorf("%v, want: %v", failed.Fault, test.fault)
			}
			if took := time.Since(began); took > 10*time.Second {
				t.Errorf("it took %v", took)
			}
		})
	}
}

func TestACommandThatCannotBeStartedSaysWhy(t *testing.T) {
	dir := t.TempDir()
	write := func(name, text string, mode os.FileMode) string {
		path := filepath.Join(dir, name)
		if err := os.WriteFile(path, []byte(text), mode); err != nil {
			t.Fatal(err)
		}
		return path
	}
	for _, test := range []struct {
		name  string
		spec  plugin.Spec
		step  string
		parts []string
	}{
		{"no command", plugin.Spec{}, plugin.StepPrepare, []string{"no command", "command: [program"}},
		{"missing", plugin.Spec{Command: []string{dir + "/missing"}}, plugin.StepLaunch, []string{dir + "/missing", "no such file", "check command"}},
		{"not in PATH", plugin.Spec{Command: []string{"no-such-program-anywhere"}}, plugin.StepLaunch, []string{"no such program in its PATH"}},
		{"not executable", plugin.Spec{Command: []string{write("data", "#!/bin/sh\n", 0o600)}}, plugin.StepLaunch, []string{"not executable", "chmod +x"}},
		{"directory", plugin.Spec{Command: []string{dir}}, plugin.StepLaunch, []string{"is a directory"}},
		{"no program", plugin.Spec{Command: []string{write("text", "hello\n", 0o700)}}, plugin.StepLaunch, []string{"neither a program for this machine nor a script"}},
		{"interpreter", plugin.Spec{Command: []string{write("script", "#!/opt/no/python\n", 0o700)}}, plugin.StepLaunch, []string{"/opt/no/python, which does not exist"}},
		{"directory to work in", plugin.Spec{Command: []string{"true"}, Dir: dir + "/nowhere"}, plugin.StepLaunch, []string{"working directory", "nowhere"}},
		{"no plugin", plugin.Spec{Command: []string{"true"}}, plugin.StepHandshake, []string{"before its handshake", "exited with code 0"}},
	} {
		t.Run(test.name, func(t *testing.T) {
			test.spec.Name = "bad-one"
			newHost(t).wantFailure(test.spec, test.step, test.parts...)
			test.spec.Sandbox.Mode = config.On // in the same words
			newHost(t).wantFailure(test.spec, test.step, test.parts...)
		})
	}
}

func TestChecksumsAreCheckedBeforeEachStart(t *testing.T) {
	h := newHost(t)
	dir := t.TempDir()
	if err := os.WriteFile(filepath.Join(dir, "agent.py"), []byte("print('one')"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum := sha256.Sum256([]byte("print('one')"))
	want := hex.EncodeToString(sum[:])
	checked := spec("echo", "good")
	checked.Dir = dir
	checked.SHA256 = map[string]string{"agent.py": strings.ToUpper(want)}
	h.start(checked).Stop(context.Background())

	if err := os.WriteFile(filepath.Join(dir, "agent.py"), []byte("print('two')"), 0o600); err != nil {
		t.Fatal(err)
	}
	sum = sha256.Sum256([]byte("print('two')"))
	h.wantFailure(checked, plugin.StepPrepare, "agent.py", "want "+want, "got "+hex.EncodeToString(sum[:]), "new checksum")
	checked.SHA256 = map[string]string{"/no/such/file": want}
	h.wantFailure(checked, plugin.StepPrepare, "/no/such/file", "no such file")
	checked.SHA256 = map[string]string{"agent.py": "abc"}
	h.wantFailure(checked, plugin.StepPrepare, "agent.py", `"abc" is not a SHA-256`)
}

func TestASecretThatCannotBeReadSaysWhichAndNeverItsValue(t *testing.T) {
	h := newHost(t)
	withSecret := func(name, source string) plugin.Spec {
		s := spec("echo", "good")
		s.Secrets = map[string]string{name: source}
		return s
	}
	h.wantFailure(withSecret("token", "file:///no/such/file"), plugin.StepPrepare, "secret token", "/no/such/file", "mounted")
	h.wantFailure(withSecret("token", "env:NO_SUCH_VARIABLE"), plugin.StepPrepare, "secret token", "NO_SUCH_VARIABLE")
	h.wantFailure(withSecret("../token", "env:HOME"), plugin.StepPrepare, `secret "../token"`, "not a usable name")
	clash := withSecret("TOKEN", "env:HOME")
	clash.Secrets["token"] = "env:HOME"
	h.wantFailure(clash, plugin.StepPrepare, "same name in lower case")
	failed := h.wantFailure(withSecret("token", "hunter2"), plugin.StepPrepare, "secret token", "file:///path", "env:NAME")
	if strings.Contains(failed.Error(), "hunter2") {
		t.Errorf("the error tells the secret: %v", failed)
	}
}

func TestAStartEndsWhenItsContextDoes(t *testing.T) {
	h := newHost(t)
	ctx, cancel := context.WithCancelCause(context.Background())
	enough := errors.New("a newer configuration came")
	ended := make(chan error, 1)
	go func() {
		_, err := plugin.Start(ctx, spec("quiet", "silent"), h.environment())
		ended <- err
	}()
	wait.Until(t, "the process runs", func() bool { return len(processesNaming(t, h.root.Path())) > 0 })
	cancel(enough)
	select {
	case err := <-ended:
		if !errors.Is(err, enough) {
			t.Errorf("got %v", err)
		}
	case <-time.After(maxWait):
		t.Fatal("the start goes on")
	}
	h.wantNoLeftovers()
}

func TestAPluginMayPrintBeforeItsHandshake(t *testing.T) {
	h := newHost(t)
	h.start(spec("jvm", "prints-first"))
	line := h.log.line(t, "Picked up JAVA_TOOL_OPTIONS")
	if line["level"] != "WARN" || line["plugin"] != "jvm" || !strings.Contains(line["msg"].(string), "before its handshake") {
		t.Errorf("logged as %v", line)
	}
}

func TestAPluginMayPrintWhatIsLikeAHandshake(t *testing.T) {
	h := newHost(t)
	h.start(spec("table", "prints-like-a-handshake"))
	for _, printed := range []string{"1|2|3|4", "loading the model... "} {
		if line := h.log.line(t, "before its handshake: "+printed); line["level"] != "WARN" {
			t.Errorf("logged as %v", line)
		}
	}
}

func TestAPluginMayTakeItsTime(t *testing.T) {
	h := newHost(t)
	h.start(spec("slow", "slow", "-delay", "300ms"))
	h.start(spec("late", "serving-late", "-delay", "300ms"))
}

func TestEqualSpecsHaveEqualHashes(t *testing.T) {
	base := func() plugin.Spec {
		return plugin.Spec{Name: "a", Command: badplugin.Command("good"), Env: map[string]string{"A": "1", "B": "2"}, Config: map[string]any{"x": 1, "y": []any{"z"}}}
	}
	if one, other := base(), base(); one.Hash() != other.Hash() {
		t.Error("equal specs differ")
	}
	withDefault := base()
	withDefault.StartTimeout = config.DefaultStartTimeout
	if base().Hash() != withDefault.Hash() {
		t.Error("a default that is written out makes a difference")
	}
	for name, change := range map[string]func(*plugin.Spec){
		"name":    func(s *plugin.Spec) { s.Name = "b" },
		"command": func(s *plugin.Spec) { s.Command = append(s.Command, "-v") },
		"dir":     func(s *plugin.Spec) { s.Dir = "/" },
		"env":     func(s *plugin.Spec) { s.Env["A"] = "2" },
		"inherit": func(s *plugin.Spec) { s.InheritEnv = []string{"HTTPS_PROXY"} },
		"sha256":  func(s *plugin.Spec) { s.SHA256 = map[string]string{"/a": "b"} },
		"secrets": func(s *plugin.Spec) { s.Secrets = map[string]string{"a": "env:B"} },
		"config":  func(s *plugin.Spec) { s.Config["x"] = 2 },
		"tls":     func(s *plugin.Spec) { s.TLS = true },
		"sandbox": func(s *plugin.Spec) { s.Sandbox = config.Sandbox{Mode: config.On} },
		"stop":    func(s *plugin.Spec) { s.StopTimeout = time.Second },
	} {
		changed := base()
		change(&changed)
		if changed.Hash() == base().Hash() {
			t.Errorf("%s makes no difference", name)
		}
	}
}
