package adminclient

import (
	"context"
	"fmt"
	"strings"
	"testing"
	"time"

	"github.com/agenthost/agenthost/host/admin"
)

func TestWhatToMakeOfAHostsAnswer(t *testing.T) {
	plugin := func(name, standing, reason string) admin.PluginStanding {
		return admin.PluginStanding{Name: name, Standing: standing, Reason: reason}
	}
	refusing := func(files, hash string) *admin.RefusedConfig {
		return &admin.RefusedConfig{FilesHash: files, Hash: hash, Reasons: []string{"host.yaml:3: plugins.a"}}
	}
	for name, c := range map[string]struct {
		files string // that are known to have it
		state admin.ConfigState
		fresh bool
		want  judgement
		says  string
	}{
		"another one":                            {state: admin.ConfigState{Hash: "old"}, want: waits, says: "runs old, and has not heard of new"},
		"it":                                     {state: admin.ConfigState{Hash: "new", Plugins: []admin.PluginStanding{plugin("a", "as configured", "")}}, want: runs, says: "1 of 1 plugins"},
		"it, without plugins":                    {state: admin.ConfigState{Hash: "new"}, want: runs},
		"it, on its way":                         {state: admin.ConfigState{Hash: "new", Plugins: []admin.PluginStanding{plugin("a", "as configured", ""), plugin("b", "pending", "")}}, want: waits, says: "b is pending"},
		"a plugin that fails":                    {state: admin.ConfigState{Hash: "new", Plugins: []admin.PluginStanding{plugin("a", "failing", "it died")}}, want: waits, says: "a is failing: it died"},
		"a plugin that refuses":                  {state: admin.ConfigState{Hash: "new", Plugins: []admin.PluginStanding{plugin("a", "failing", ""), plugin("b", "refused", "no such key")}}, want: pluginRefuses, says: "b is refused: no such key; plugin a is failing"},
		"a plugin that an operator stopped":      {state: admin.ConfigState{Hash: "new", Plugins: []admin.PluginStanding{plugin("a", "excused", "an operator stopped it")}}, want: runs, says: "not counted: a (an operator stopped it)"},
		"a standing of a newer host":             {state: admin.ConfigState{Hash: "new", Plugins: []admin.PluginStanding{plugin("a", "musing", "")}}, want: waits, says: "a is musing"},
		"a refusal of before":                    {state: admin.ConfigState{Hash: "old", Refused: refusing("f0", "")}, want: waits, says: "refuses what its files hold: host.yaml:3: plugins.a"},
		"a refusal that has come":                {state: admin.ConfigState{Hash: "old", Refused: refusing("f0", "")}, fresh: true, want: refused},
		"a refusal of other files":               {files: "f1", state: admin.ConfigState{Hash: "old", Refused: refusing("f0", "")}, fresh: true, want: waits},
		"a refusal of its files":                 {files: "f1", state: admin.ConfigState{Hash: "old", Refused: refusing("f1", "")}, want: refused},
		"a refusal of it":                        {state: admin.ConfigState{Hash: "old", Refused: refusing("", "new")}, want: refused},
		"a refusal of files that cannot be read": {files: "f1", state: admin.ConfigState{Hash: "old", Refused: refusing("", "")}, want: waits},
		"it, and later files with a mistake":     {state: admin.ConfigState{Hash: "new", Refused: refusing("f2", "")}, fresh: true, want: runs},
	} {
		got, says := Awaited{Hash: "new", FilesHash: c.files}.judge(c.state, c.fresh)
		if got != c.want || !strings.Contains(says, c.says) {
			t.Errorf("%s: %d %q, want: %d %q", name, got, says, c.want, c.says)
		}
	}
}

func TestProbesAreFoundByTheirAddresses(t *testing.T) {
	for _, wrong := range []string{"localhost", "https://localhost:1", "http://localhost", "http://localhost:1/config", "dns:///localhost", "dns://localhost:1", "http://localhost:1?x=1", ":1"} {
		if _, err := Probes([]string{wrong}); err == nil || !strings.Contains(err.Error(), "expected http://host:port") {
			t.Errorf("%s: %v", wrong, err)
		}
	}
	find, err := Probes([]string{"http://127.0.0.1:2", "127.0.0.1:1", "127.0.0.1:1", "dns:///127.0.0.1:3"})
	if err != nil {
		t.Fatal(err)
	}
	found, err := find(t.Context())
	if err != nil || len(found) != 3 || found[0].Address != "127.0.0.1:1" || found[1].Address != "127.0.0.1:2" || found[2].Address != "127.0.0.1:3" {
		t.Errorf("%+v, %v", found, err)
	}
	ended, end := context.WithCancel(t.Context())
	end()
	if find, err = Probes([]string{"dns:///no-such-name.invalid:1"}); err != nil {
		t.Fatal(err)
	}
	if _, err := find(ended); err == nil {
		t.Error("a name that leads nowhere leads somewhere")
	}
}

// A name server that does not answer is told of once, though each question to it comes from another port.
func TestTheSameTroubleIsToldOfOnce(t *testing.T) {
	ctx, end := context.WithCancel(t.Context())
	lookups := 0
	var told []string
	_, err := Await{
		Hosts: func(context.Context) ([]Client, error) {
			if lookups++; lookups == 5 {
				end()
			}
			return nil, fmt.Errorf("%w: lookup hosts on 10.0.0.10:53: read udp 10.0.0.7:%d->10.0.0.10:53: i/o timeout", errNoHosts, 40000+lookups)
		},
		Interval: time.Millisecond,
		Tell:     func(what string) { told = append(told, what) },
	}.Run(ctx)
	if err == nil || len(told) != 1 || told[0] != "there is no host yet: lookup hosts on 10.0.0.10:53: read udp 10.0.0.10:53: i/o timeout" {
		t.Errorf("after %d lookups %q was told, and %v", lookups, told, err)
	}
}
