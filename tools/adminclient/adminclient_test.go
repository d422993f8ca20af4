package adminclient

import (
	"context"
	"iter"
	"net"
	"slices"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"github.com/prometheus/client_golang/prometheus"
	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/host/admin"
	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/history"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const token = "0123456789abcdef"

// hostOf is a client of a real admin server.
func hostOf(t *testing.T, options admin.Options) Client {
	t.Helper()
	listener, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	host := hostOn(t, listener, options)
	host.Token = token
	return host
}

func hostOn(t *testing.T, listener net.Listener, options admin.Options) Client {
	t.Helper()
	none := func() string { return "" }
	options.Metrics, options.WatchError = prometheus.NewRegistry(), none
	options.Ready = func() bool { return true }
	if options.Reload == nil {
		options.Reload = func(_ context.Context, _ bool, send func(admin.ReloadLine)) {
			send(admin.ReloadLine{Report: &admin.ReloadReport{}})
		}
	}
	if options.Plugins == nil {
		options.Plugins = func() []fleet.Status { return nil }
	}
	if options.Tokens == nil {
		options.Tokens = func(context.Context) []admin.Token { return []admin.Token{{Name: "test", Secret: token}} }
	}
	server := admin.New(options)
	ended := make(chan error, 1)
	go func() { ended <- server.Serve(listener) }()
	t.Cleanup(func() {
		if err := server.Shutdown(context.Background()); err != nil {
			t.Error(err)
		}
		<-ended
	})
	address := listener.Addr().String()
	if listener.Addr().Network() == "unix" {
		address = "unix:" + address
	}
	return Client{Address: address}
}

func TestTheStatusIsWhatTheHostSays(t *testing.T) {
	host := hostOf(t, admin.Options{Version: "1.2.3", Plugins: func() []fleet.Status { return []fleet.Status{{Name: "duckdb", State: fleet.Running}} }})
	status, raw, err := host.Status(t.Context())
	if err != nil || status.Host.Version != "1.2.3" || len(status.Plugins) != 1 || status.Plugins[0].Name != "duckdb" || len(raw) == 0 {
		t.Errorf("got %+v, %s, %v", status, raw, err)
	}
}

func TestEventsComeAsTheyHappenUntilTheHostStops(t *testing.T) {
	happened := time.Date(2026, 11, 23, 12, 0, 0, 0, time.UTC)
	want := []admin.Event{{Time: happened, Plugin: "a", State: "running", Was: "starting", Seconds: 1}}
	var asked []history.Query
	host := hostOf(t, admin.Options{Events: func(_ context.Context, q history.Query) iter.Seq[history.Event] {
		asked = append(asked, q)
		return slices.Values(want)
	}})
	for _, wanted := range []EventsOf{{}, {Since: "2026-11-23T13:00:00+01:00", Plugin: "a b"}, {Since: "0s", Follow: true}} {
		var got []admin.Event
		if err := host.Events(t.Context(), wanted, func(e admin.Event) { got = append(got, e) }); err != nil {
			t.Error(err)
		}
		if diff := cmp.Diff(want, got); diff != "" {
			t.Error(diff)
		}
	}
	if len(asked) != 3 || !asked[0].Since.IsZero() || !asked[0].Follow || !asked[1].Since.Equal(happened) || asked[1].Plugin != "a b" || asked[1].Follow || asked[2].Since.IsZero() || !asked[2].Follow {
		t.Errorf("the host was asked for %+v", asked)
	}
	if err := host.Events(t.Context(), EventsOf{Since: "soon"}, func(admin.Event) {}); err == nil || !strings.Contains(err.Error(), `since="soon"`) {
		t.Errorf("of a time that is none: %v", err)
	}
}

func TestAReloadIsFollowedToItsReport(t *testing.T) {
	for _, dry := range []bool{false, true} {
		plan := []config.Change{{Plugin: "a", Action: config.Added}}
		host := hostOf(t, admin.Options{Reload: func(_ context.Context, asked bool, send func(admin.ReloadLine)) {
			if asked != dry {
				t.Errorf("the host was asked for a dry run: %v, want %v", asked, dry)
			}
			send(admin.ReloadLine{Plan: plan})
			send(admin.ReloadLine{Report: &admin.ReloadReport{Plan: plan}})
		}})
		var lines []admin.ReloadLine
		report, err := host.Reload(t.Context(), dry, func(line admin.ReloadLine) { lines = append(lines, line) })
		if diff := cmp.Diff([]admin.ReloadLine{{Plan: plan}}, lines); err != nil || diff != "" {
			t.Errorf("%v: %s", err, diff)
		}
		if diff := cmp.Diff(admin.ReloadReport{Plan: plan}, report); diff != "" {
			t.Error(diff)
		}
	}
}
