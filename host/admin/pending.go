package admin

import (
	"fmt"
	"net/http"
	"time"

	"github.com/agenthost/agenthost/host/gateway"
)

// PendingTasks is what GET /pending answers and `agenthost pending` shows: the tasks that were accepted, and have no job yet.
type PendingTasks struct {
	// The tasks, the oldest first.
	Tasks []PendingTask `json:"tasks"`
}

// PendingTask is one of them. Another replica may have accepted it, and may have made its job meanwhile.
type PendingTask struct {
	// What it is called at this host: 64 hex digits.
	ID string `json:"id"`
	// The plugin that it waits for.
	Plugin string `json:"plugin"`
	// The name of its task category.
	TaskType string `json:"task_type"`
	// The project of its execution.
	Project string `json:"project"`
	// The domain of its execution.
	Domain string `json:"domain"`
	// Its execution.
	Execution string `json:"execution"`
	// Its node, by the name in its workflow or subworkflow.
	Node string `json:"node"`
	// Which attempt it is, from 0.
	Retry uint32 `json:"retry"`
	// When it was accepted.
	Accepted time.Time `json:"accepted"`
	// How long ago that is.
	AgeSeconds float64 `json:"age_seconds"`
	// What it waits for, in words.
	Waits string `json:"waits,omitempty"`
}

func (s *Server) servePending(w http.ResponseWriter, _ *http.Request) {
	answer := PendingTasks{Tasks: []PendingTask{}}
	for _, p := range s.options.Pending() {
		answer.Tasks = append(answer.Tasks, pendingTask(p))
	}
	writeJSON(w, answer)
}

func pendingTask(p gateway.Pending) PendingTask {
	return PendingTask{
		ID: p.ID, Plugin: p.Plugin, TaskType: p.TaskType, Project: p.Project, Domain: p.Domain, Execution: p.Execution, Node: p.Node, Retry: p.Retry,
		Accepted: p.Accepted, AgeSeconds: time.Since(p.Accepted).Seconds(), Waits: p.Waits,
	}
}

func (s *Server) serveCancel(w http.ResponseWriter, r *http.Request) Outcome {
	id := r.PathValue("id")
	if err := s.options.CancelPending(r.Context(), id); err != nil {
		http.Error(w, err.Error(), http.StatusConflict)
		return Outcome{Err: fmt.Errorf("task %.64q: %w", id, err)}
	}
	w.WriteHeader(http.StatusNoContent)
	return Outcome{Changed: "task " + id + " is given up"}
}
