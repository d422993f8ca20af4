package adminclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"
	"net/url"
	"strconv"

	"github.com/agenthost/agenthost/host/explain"
)

// ExplainType asks what would become of a task that begins now; raw is the same as the host wrote it.
func (c Client) ExplainType(ctx context.Context, taskType string, version int32, project, domain string) (explain.TypeAnswer, json.RawMessage, error) {
	asked := url.Values{"type": {taskType}, "task_version": {strconv.Itoa(int(version))}, "project": {project}, "domain": {domain}}
	return answerOf[explain.TypeAnswer](ctx, c, http.MethodGet, "/explain?"+asked.Encode())
}

// ExplainMeta asks whose a resource_meta is. The task type may be empty.
func (c Client) ExplainMeta(ctx context.Context, meta []byte, taskType string) (explain.MetaAnswer, json.RawMessage, error) {
	if c.body = meta; c.body == nil {
		c.body = []byte{}
	}
	return answerOf[explain.MetaAnswer](ctx, c, http.MethodPost, "/explain/meta?"+url.Values{"type": {taskType}}.Encode())
}

// ExplainTasks asks for the calls about the tasks of an execution.
func (c Client) ExplainTasks(ctx context.Context, q explain.TaskQuestion) (explain.TasksAnswer, json.RawMessage, error) {
	asked := url.Values{}
	if q.Node != "" {
		asked.Set("node", q.Node)
	}
	if q.Retry != nil {
		asked.Set("retry", strconv.Itoa(int(*q.Retry)))
	}
	path := "/tasks/" + url.PathEscape(q.Project) + "/" + url.PathEscape(q.Domain) + "/" + url.PathEscape(q.Execution)
	if q.Project == "" {
		path = "/tasks"
		asked.Set("execution", q.Execution)
	}
	return answerOf[explain.TasksAnswer](ctx, c, http.MethodGet, path+"?"+asked.Encode())
}

// answerOf asks for a whole answer that is JSON.
func answerOf[T any](ctx context.Context, c Client, method, path string) (answer T, raw json.RawMessage, err error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	response, err := c.ask(ctx, method, path)
	if err != nil {
		return answer, nil, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return answer, nil, c.refusal(response)
	}
	if raw, err = c.whole(ctx, response); err != nil {
		return answer, nil, err
	}
	if err := json.Unmarshal(raw, &answer); err != nil {
		return answer, nil, fmt.Errorf("the answer of the host at %s is not understood: %w", c.Address, err)
	}
	return answer, raw, nil
}
