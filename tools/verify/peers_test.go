package verify_test

import (
	"bytes"
	"os"
	"os/exec"
	"path/filepath"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/tools/verify"
)

// Servers of go-plugin's contract that others wrote, as their authors show how to use them. They are no Flyte agents, so
// what only an agent can do is skipped; whatever else they do otherwise is in the table.
func TestServersOfTheContractByOthers(t *testing.T) {
	made := exec.Command("../../scripts/venv", "peers")
	made.Stderr = os.Stderr
	path, err := made.Output()
	if err != nil {
		t.Fatalf("scripts/venv peers: %v", err)
	}
	python := filepath.Join(string(bytes.TrimSpace(path)), "python")

	for name, c := range map[string]struct {
		program string
		// deviations are the checks that fail, each with what is seen.
		deviations map[string]string
	}{
		// python-plugin 0.1.0: handshake, mutual TLS, health, load and stop are as they should be. Its gRPC library, grpclib
		// 0.4, answers an unknown method without a content-type, which gRPC clients report as UNKNOWN: a plugin built on
		// it has to serve PluginService, which is otherwise optional.
		"python-plugin": {"python_plugin.py", map[string]string{
			"describe/answers":  "missing HTTP content-type",
			"configure/accepts": "missing HTTP content-type",
			"metrics/text":      "missing HTTP content-type",
			"drain/answers":     "missing HTTP content-type",
			"exchange/greeting": "missing HTTP content-type",
		}},
		// pyvider-rpcplugin 0.5.5 ends when a version above 7 is among those offered, puts its socket into the temporary
		// directory, and serves TLS without asking for a client's certificate (it says so in its log). It stops as it should.
		"pyvider-rpcplugin": {"pyvider_rpcplugin.py", map[string]string{
			"handshake/versions": "no handshake line came",
			"handshake/address":  "is not in PLUGIN_UNIX_SOCKET_DIR",
			"tls/no-certificate": "a client without a certificate gets an answer: OK",
			"tls/stranger":       "gets an answer: OK",
			"agents/list":        "does not serve",
		}},
	} {
		t.Run(name, func(t *testing.T) {
			t.Parallel()
			program, err := filepath.Abs(filepath.Join("testdata", c.program))
			if err != nil {
				t.Fatal(err)
			}
			// A machine under load may take long to end a Python process.
			report := run(t, verify.Subject{Command: []string{python, program}}, verify.Options{Quick: true, KeepGoing: true, StopTimeout: 30 * time.Second})
			got := map[string]string{}
			for _, check := range report.Checks {
				if check.Status != verify.Failed {
					continue
				}
				got[check.Name] = check.Detail
				if seen := c.deviations[check.Name]; seen != "" && strings.Contains(check.Detail, seen) {
					got[check.Name] = seen
				}
			}
			if diff := cmp.Diff(c.deviations, got); diff != "" {
				t.Errorf("deviations (-want +got):\n%s", diff)
			}
			for _, passes := range []string{
				"handshake/cookie", "handshake/wrong-cookie", "handshake/line", "handshake/certificate", "tls/mutual", "tls/plaintext", "tls/off",
				"health/serving", "load/concurrent", "load/leak", "stop/shutdown", "stop/under-load", "stop/sigterm", "stop/death",
			} {
				for _, check := range report.Checks {
					if check.Name == passes && check.Status != verify.Passed {
						t.Errorf("%s %s: %s", check.Status, check.Name, check.Detail)
					}
				}
			}
		})
	}
}
