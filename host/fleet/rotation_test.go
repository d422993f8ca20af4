package fleet

import (
	"context"
	"errors"
	"net/http"
	"os"
	"path/filepath"
	"strconv"
	"strings"
	"sync/atomic"
	"testing"
	"testing/synctest"
	"time"

	"github.com/agenthost/agenthost/host/config"
	"github.com/agenthost/agenthost/host/plugin"
	"github.com/agenthost/agenthost/host/route"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/test/hosttest/openbao"
	"github.com/agenthost/agenthost/test/wait"
)

func TestASecretIsDueAfterItsIntervalAndLaterWhileItCannotBeRead(t *testing.T) {
	begin := time.Unix(1_000_000, 0)
	for _, c := range []struct {
		interval time.Duration
		failures int
		chance   float64
		want     time.Duration
	}{
		{5 * time.Minute, 0, 0, 5 * time.Minute},
		{5 * time.Minute, 0, 1, 4 * time.Minute},
		{5 * time.Minute, 0, 0.5, 270 * time.Second},
		{5 * time.Minute, 1, 0, 10 * time.Minute},
		{5 * time.Minute, 2, 0, 20 * time.Minute},
		{5 * time.Minute, 3, 0, 40 * time.Minute},
		{5 * time.Minute, 1000, 0, 40 * time.Minute},
		{20 * time.Minute, 2, 0, time.Hour},
		{2 * time.Hour, 9, 0, 2 * time.Hour},
	} {
		if got := (reading{at: begin, failures: c.failures, chance: c.chance}).due(c.interval).Sub(begin); got != c.want {
			t.Errorf("%+v: due after %v", c, got)
		}
	}
	away := errors.New("away")
	r := reading{read: begin, at: begin}
	for n := range 3 {
		r = r.after(begin.Add(time.Duration(n)*time.Hour), away, 0)
	}
	if r.failures != 3 || !r.read.Equal(begin) || !r.at.Equal(begin.Add(2*time.Hour)) || r.err != away { //nolint:errorlint // this very one
		t.Errorf("after three failures: %+v", r)
	}
	if r = r.after(begin.Add(9*time.Hour), nil, 0); r.failures != 0 || r.err != nil || !r.read.Equal(begin.Add(9*time.Hour)) {
		t.Errorf("after a success: %+v", r)
	}
}

// rotating is a stage whose plugin has a secret in a store.
type rotating struct {
	*stage
	value  atomic.Pointer[string] // in the store
	away   atomic.Bool
	asked  atomic.Int64
	actors []*actor
}

const password = "vault://secret/db#password"

// rotate plays a plugin with a secret that is read again each interval.
func rotate(t *testing.T, interval time.Duration, rereads bool, test func(*testing.T, *rotating)) {
	t.Helper()
	r := &rotating{}
	first := "first"
	r.value.Store(&first)
	start := func(int) (*actor, error) {
		a := newActor(true)
		a.rereads = rereads
		a.secret.Store(r.value.Load())
		r.actors = append(r.actors, a)
		return a, nil
	}
	play(t, config.DefaultPlugin().Restart, start, func(t *testing.T, s *stage) {
		r.stage = s
		s.fleet.reads = func(context.Context, string) ([]byte, error) {
			r.asked.Add(1)
			if r.away.Load() {
				return nil, errors.New("cannot be read from " + password + ": it does not answer")
			}
			return []byte(*r.value.Load()), nil
		}
		settings, p := config.Default(), config.DefaultPlugin()
		p.Command, p.Secrets, p.SecretsRefresh = []string{"actor"}, map[string]string{"password": password}, interval
		settings.Plugins["actor"] = p
		s.fleet.Apply(settings)
		synctest.Wait()
		test(t, r)
	})
}

func (r *rotating) set(value string) { r.value.Store(&value) }

func (r *rotating) after(d time.Duration) Status {
	time.Sleep(d)
	synctest.Wait()
	return r.fleet.Status()[0]
}

