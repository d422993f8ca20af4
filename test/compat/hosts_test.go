package compat

import (
	"bytes"
	"crypto/rand"
	"encoding/base64"
	"encoding/json"
	"os"
	"path/filepath"
	"reflect"
	"slices"
	"syscall"
	"testing"
	"time"

	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/proto/agentclient"
	"github.com/agenthost/agenthost/test/hosttest"
	"github.com/agenthost/agenthost/test/identity"
	"github.com/agenthost/agenthost/test/wait"
)

// What a host puts around a job's metadata, Flyte keeps: a host of another version with the same keys has to open it.
func TestMetadataThatOneHostSealsIsReadByTheOther(t *testing.T) {
	programs := map[string]string{"today's": hosttest.Program("agenthost"), "the earlier": filepath.Join(earlier(t), "bin", "agenthost")}
	authority := identity.NewAuthority(t)
	who := func() credentials.TransportCredentials {
		return credentials.NewTLS(authority.Client(t, authority.Issue(t, time.Now().Add(time.Hour), "spiffe://cluster/flyte")))
	}
	keys := keyFile(t)
	for what, c := range map[string]struct {
		begins string // the metadata: the mark, and the version of the form
		pin    bool
		rules  bool
	}{
		"a signed pin": {"\xffagenthost\x04", true, false},
		"a seal":       {"\xffagenthost\x03", true, true},
	} {
		settings := func() map[string]any {
			plugin := hosttest.Plugin("hello")
			if c.pin {
				plugin["pin"] = "always"
			}
			settings := map[string]any{"plugins": map[string]any{"hello": plugin}, "create": map[string]any{"keys": "file://" + keys}}
			if c.rules {
				cert, key := authority.Issue(t, time.Now().Add(time.Hour), "127.0.0.1").Write(t, t.TempDir())
				settings["listen"] = map[string]any{"tls": map[string]any{"cert": cert, "key": key, "client_ca": authority.File(t)}}
				settings["access"] = map[string]any{"rules": []any{map[string]any{
					"certificate": "spiffe://cluster/flyte", "may": []string{"run", "poll", "delete", "list"}, "projects": []string{"compat"},
				}}}
			}
			return settings
		}
		callers := func(h *hosttest.Host) flyte {
			if c.rules {
				return flyteOf(t, h, who())
			}
			return flyteOf(t, h, insecure.NewCredentials())
		}
		of := map[string]flyte{}
		for name, program := range programs {
			of[name] = callers(hosttest.StartProgram(t, program, settings()))
		}
		for sealer, reader := range map[string]string{"today's": "the earlier", "the earlier": "today's"} {
			t.Run(what+" of "+sealer, func(t *testing.T) {
				job := of[sealer].begin(t, "Ada")
				if !bytes.HasPrefix(job.Meta, []byte(c.begins)) {
					t.Errorf("%s host gives %q, not %s", sealer, job.Meta, what)
				}
				if err := of[reader].poll(t.Context(), job, "Ada"); err != nil {
					t.Errorf("%s host: %v", reader, err)
				}
				of[reader].end(t, job, "Ada")
			})
		}
	}
}

// keyFile has a key that tasks are sealed with.
func keyFile(t *testing.T) string {
	t.Helper()
	key := make([]byte, 32)
	_, _ = rand.Read(key) // which never fails
	file := filepath.Join(t.TempDir(), "keys")
	if err := os.WriteFile(file, []byte(base64.StdEncoding.EncodeToString(key)+"\n"), 0o600); err != nil {
		t.Fatal(err)
	}
	return file
}

// A host is replaced by today's: what the earlier one accepted and remembered in its state directory is today's to finish and to tell.
func TestTodaysHostGoesOnWithTheStateOfTheEarlierOne(t *testing.T) {
	tree := earlier(t)
	state, err := os.MkdirTemp("/var/tmp", "agenthost-state-") // not where hosttest lets plugins write
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() { os.RemoveAll(state) })
	away := filepath.Join(t.TempDir(), "away")
	plugin := map[string]any{
		"command": []string{"/bin/sh", "-c", `test ! -e "$0" && exec "$1"`, away, hosttest.Program("hello")},
		"pin":     "always",
		"restart": map[string]any{"max_backoff": "1s"},
	}
	h := hosttest.StartProgram(t, filepath.Join(tree, "bin", "agenthost"), map[string]any{
		"state_dir": state, "create": map[string]any{"on_record": "on"}, "plugins": map[string]any{"hello": plugin},
	})
	f := flyteOf(t, h, insecure.NewCredentials())
	pinned := f.begin(t, "Ada")
	if err := os.WriteFile(away, nil, 0o600); err != nil {
		t.Fatal(err)
	}
	if err := syscall.Kill(processOf(t, h), syscall.SIGKILL); err != nil {
		t.Fatal(err)
	}
	wait.Until(t, "the plugin to be away", func() bool { return processOf(t, h) == 0 })
	recorded := f.begin(t, "Grace")
	if !bytes.HasPrefix(recorded.Meta, []byte("\xffagenthost\x02")) {
		t.Errorf("while its plugin is away the earlier host gives %q, no record", recorded.Meta)
	}
	was := events(t, h)

	h.Replace(t, hosttest.Program("agenthost"))
	if err := os.Remove(away); err != nil {
		t.Fatal(err)
	}
	f = flyteOf(t, h, insecure.NewCredentials())
	for name, job := range map[string]agentclient.Job{"Ada": pinned, "Grace": recorded} {
		wait.Until(t, "the job of "+name, func() bool { return f.poll(t.Context(), job, name) == nil })
		f.end(t, job, name)
	}
	is := events(t, h)
	for _, event := range was {
		if !slices.ContainsFunc(is, func(e admin.Event) bool { return reflect.DeepEqual(e, event) }) {
			t.Errorf("today's host does not tell of %+v", event)
		}
	}
}

// events are what a host remembers to have happened, as far as both know of it.
func events(t *testing.T, h *hosttest.Host) (all []admin.Event) {
	t.Helper()
	for line := range bytes.Lines([]byte(h.Ask(t, "/events?since=1h"))) {
		var event admin.Event
		if err := json.Unmarshal(line, &event); err != nil {
			t.Fatalf("%s: %v", line, err)
		}
		all = append(all, event)
	}
	if len(all) == 0 {
		t.Fatal("the host remembers nothing")
	}
	return all
}
