package agent_test

import (
	"context"
	"errors"
	"slices"
	"sync"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/agenttest"
)

// ledger is an agent that finds its jobs by their keys.
type ledger struct {
	mu   sync.Mutex
	jobs map[string]string
}

const abandoned = "abandoned"

func (l *ledger) Create(_ context.Context, task *agent.Task) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch l.jobs[task.IdempotencyKey] {
	case abandoned:
		return "", agent.Abandoned("no job is made for it any more")
	case "":
		l.jobs[task.IdempotencyKey] = "job of " + task.IdempotencyKey
	}
	return l.jobs[task.IdempotencyKey], nil
}

func (l *ledger) Find(_ context.Context, task *agent.Task) (string, error) {
	l.mu.Lock()
	defer l.mu.Unlock()
	switch job := l.jobs[task.IdempotencyKey]; job {
	case abandoned:
		return "", agent.Abandoned("it was given up")
	case "":
		return "", agent.NotFound("no job has the key %s", task.IdempotencyKey)
	default:
		return job, nil
	}
}

func (l *ledger) Abandon(_ context.Context, task *agent.Task) error {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.jobs[task.IdempotencyKey] = abandoned
	return nil
}

func (l *ledger) Get(context.Context, agent.Job[string]) (*agent.Resource, error) {
	return nil, errors.New("nobody polls it")
}

func (l *ledger) Delete(context.Context, agent.Job[string]) error { return nil }

func TestAFinderAnswersForTheAttemptAndMakesNothing(t *testing.T) {
	client := agenttest.Run(t, agent.Async("ledger", &ledger{jobs: map[string]string{}}, agent.IdempotentCreate()))
	if promised := client.Describe().GetCapabilities(); !slices.Contains(promised, pluginv1.CapabilityFindByKey) {
		t.Errorf("capabilities = %v", promised)
	}
	task := agenttest.Task{Type: "ledger", IdempotencyKey: "a"}
	for range 2 {
		if job, err := client.Find(t.Context(), task); status.Code(err) != codes.NotFound {
			t.Fatalf("before the creation: %v, %v", job, err)
		}
	}
	made, err := client.Create(t.Context(), task)
	if err != nil {
		t.Fatal(err)
	}
	if found, err := client.Find(t.Context(), task); err != nil || string(found.Meta) != string(made.Meta) {
		t.Errorf("found %v, %v; made %s", found, err, made.Meta)
	}
	for range 2 {
		if err := client.Abandon(t.Context(), task); err != nil {
			t.Fatal(err)
		}
		if _, err := client.Find(t.Context(), task); status.Code(err) != codes.Aborted {
			t.Errorf("found after it was abandoned: %v", err)
		}
		if _, err := client.Create(t.Context(), task); status.Code(err) != codes.Aborted {
			t.Errorf("made after it was abandoned: %v", err)
		}
	}
}

func TestAnAgentThatCannotFindSaysSoAndMakesNothing(t *testing.T) {
	created := false
	client := agenttest.Run(t, agent.Async("shell", funcs{create: func(context.Context, *agent.Task) (meta, error) {
		created = true
		return meta{}, nil
	}}))
	if promised := client.Describe().GetCapabilities(); slices.Contains(promised, pluginv1.CapabilityFindByKey) {
		t.Errorf("capabilities = %v", promised)
	}
	if _, err := client.Find(t.Context(), agenttest.Task{Type: "shell"}); status.Code(err) != codes.Unimplemented {
		t.Errorf("Find: %v", err)
	}
	if err := client.Abandon(t.Context(), agenttest.Task{Type: "shell"}); status.Code(err) != codes.Unimplemented {
		t.Errorf("Abandon: %v", err)
	}
	if created {
		t.Error("a job was made by a call that must make none")
	}
}