func TestAProcessThatRereadsSecretsIsGivenTheNewValue(t *testing.T) {
	rotate(t, 5*time.Minute, true, func(t *testing.T, r *rotating) {
		events := r.fleet.Events(t.Context())
		begun, running := len(r.begun()), r.up()
		if status := r.after(5 * time.Minute); r.asked.Load() != 1 || status.SecretReads != (SecretReads{Unchanged: 1}) || time.Since(status.SecretsRead) > time.Minute {
			t.Errorf("an interval: asked %d times, %+v, read %v", r.asked.Load(), status.SecretReads, status.SecretsRead)
		}
		r.set("second")
		status := r.after(5 * time.Minute)
		if got := *running.secret.Load(); got != "second" || len(r.begun()) != begun || status.SecretReads.Changed != 1 {
			t.Errorf("the process has %q, after %d starts: %+v", got, len(r.begun())-begun, status.SecretReads)
		}
		if e := <-events; e.State != EventSecretRenewed || !strings.Contains(e.Cause, "secrets.password ("+password+")") {
			t.Errorf("the event %+v", e)
		}
	})
}

func TestAProcessThatDoesNotIsSwappedOnce(t *testing.T) {
	rotate(t, time.Minute, false, func(t *testing.T, r *rotating) {
		begun, former := len(r.begun()), r.up()
		r.set("second")
		status := r.after(time.Hour)
		if *former.secret.Load() != "first" || *r.up().secret.Load() != "second" || len(r.begun()) != begun+1 || status.SecretReads.Changed != 1 {
			t.Errorf("after %d starts: %+v", len(r.begun())-begun, status.SecretReads)
		}
		if _, ok := r.target.TryAcquire(route.Want{}); !ok {
			t.Error("it does not serve")
		}
	})
}

func TestAValueThatCannotBeReadAgainIsKeptAndTold(t *testing.T) {
	rotate(t, 5*time.Minute, true, func(t *testing.T, r *rotating) {
		events := r.fleet.Events(t.Context())
		r.away.Store(true)
		status := r.after(2 * time.Hour)
		if *r.up().secret.Load() != "first" || len(status.SecretErrors) != 1 || !strings.Contains(status.SecretErrors[0], "secrets.password cannot be read from "+password) || time.Since(status.SecretsRead) < 2*time.Hour {
			t.Errorf("while the store is away: %q since %v", status.SecretErrors, status.SecretsRead)
		}
		if n := status.SecretReads.Failed; n < 5 || n > 6 { // after about 5, 10, 20, 40 and 40 minutes more
			t.Errorf("it was asked %d times in two hours", n)
		}
		if e := <-events; e.State != EventSecretUnread || len(events) > 0 {
			t.Errorf("the event %+v, and %d more", e, len(events))
		}
		r.away.Store(false)
		r.set("second")
		if status = r.after(40 * time.Minute); *r.up().secret.Load() != "second" || status.SecretErrors != nil {
			t.Errorf("when it is back: %q, %q", *r.up().secret.Load(), status.SecretErrors)
		}
	})
}

func TestNoStoreIsAskedWithoutAnInterval(t *testing.T) {
	rotate(t, 0, false, func(t *testing.T, r *rotating) {
		r.set("second")
		if r.after(24 * time.Hour); r.asked.Load() != 0 {
			t.Errorf("it was asked %d times", r.asked.Load())
		}
	})
}

