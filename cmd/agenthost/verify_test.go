package main

import (
	"bytes"
	"encoding/json"
	"os"
	"path/filepath"
	"testing"

	"github.com/agenthost/agenthost/test/badplugin"
	"github.com/agenthost/agenthost/tools/verify"
)

func TestVerifyReportsAndItsExitCodeSaysWhetherThePluginPassed(t *testing.T) {
	file := filepath.Join(t.TempDir(), "report.xml")
	args := append([]string{"verify", "--run", "^(handshake|health)/", "-o", "json", "--junit", file, "--"}, badplugin.Command("good")...)
	passed := agenthost(t, args...)
	var report verify.Report
	if err := json.Unmarshal([]byte(passed.stdout), &report); err != nil || passed.code != 0 || !report.OK() || report.Count(verify.Passed) != 9 {
		t.Errorf("%v: %+v", err, passed)
	}
	if content, err := os.ReadFile(file); err != nil || !bytes.Contains(content, []byte(`<testcase classname="handshake" name="cookie"`)) {
		t.Errorf("--junit: %v\n%s", err, content)
	}

	wrong := agenthost(t, append([]string{"verify", "--run", "^handshake/"}, badplugin.Command("prints-first")...)...)
	wrong.expect(t, exitFailed, "fail handshake/stdout-before", "")
}

func TestVerifyListsItsChecks(t *testing.T) {
	agenthost(t, "verify", "--list").expect(t, 0, "load/leak", "")
}

func TestVerifySaysWhichFlagMakesNoSense(t *testing.T) {
	for name, c := range map[string]struct {
		args []string
		says string
	}{
		"nothing":         {nil, "which plugin?"},
		"two commands":    {[]string{"--spec", "x", "y"}, "give one of the two"},
		"no spec":         {[]string{"--spec", "/nowhere/verify.yaml"}, "--spec: open /nowhere/verify.yaml"},
		"build":           {[]string{"--build", "x"}, "--build runs the build: command of --spec"},
		"pattern":         {[]string{"--run", "(", "x"}, "--run: "},
		"secret":          {[]string{"--secret", "token", "x"}, "expected name=uri"},
		"no task file":    {[]string{"--task", "/nowhere/task.yaml", "x"}, "--task: "},
		"no config file":  {[]string{"--config", "/nowhere/config.yaml", "x"}, "--config: "},
		"tls":             {[]string{"--tls", "maybe", "x"}, "expected on or off"},
		"unknown outputs": {[]string{"-o", "html", "x"}, "expected table, json, yaml or junit"},
	} {
		t.Run(name, func(t *testing.T) {
			agenthost(t, append([]string{"verify"}, c.args...)...).expect(t, exitUsage, "", c.says)
		})
	}
}
