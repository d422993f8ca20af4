package agent_test

import (
	"bytes"
	"crypto/sha256"
	"fmt"
	"slices"
	"strings"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/plugins/bigquery/agent"
	"github.com/agenthost/agenthost/plugins/bigquery/bqtest"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// attempt is a task of an attempt of the test's own.
func attempt(t *testing.T, n int, custom map[string]any) agenttest.Task {
	t.Helper()
	query := task("select 42 as n", custom)
	query.IdempotencyKey = fmt.Sprintf("%x", sha256.Sum256(fmt.Append(nil, t.Name(), n)))
	return query
}

// two serves the agent twice, as two processes do that share BigQuery only.
func two(t *testing.T) (one, other *agenttest.Client, proxy *bqtest.Proxy) {
	t.Helper()
	one, proxy = serve(t, nil)
	other = agenttest.Run(t, agent.Options()...)
	configure(t, other, proxy, nil)
	return one, other, proxy
}

// open leaves the place of a job to BigQuery.
var open = map[string]any{"Location": ""}

func wantCode(t *testing.T, what string, err error, want codes.Code) {
	t.Helper()
	if got := status.Code(err); got != want {
		t.Errorf("%s gave %s, want %s: %v", what, got, want, err)
	}
}

// made are the jobs that were inserted.
func made(proxy *bqtest.Proxy) []string {
	var jobs []string
	for _, call := range proxy.Calls(bqtest.Insert) {
		if dry, _ := call.Configuration("dryRun").(bool); !dry && !slices.Contains(jobs, call.Job) {
			jobs = append(jobs, call.Job)
		}
	}
	return jobs
}

func TestProcessesFindEachOthersJobsWhereverTheyAre(t *testing.T) {
	for name, c := range map[string]struct {
		custom  map[string]any
		settled string
	}{
		"a named place":               {nil, ""},
		"chosen, the US":              {open, ""},
		"chosen, asked for by nobody": {open, "asia-northeast1"},
	} {
		t.Run(name, func(t *testing.T) {
			one, other, proxy := two(t)
			proxy.Settle(c.settled)
			query := attempt(t, 1, c.custom)
			for range 2 {
				_, err := other.Find(t.Context(), query)
				wantCode(t, "Find before Create", err, codes.NotFound)
			}
			if jobs := made(proxy); len(jobs) != 0 {
				t.Errorf("Find made %q", jobs)
			}
			job := create(t, one, query)
			for range 2 {
				found, err := other.Find(t.Context(), query)
				if err != nil || !bytes.Equal(found.Meta, job.Meta) {
					t.Errorf("Find gave %v, %v, want %s", found, err, job.Meta)
				}
			}
			if jobs := made(proxy); len(jobs) != 1 {
				t.Errorf("there are the jobs %q, want one", jobs)
			}
		})
	}
}

func TestOfAnAttemptThatWasAbandonedNoQueryIsRun(t *testing.T) {
	for _, custom := range []map[string]any{nil, open, {"dryRun": true}} {
		t.Run(fmt.Sprint(custom), func(t *testing.T) {
			one, other, proxy := two(t)
			query := attempt(t, 1, custom)
			if custom["dryRun"] != nil {
				query.OutputTypes = nil
			}
			for range 2 {
				if err := one.Abandon(t.Context(), query); err != nil {
					t.Fatal(err)
				}
			}
			for range 2 {
				_, err := other.Create(t.Context(), query)
				wantCode(t, "Create", err, codes.Aborted)
				_, err = other.Find(t.Context(), query)
				wantCode(t, "Find", err, codes.Aborted)
			}
			if statement := proxy.Statement("warehouse", "agenthost-"+query.IdempotencyKey); statement != "SELECT 1" {
				t.Errorf("under the job's id there is %q", statement)
			}
		})
	}
}

func TestAbandonEndsAJobThatRuns(t *testing.T) {
	for settled, custom := range map[string]map[string]any{"": nil, "US": open, "asia-northeast1": open} {
		t.Run(settled, func(t *testing.T) {
			one, other, proxy := two(t)
			proxy.Settle(settled)
			query := attempt(t, 1, custom)
			job := create(t, one, query)
			proxy.Change(func(job map[string]any) { job["status"] = map[string]any{"state": "RUNNING"} })
			if err := other.Abandon(t.Context(), query); err != nil {
				t.Fatal(err)
			}
			if calls := proxy.Calls(bqtest.Cancel); len(calls) != 1 || calls[0].Job != metaOf(t, job)["job_id"] {
				t.Errorf("cancelled: %v", calls)
			}
			_, err := one.Create(t.Context(), query)
			wantCode(t, "Create", err, codes.Aborted)
			_, err = one.Find(t.Context(), query)
			wantCode(t, "Find", err, codes.Aborted)
		})
	}
}

// The tables that decided where the occupant of the job's id went may have moved since.
func TestAQueryThatGoesToAnotherPlaceThanItsOccupantIsEnded(t *testing.T) {
	one, _, proxy := two(t)
	query := attempt(t, 1, open)
	if err := one.Abandon(t.Context(), query); err != nil {
		t.Fatal(err)
	}
	proxy.Settle("asia-northeast1")
	proxy.ChangeInserted(func(job map[string]any) { job["status"] = map[string]any{"state": "RUNNING"} })
	_, err := one.Create(t.Context(), query)
	wantCode(t, "Create", err, codes.Aborted)
	if calls := proxy.Calls(bqtest.Cancel); len(calls) != 1 {
		t.Errorf("cancelled: %v", calls)
	}
}

func TestACreationAndItsEndMayMeetAtAnyPoint(t *testing.T) {
	one, other, proxy := two(t)
	proxy.Change(func(job map[string]any) { job["status"] = map[string]any{"state": "RUNNING"} })
	const attempts = 20
	var calls sync.WaitGroup
	queries, created, again := make([]agenttest.Task, attempts), make([]error, attempts), make([]error, attempts)
	for n := range attempts {
		query := attempt(t, n, open)
		if n%2 == 0 {
			query = attempt(t, n, nil)
		}
		queries[n] = query
		calls.Go(func() { _, created[n] = one.Create(t.Context(), query) })
		calls.Go(func() { _, again[n] = other.Create(t.Context(), query) })
		calls.Go(func() {
			if err := other.Abandon(t.Context(), query); err != nil {
				t.Errorf("Abandon: %v", err)
			}
		})
	}
	calls.Wait()
	var cancelled []string
	for _, call := range proxy.Calls(bqtest.Cancel) {
		cancelled = append(cancelled, call.Job)
	}
	for n, query := range queries {
		id := "agenthost-" + query.IdempotencyKey
		ran := proxy.Statement("warehouse", id) != "SELECT 1"
		if ran && !slices.Contains(cancelled, id) {
			t.Errorf("attempt %d was abandoned, and its query goes on", n)
		}
		for _, err := range []error{created[n], again[n]} {
			if err == nil && !ran || err != nil && status.Code(err) != codes.Aborted {
				t.Errorf("Create of attempt %d, whose query was run: %t, gave %v", n, ran, err)
			}
		}
		_, err := one.Find(t.Context(), query)
		wantCode(t, "Find", err, codes.Aborted)
	}
}

func TestAnAttemptWhoseTaskCannotRunIsNotFoundAndAbandonedAtOnce(t *testing.T) {
	client, proxy := serve(t, nil)
	query := attempt(t, 1, nil)
	query.SQL = ""
	_, err := client.Find(t.Context(), query)
	wantCode(t, "Find", err, codes.NotFound)
	if err := client.Abandon(t.Context(), query); err != nil {
		t.Error(err)
	}
	if jobs := made(proxy); len(jobs) != 0 {
		t.Errorf("there are the jobs %q", jobs)
	}
}

func TestFindDoesNotSayNotFoundWhereItCannotTell(t *testing.T) {
	client, proxy := serve(t, nil)
	query := attempt(t, 1, open)
	create(t, client, query)
	proxy.Fail(bqtest.Get, 5, 503, "backendError", "try again later")
	if _, err := client.Find(t.Context(), query); status.Code(err) != codes.Unavailable || !strings.Contains(err.Error(), "try again later") {
		t.Errorf("Find gave %v", err)
	}
	other := attempt(t, 2, open)
	proxy.Fail(bqtest.Insert, 5, 503, "backendError", "try again later") // the place cannot be told
	if _, err := client.Find(t.Context(), other); status.Code(err) != codes.Unavailable {
		t.Errorf("Find of a job that may be anywhere gave %v", err)
	}
}
