package admin

import (
	"bytes"
	"encoding/json"
	"fmt"
	"net/http"
	"net/http/httptest"
	"strings"
	"testing"

	"github.com/prometheus/client_golang/prometheus"

	"github.com/agenthost/agenthost/host/explain"
	"github.com/agenthost/agenthost/host/gateway"
)

// explaining says again what it was asked.
type explaining struct{}

func (explaining) Type(q gateway.Question) explain.TypeAnswer {
	return explain.TypeAnswer{TaskType: q.Category.Name, TaskVersion: q.Category.Version, Project: q.Project, Domain: q.Domain}
}

func (explaining) Meta(meta []byte, taskType string) explain.MetaAnswer {
	return explain.MetaAnswer{Bytes: len(meta), TaskType: taskType, Says: []string{fmt.Sprintf("%x", meta)}}
}

func (explaining) Tasks(q explain.TaskQuestion) explain.TasksAnswer {
	retry := "any"
	if q.Retry != nil {
		retry = fmt.Sprint(*q.Retry)
	}
	return explain.TasksAnswer{Project: q.Project, Domain: q.Domain, Execution: q.Execution, Says: []string{q.Node, retry}}
}

func TestQuestionsAboutTasksAreReadStrictly(t *testing.T) {
	server := New(Options{Explain: explaining{}, Metrics: prometheus.NewRegistry()})
	for _, c := range []struct {
		method, path string
		body         []byte
		code         int
		says         string // in the answer, without spaces
	}{
		{"GET", "/explain?type=sql&task_version=3&project=shop&domain=production", nil, 200, `"task_type":"sql","task_version":3,"project":"shop","domain":"production"`},
		{"GET", "/explain", nil, 400, "typeismissing"},
		{"GET", "/explain?type=sql&task_version=new", nil, 400, `task_version"new"`},
		{"GET", "/explain?type=sql&task_version=3000000000", nil, 400, "nowholenumber"},
		{"POST", "/explain/meta?type=sql", []byte{0, 255}, 200, `"00ff"`},
		{"POST", "/explain/meta", nil, 200, `"bytes":0`},
		{"POST", "/explain/meta", make([]byte, explain.MaxMeta), 200, fmt.Sprintf(`"bytes":%d`, explain.MaxMeta)},
		{"POST", "/explain/meta", make([]byte, explain.MaxMeta+1), 413, "atmost"},
		{"GET", "/tasks/shop/production/f1?node=n0&retry=2", nil, 200, `"project":"shop","domain":"production","execution":"f1"`},
		{"GET", "/tasks/shop/production/f1?retry=-1", nil, 400, `retry"-1"`},
		{"GET", "/tasks?execution=f1", nil, 200, `"any"`},
		{"GET", "/tasks", nil, 400, "executionismissing"},
	} {
		request := httptest.NewRequest(c.method, "http://127.0.0.1"+c.path, bytes.NewReader(c.body))
		request.RemoteAddr = "127.0.0.1:5000"
		if c.body != nil {
			request.Header.Set("Content-Type", "application/octet-stream")
		}
		answer := httptest.NewRecorder()
		server.http.Handler.ServeHTTP(answer, request)
		if said := strings.Join(strings.Fields(answer.Body.String()), ""); answer.Code != c.code || !strings.Contains(said, c.says) {
			t.Errorf("%s %s: %d %.300s", c.method, c.path, answer.Code, said)
		}
		if answer.Code == http.StatusOK && !json.Valid(answer.Body.Bytes()) {
			t.Errorf("%s %s: no JSON", c.method, c.path)
		}
	}
}
