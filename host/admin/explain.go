package admin

import (
	"fmt"
	"io"
	"net/http"
	"strconv"

	"github.com/agenthost/agenthost/host/explain"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/host/plugin"
)

// Explainer answers questions about tasks: see explain.Explainer.
type Explainer interface {
	Type(question gateway.Question) explain.TypeAnswer
	Meta(meta []byte, taskType string) explain.MetaAnswer
	Tasks(question explain.TaskQuestion) explain.TasksAnswer
}

// explaining are the endpoints that answer people who ask about a task. They change nothing.
func (s *Server) explaining() []endpoint {
	return []endpoint{
		{
			pattern: "GET /explain", handler: s.explained(s.explainType), access: read,
			parameters: "`type`: the task type; `task_version`, `project`, `domain`: of the task",
			answer:     "what would become of a task that begins now: [TypeAnswer](#typeanswer), as JSON", status: "200, 400",
		},
		{
			pattern: "POST /explain/meta", handler: s.explained(s.explainMeta), access: read, body: octets,
			parameters: "the body: a resource_meta, as `application/octet-stream`; `type`: its task type, for bytes that do not say it",
			answer:     "whose it is, and what is known of its job: [MetaAnswer](#metaanswer), as JSON", status: "200, 413",
		},
		{
			pattern: "GET /tasks", handler: s.explained(s.explainTasks), access: read,
			parameters: "`execution`: the name of an execution; `node`, `retry`: which of its tasks",
			answer:     "what is remembered of the calls about its tasks: [TasksAnswer](#tasksanswer), as JSON", status: "200, 400",
		},
		{
			pattern: "GET /tasks/{project}/{domain}/{execution}", handler: s.explained(s.explainTasks), access: read,
			parameters: "`node`, `retry`: which of its tasks",
			answer:     "the same", status: "200, 400",
		},
	}
}

// explained makes the handler of a question. What is wrong with the question is an answer, too.
func (s *Server) explained(answer func(http.ResponseWriter, *http.Request) (any, error)) http.Handler {
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		if s.options.Explain == nil {
			http.Error(w, "this host explains nothing", http.StatusNotImplemented)
			return
		}
		said, err := answer(w, r)
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		if said != nil {
			writeJSON(w, said)
		}
	})
}

func (s *Server) explainType(_ http.ResponseWriter, r *http.Request) (any, error) {
	asked := r.URL.Query()
	q := gateway.Question{Category: plugin.Category{Name: asked.Get("type")}, Project: asked.Get("project"), Domain: asked.Get("domain")}
	if q.Category.Name == "" {
		return nil, fmt.Errorf("type is missing: the task type to explain")
	}
	if given := asked.Get("task_version"); given != "" {
		version, err := strconv.ParseInt(given, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("task_version %.64q is no whole number", given)
		}
		q.Category.Version = int32(version)
	}
	return s.options.Explain.Type(q), nil
}

func (s *Server) explainMeta(w http.ResponseWriter, r *http.Request) (any, error) {
	meta, err := io.ReadAll(http.MaxBytesReader(w, r.Body, explain.MaxMeta))
	if err != nil {
		http.Error(w, fmt.Sprintf("a resource_meta has at most %d bytes here: %v", explain.MaxMeta, err), http.StatusRequestEntityTooLarge)
		return nil, nil //nolint:nilnil // it is answered
	}
	return s.options.Explain.Meta(meta, r.URL.Query().Get("type")), nil
}

func (s *Server) explainTasks(_ http.ResponseWriter, r *http.Request) (any, error) {
	asked := r.URL.Query()
	q := explain.TaskQuestion{Project: r.PathValue("project"), Domain: r.PathValue("domain"), Execution: r.PathValue("execution"), Node: asked.Get("node")}
	if q.Execution == "" {
		q.Execution = asked.Get("execution")
	}
	if q.Execution == "" {
		return nil, fmt.Errorf("execution is missing: the name of the execution to explain")
	}
	if given := asked.Get("retry"); given != "" {
		retry, err := strconv.ParseUint(given, 10, 32)
		if err != nil {
			return nil, fmt.Errorf("retry %.64q is no number of an attempt: they are counted from 0", given)
		}
		number := uint32(retry)
		q.Retry = &number
	}
	return s.options.Explain.Tasks(q), nil
}