// The store is a real one, and so are the processes.
func TestASecretThatChangesInOpenBaoReachesRunningPlugins(t *testing.T) {
	b := openbao.Start(t)
	for _, name := range []string{"VAULT_NAMESPACE", "BAO_ADDR", "BAO_TOKEN", "VAULT_TOKEN_FILE", "BAO_TOKEN_FILE"} {
		t.Setenv(name, "")
	}
	t.Setenv("VAULT_ADDR", b.Address)
	t.Setenv("VAULT_CACERT", b.CA)
	t.Setenv("VAULT_TOKEN", "root")
	put := func(value string) {
		b.Must(t, http.MethodPost, "secret/data/db", "", map[string]any{"data": map[string]any{"password": value}})
	}
	put("first")
	f := startWith(t, Health{})
	settings := config.Default()
	for name, capability := range map[string]string{"rereads": pluginv1.CapabilityRereadsSecrets, "keeps": ""} {
		p := echo("1", "-capabilities", capability, "-agents", name+":async:"+name)
		p.Secrets, p.SecretsRefresh = map[string]string{"PASSWORD": password}, 500*time.Millisecond
		settings.Plugins[name] = p
	}
	f.apply(t, settings)
	before := map[string]Status{}
	for name := range settings.Plugins {
		before[name] = f.status(t, name, isRunning)
		if got := f.given(t, name); got != "first" {
			t.Fatalf("%s was started with %q", name, got)
		}
	}

	missed := f.keepAsking(t, "rereads", "keeps")
	put("second")
	for name := range settings.Plugins {
		wait.Until(t, name+" has the new value", func() bool { return f.given(t, name) == "second" })
	}
	stayed, swapped := f.status(t, "rereads", isRunning), f.status(t, "keeps", isRunning)
	if stayed.PID != before["rereads"].PID || swapped.PID == before["keeps"].PID {
		t.Errorf("the process that rereads went from %d to %d, the other from %d to %d", before["rereads"].PID, stayed.PID, before["keeps"].PID, swapped.PID)
	}

	b.Must(t, http.MethodPut, "sys/seal", "", nil)
	for name := range settings.Plugins {
		told := func() bool {
			status := f.supervisor(name).status()
			return len(status.SecretErrors) == 1 && strings.Contains(status.SecretErrors[0], "secrets.PASSWORD cannot be read from "+password) && strings.Contains(status.SecretErrors[0], "somebody has to unseal it")
		}
		wait.Until(t, name+" is said to keep what it has", told)
		if got := f.given(t, name); got != "second" {
			t.Errorf("%s has %q while the store is sealed", name, got)
		}
	}
	if after := f.status(t, "keeps", isRunning); after.PID != swapped.PID {
		t.Errorf("a sealed store cost a process: %d, %d", swapped.PID, after.PID)
	}
	if n := missed(); n > 0 {
		t.Errorf("%d calls found no process", n)
	}
}

// given is the password that a plugin's process finds where it looks for secrets; empty while there is none.
func (f running) given(t *testing.T, name string) string {
	t.Helper()
	environ, err := os.ReadFile(filepath.Join("/proc", strconv.Itoa(f.supervisor(name).status().PID), "environ"))
	if err != nil {
		return "" // it has just ended
	}
	for variable := range strings.SplitSeq(string(environ), "\x00") {
		if folder, found := strings.CutPrefix(variable, "FLYTE_SECRETS_DEFAULT_DIR="); found {
			content, err := os.ReadFile(filepath.Join(folder, "password"))
			if err != nil {
				return ""
			}
			return string(content)
		}
	}
	return ""
}

// keepAsking asks plugins for a lease, never waiting for one, until missed is called, which says how many were not given.
func (f running) keepAsking(t *testing.T, names ...string) (missed func() int) {
	t.Helper()
	done, total := make(chan struct{}), make(chan int)
	for _, name := range names {
		go func() {
			for n := 0; ; {
				select {
				case <-done:
					total <- n
					return
				default:
				}
				found, listed := f.routes.Table().Lookup(plugin.Category{Name: name})
				if !listed {
					n++
				} else if lease, ok := found.Target.TryAcquire(route.Want{}); ok {
					lease.Release()
				} else {
					n++
				}
				time.Sleep(time.Millisecond) // another one may want the processor
			}
		}()
	}
	return func() (n int) {
		close(done)
		for range names {
			n += <-total
		}
		return n
	}
}
