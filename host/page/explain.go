package page

import (
	"encoding/base64"
	"fmt"
	"net/http"
	"net/url"
	"strconv"
	"strings"

	"github.com/agenthost/agenthost/host/explain"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/host/plugin"
)

// explained is what was asked of tasks, and the answers.
type explained struct {
	Type, Version, Project, Domain, Execution, Meta string
	Problem                                         string
	// Says is the answer in words, line by line.
	Title string
	Says  []string
	Tasks []explain.TaskAnswer
	// Links are the tasks of executions that are called alike.
	Links []string
}

// maxMetaText is how long a resource_meta may be that is asked about in a form.
const maxMetaText = 6 << 10

// serveExplain answers where tasks of a type go, or whose a resource_meta is.
func (p *Page) serveExplain(w http.ResponseWriter, r *http.Request) {
	asked := r.URL.Query()
	if r.Method == http.MethodPost {
		asked = r.PostForm // a resource_meta is nobody's business, and does not stand in an address
	}
	e := explained{Type: asked.Get("type"), Version: asked.Get("task_version"), Project: asked.Get("project"), Domain: asked.Get("domain"), Meta: strings.TrimSpace(asked.Get("meta"))}
	switch {
	case p.options.Explain == nil:
		e.Problem = "This host explains nothing."
	case e.Meta != "":
		meta, err := base64.StdEncoding.DecodeString(e.Meta)
		if err != nil || len(e.Meta) > maxMetaText {
			e.Problem = "A resource_meta is to be base64, of a few KiB: agenthost explain --meta takes larger ones."
			break
		}
		e.Title, e.Says = "This resource_meta", p.options.Explain.Meta(meta, e.Type).Says
	case e.Type != "":
		question := gateway.Question{Category: plugin.Category{Name: e.Type}, Project: e.Project, Domain: e.Domain}
		if e.Version != "" {
			version, err := strconv.ParseInt(e.Version, 10, 32)
			if err != nil {
				e.Problem = "The version is to be a whole number."
				break
			}
			question.Category.Version = int32(version)
		}
		e.Title, e.Says = "A task of this type that begins now", p.options.Explain.Type(question).Says
	}
	p.show(w, r, http.StatusOK, "explain.html", frame{Title: "Explain", Current: "/ui/explain", Host: p.hostName(), Body: e})
}

// serveTasks shows what is remembered of the calls about an execution's tasks.
func (p *Page) serveTasks(w http.ResponseWriter, r *http.Request) {
	question := explain.TaskQuestion{Project: r.PathValue("project"), Domain: r.PathValue("domain"), Execution: r.PathValue("execution")}
	if question.Execution == "" {
		question.Execution = strings.TrimSpace(r.URL.Query().Get("execution"))
	}
	if parts := strings.Split(question.Execution, "/"); len(parts) == 3 {
		http.Redirect(w, r, tasksPath(parts[0], parts[1], parts[2]), http.StatusSeeOther)
		return
	}
	e := explained{Execution: question.Execution, Title: "Tasks of " + question.Execution}
	switch {
	case p.options.Explain == nil:
		e.Problem = "This host explains nothing."
	case question.Execution == "":
		e.Problem = "Name an execution."
	default:
		answer := p.options.Explain.Tasks(question)
		e.Says, e.Tasks = answer.Says, answer.Tasks
		for _, full := range answer.Several {
			if parts := strings.Split(full, "/"); len(parts) == 3 {
				e.Links = append(e.Links, tasksPath(parts[0], parts[1], parts[2]))
			}
		}
		if len(e.Tasks) > 0 { // which the tables say
			e.Says = nil
		}
	}
	p.show(w, r, http.StatusOK, "tasks.html", frame{Title: "Tasks", Current: "/ui/explain", Host: p.hostName(), Body: e})
}

func tasksPath(project, domain, execution string) string {
	return fmt.Sprintf("/ui/tasks/%s/%s/%s", url.PathEscape(project), url.PathEscape(domain), url.PathEscape(execution))
}
