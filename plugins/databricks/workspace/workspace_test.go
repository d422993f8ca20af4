package workspace_test

import (
	"context"
	"crypto/x509"
	"errors"
	"net/http"
	"os"
	"slices"
	"strings"
	"sync"
	"testing"
	"time"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/plugins/databricks/fakejobs"
	"github.com/agenthost/agenthost/plugins/databricks/workspace"
	sdk "github.com/agenthost/agenthost/sdk/go"
)

func TestMain(m *testing.M) { goleak.VerifyTestMain(m) }

const body = `{"existing_cluster_id": "1", "notebook_task": {"notebook_path": "/n"}, "idempotency_token": "t"}`

var (
	ada   = workspace.Token{Secret: sdk.NewSecretValue("dapi-of-ada")}
	robot = workspace.OAuth{ClientID: "robot", Secret: sdk.NewSecretValue("secret-of-robot")}
)

func open(t *testing.T, credential workspace.Credential, options fakejobs.Options) (*workspace.Workspace, *fakejobs.Workspace) {
	t.Helper()
	options.Tokens, options.Principals = map[string]string{"dapi-of-ada": "ada"}, map[string]string{"robot": "secret-of-robot"}
	fake := fakejobs.Start(t, options)
	return pool(t, fake, 1000).Open(fake.Host, credential), fake
}

func pool(t *testing.T, fake *fakejobs.Workspace, requestsPerSecond int) *workspace.Pool {
	t.Helper()
	authority, err := os.ReadFile(fake.Authority)
	if err != nil {
		t.Fatal(err)
	}
	roots := x509.NewCertPool()
	roots.AppendCertsFromPEM(authority)
	made := workspace.NewPool(workspace.Options{Roots: roots, RequestsPerSecond: requestsPerSecond, RequestTimeout: 10 * time.Second})
	t.Cleanup(made.Close)
	return made
}

func submit(t *testing.T, w *workspace.Workspace) string {
	t.Helper()
	id, err := w.Submit(t.Context(), []byte(body))
	if err != nil {
		t.Fatal(err)
	}
	return id
}

func TestWhatMayPassIsTriedAgain(t *testing.T) {
	for _, credential := range []workspace.Credential{ada, robot} {
		w, fake := open(t, credential, fakejobs.Options{})
		faults := []fakejobs.Fault{{Status: 503, Code: "TEMPORARILY_UNAVAILABLE"}, {Status: 500}, {Status: 429, Code: "REQUEST_LIMIT_EXCEEDED"}, {Status: 502, After: true}}
		fake.Fail("submit", faults...)
		fake.Fail("token", fakejobs.Fault{Status: 503})
		submit(t, w)
		if made := len(fake.Submitted()); made != 1 {
			t.Errorf("%d runs", made)
		}
		if asked := len(fake.Requests()); asked != len(faults)+1 {
			t.Errorf("%d requests", asked)
		}
	}
}

func TestWhatCannotPassIsNotTriedAgain(t *testing.T) {
	w, fake := open(t, ada, fakejobs.Options{})
	_, err := w.Submit(t.Context(), []byte(`{"new_cluster": 7}`))
	var failure *workspace.Error
	if !errors.As(err, &failure) || failure.Status != 400 || failure.Code != "MALFORMED_REQUEST" || failure.Transient() || failure.Missing() {
		t.Errorf("got %#v", err)
	}
	if want := "cannot submit a run on " + fake.Host + " (400 MALFORMED_REQUEST): "; !strings.HasPrefix(err.Error(), want) {
		t.Errorf("got %v", err)
	}
	if asked := len(fake.Requests()); asked != 1 {
		t.Errorf("%d requests", asked)
	}
}

func TestRetryAfterIsRespected(t *testing.T) {
	for form, header := range map[string]func() string{
		"seconds": func() string { return "1" },
		// A date has no fractions, so that two seconds on are at least one.
		"date": func() string { return time.Now().Add(2 * time.Second).UTC().Format(http.TimeFormat) },
	} {
		t.Run(form, func(t *testing.T) {
			w, fake := open(t, ada, fakejobs.Options{})
			began := time.Now()
			fake.Fail("submit", fakejobs.Fault{Status: 429, Code: "REQUEST_LIMIT_EXCEEDED", RetryAfter: header()})
			submit(t, w)
			if took := time.Since(began); took < 900*time.Millisecond {
				t.Errorf("it came back after %s", took)
			}
		})
	}
}

// The caller hears the reason while it still listens, not that its time is over.
func TestACallThatCannotSucceedInTimeSaysWhy(t *testing.T) {
	w, fake := open(t, ada, fakejobs.Options{})
	fake.Fail("get", slices.Repeat([]fakejobs.Fault{{Status: 503, Message: "try in an hour", RetryAfter: "3600"}}, 2)...)
	ctx, cancel := context.WithTimeout(t.Context(), time.Minute)
	defer cancel()
	_, err := w.Run(ctx, "7")
	var failure *workspace.Error
	if !errors.As(err, &failure) || !failure.Transient() || failure.Message != "try in an hour" || ctx.Err() != nil {
		t.Errorf("got %v", err)
	}
	if asked := len(fake.Requests()); asked != 1 {
		t.Errorf("%d requests", asked)
	}
	ctx, cancel = context.WithCancel(t.Context())
	cancel()
	if _, err := w.Run(ctx, "7"); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

func TestAWorkspacesLimitIsWaitedFor(t *testing.T) {
	w, fake := open(t, ada, fakejobs.Options{RequestsPerSecond: 5})
	id := submit(t, w)
	var calls sync.WaitGroup
	for range 12 {
		calls.Go(func() {
			if _, err := w.Run(t.Context(), id); err != nil {
				t.Error(err)
			}
		})
	}
	calls.Wait()
	if asked := len(fake.Requests()); asked <= 13 {
		t.Errorf("the limit was never met: %d requests", asked)
	}
}

func TestTheRateOfCallsIsBounded(t *testing.T) {
	_, fake := open(t, ada, fakejobs.Options{})
	w := pool(t, fake, 20).Open(fake.Host, ada)
	began := time.Now()
	for range 21 {
		submit(t, w)
	}
	if took := time.Since(began); took < 900*time.Millisecond {
		t.Errorf("21 calls took %s", took)
	}
}

func TestConnectionsAndTokensAreKept(t *testing.T) {
	w, fake := open(t, robot, fakejobs.Options{})
	id := submit(t, w)
	var calls sync.WaitGroup
	for range 8 {
		calls.Go(func() {
			for range 20 {
				if _, err := w.Run(t.Context(), id); err != nil {
					t.Error(err)
					return
				}
			}
		})
	}
	calls.Wait()
	if opened := fake.Connections(); opened > 3 {
		t.Errorf("%d connections for 161 calls", opened)
	}
	fake.Fail("token", slices.Repeat([]fakejobs.Fault{{Status: 400}}, 5)...)
	submit(t, w) // With the token that there is.
}

func TestATokenThatEndsIsReplaced(t *testing.T) {
	// Within ten seconds of its end a token counts as ended.
	w, _ := open(t, robot, fakejobs.Options{TokenLife: 5 * time.Second})
	id := submit(t, w)
	for range 3 {
		if _, err := w.Run(t.Context(), id); err != nil {
			t.Error(err)
		}
	}
}

func TestAnUntrustedWorkspaceIsToldAtOnce(t *testing.T) {
	_, fake := open(t, ada, fakejobs.Options{})
	made := workspace.NewPool(workspace.Options{RequestsPerSecond: 10, RequestTimeout: 10 * time.Second})
	t.Cleanup(made.Close)
	_, err := made.Open(fake.Host, ada).Run(t.Context(), "7")
	var failure *workspace.Error
	if !errors.As(err, &failure) || failure.Transient() || !strings.Contains(err.Error(), "certificate") {
		t.Errorf("got %v", err)
	}
}

func TestAnswersThatRepeatSecretsAreBlottedOut(t *testing.T) {
	w, fake := open(t, robot, fakejobs.Options{})
	fake.Fail("token", fakejobs.Fault{Status: 400, Message: "you sent secret-of-robot"})
	if _, err := w.Submit(t.Context(), []byte(body)); err == nil || strings.Contains(err.Error(), "secret-of-robot") {
		t.Errorf("got %v", err)
	}
}

func TestAMissingRunIsKnownByEveryCall(t *testing.T) {
	w, _ := open(t, ada, fakejobs.Options{})
	_, run := w.Run(t.Context(), "7")
	_, output := w.Output(t.Context(), "7")
	for _, err := range []error{run, output, w.Cancel(t.Context(), "7")} {
		var failure *workspace.Error
		if !errors.As(err, &failure) || !failure.Missing() {
			t.Errorf("got %v", err)
		}
	}
}
