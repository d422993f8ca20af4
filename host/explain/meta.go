package explain

import (
	"errors"
	"fmt"
	"time"

	"github.com/agenthost/agenthost/host/fleet"
	"github.com/agenthost/agenthost/host/gateway"
	"github.com/agenthost/agenthost/host/record"
)

// MaxMeta is the largest resource_meta that is explained, in bytes: more than any host lets a plugin give.
const MaxMeta = 2 << 20

// MetaAnswer is what a resource_meta is, by its bytes, and what one replica knows of its job. Nothing of a task's inputs is in it.
type MetaAnswer struct {
	// The replica that says so; absent where no host was asked.
	Replica string `json:"replica,omitempty"`
	// How many bytes it has.
	Bytes int `json:"bytes"`
	// What it is: bare (a plugin's own bytes), envelope (a pinned job), record (a task that was accepted without a job), sealed (nothing in
	// it can be read) or newer (made by a newer host).
	Form string `json:"form"`
	// Whether it is sealed with the task's type, project and domain.
	Sealed bool `json:"sealed"`
	// Whether a host with the create.keys of this one has made it: yes, no, or not known; absent for a plugin's own bytes.
	Genuine string `json:"genuine,omitempty"`
	// Why no more can be read of it.
	Unreadable string `json:"unreadable,omitempty"`
	// The task type; absent where it is not known.
	TaskType string `json:"task_type,omitempty"`
	// The project of its task, as a seal or record says.
	Project string `json:"project,omitempty"`
	// The domain of its task, as a seal or record says.
	Domain string `json:"domain,omitempty"`
	// The execution of its task, as a record says.
	Execution string `json:"execution,omitempty"`
	// The node of its task, as a record says.
	Node string `json:"node,omitempty"`
	// The number of the attempt, as a record says.
	Retry *uint32 `json:"retry,omitempty"`
	// The plugin that made the job, or that a task on record goes to, as the bytes say.
	Plugin string `json:"plugin,omitempty"`
	// The generation that made the job, as the bytes say.
	Generation string `json:"generation,omitempty"`
	// Whether that generation runs here now: yes, no, or not known.
	GenerationHere string `json:"generation_here,omitempty"`
	// When a task on record was accepted; for others the bytes do not say when they were made.
	Accepted *time.Time `json:"accepted,omitempty"`
	// Whether one host alone can make the job of a task on record.
	OneHostOnly bool `json:"one_host_only,omitempty"`
	// How a task on record has ended; absent where it has not.
	End *TaskStatus `json:"end,omitempty"`
	// The plugin that a poll goes to now; absent where the task type is not known, or not served.
	AskedPlugin string `json:"asked_plugin,omitempty"`
	// Whether a poll goes to the generation that made the job, while that lives.
	Pinned bool `json:"pinned"`
	// What the replica remembers of the tasks whose job is called so, the oldest first: agents may call several jobs alike.
	Tasks []TaskAnswer `json:"tasks,omitempty"`
	// All of it in words, line by line.
	Says []string `json:"says"`
}

// Answers that are not only yes and no.
const (
	yes, no  = "yes", "no"
	notKnown = "not known"
)

// Meta says what a resource_meta is and what is known of its job. A task type may be given, for bytes that do not say it.
func (e Explainer) Meta(meta []byte, taskType string) MetaAnswer {
	asked := e.Gateway.Asked(meta, taskType)
	a := metaAnswer(len(meta), asked.Meta)
	if a.Form == string(gateway.Enveloped) && a.Genuine == notKnown { // by its keys
		a.Genuine = no
	}
	a.Replica, a.TaskType = e.Replica, asked.TaskType
	if asked.Served {
		a.AskedPlugin, a.Pinned = asked.Route.Target.Plugin(), asked.Pinned
	}
	if a.Generation != "" {
		a.GenerationHere = here(e.Plugins(), a.Plugin, a.Generation)
	}
	if more := len(asked.Tasks) - maxTasks; more > 0 {
		asked.Tasks = asked.Tasks[more:]
	}
	for _, t := range asked.Tasks {
		a.Tasks = append(a.Tasks, taskAnswer(t))
	}
	a.Says = a.says()
	return a
}

// here says whether a generation of a plugin is.
func here(plugins []fleet.Status, name, generation string) string {
	for _, p := range plugins {
		if p.Name != name {
			continue
		}
		for _, g := range p.Generations {
			if g.ID == generation {
				return yes
			}
		}
	}
	return no
}

// Bytes says what a resource_meta is, by its bytes alone: no host is asked, and there are no keys.
func Bytes(meta []byte, taskType string) MetaAnswer {
	a := metaAnswer(len(meta), gateway.ReadMeta(nil, meta))
	if a.TaskType == "" {
		a.TaskType = taskType
	}
	if a.Generation != "" {
		a.GenerationHere = notKnown
	}
	a.Says = a.says()
	return a
}

func metaAnswer(size int, m gateway.Meta) MetaAnswer {
	a := MetaAnswer{
		Bytes: size, Form: string(m.Form), Sealed: m.Sealed, Genuine: notKnown, TaskType: m.TaskType, Project: m.Project, Domain: m.Domain,
		Plugin: m.Plugin, Generation: m.Generation, OneHostOnly: m.Host != "", End: taskStatus(m.End),
	}
	if !m.Accepted.IsZero() {
		a.Accepted = &m.Accepted
	}
	if m.Task != nil {
		a.Execution, a.Node, a.Retry = m.Task.Name, m.Task.Node, &m.Task.Retry
	}
	switch {
	case m.Genuine, m.Unreadable == nil && (m.Sealed || m.Form == gateway.Recorded):
		a.Genuine = yes
	case m.Form == gateway.Enveloped && !m.Signed:
		a.Genuine = no
	case m.Form == gateway.Bare:
		a.Genuine = ""
	}
	if m.Unreadable != nil {
		a.Unreadable = unreadable(m.Unreadable)
	}
	return a
}

func unreadable(err error) string {
	switch {
	case errors.Is(err, record.ErrForeign):
		return "it is sealed with a key that this host does not have"
	case errors.Is(err, record.ErrBroken):
		return "it has been changed, or cut, since a host made it"
	}
	return err.Error()
}

func (a *MetaAnswer) says() []string {
	lines := a.saysForm()
	if a.Sealed && a.Unreadable == "" {
		lines = append(lines, fmt.Sprintf("sealed: task type %s, project %s, domain %s", a.TaskType, a.Project, a.Domain))
	}
	if a.Execution != "" {
		lines = append(lines, fmt.Sprintf("its task: %s/%s/%s, node %s, attempt %d, of type %s", a.Project, a.Domain, a.Execution, a.Node, *a.Retry, a.TaskType))
	}
	switch {
	case a.Accepted != nil:
		lines = append(lines, fmt.Sprintf("accepted at %s, %s ago", a.Accepted.Format(time.RFC3339), ago(time.Since(*a.Accepted).Seconds())))
	case len(a.Tasks) == 0:
		lines = append(lines, "when its job was made is not known: the bytes do not say")
	}
	if a.End != nil {
		lines = append(lines, "it has ended: "+a.End.String())
	}
	if a.Replica == "" {
		return lines
	}
	switch {
	case a.AskedPlugin != "" && a.Pinned && a.GenerationHere == yes:
		lines = append(lines, fmt.Sprintf("a poll goes to plugin %s, generation %s, at this replica (%s)", a.AskedPlugin, a.Generation, a.Replica))
	case a.AskedPlugin != "":
		lines = append(lines, fmt.Sprintf("a poll goes to plugin %s, its current generation, at this replica (%s)", a.AskedPlugin, a.Replica))
	case a.TaskType == "":
		lines = append(lines, "which plugin a poll goes to is not known: say the task type with --type")
	default:
		lines = append(lines, fmt.Sprintf("no plugin serves %s at this replica (%s): a poll is answered from memory for a while (G5)", a.TaskType, a.Replica))
	}
	if len(a.Tasks) == 0 {
		return append(lines, "this replica remembers no call about it")
	}
	if len(a.Tasks) > 1 {
		lines = append(lines, fmt.Sprintf("%d tasks have a job that is called so", len(a.Tasks)))
	}
	for i := range a.Tasks {
		lines = append(lines, a.Tasks[i].says()...)
	}
	return lines
}

func (a *MetaAnswer) saysForm() []string {
	size := fmt.Sprintf("%d bytes: ", a.Bytes)
	if a.Bytes == 0 {
		return []string{"no bytes: a sync task has no job, and Flyte keeps nothing of one that is not made yet"}
	}
	switch {
	case a.Form == string(gateway.Bare):
		return []string{size + "an agent's own bytes, without an envelope: they name neither plugin nor generation, and any host serves them by their task type"}
	case a.Form == string(gateway.Newer):
		return []string{size + "an envelope of a newer host, which this one cannot read"}
	case a.Form == string(gateway.Closed):
		return []string{size + "sealed: " + a.Unreadable}
	case a.Form == string(gateway.Recorded) && a.Unreadable != "":
		return []string{size + "a task on record: " + a.Unreadable}
	case a.Form == string(gateway.Recorded):
		text := size + "a task on record, accepted before it had a job, for plugin " + a.Plugin
		if a.OneHostOnly {
			text += "; the host that accepted it alone can make its job"
		}
		return []string{text}
	}
	text := size + fmt.Sprintf("an envelope: its job is pinned to plugin %s, generation %s", a.Plugin, a.Generation)
	switch a.GenerationHere {
	case yes:
		text += ", which is here"
	case no:
		text += ", which does not run now; the current one is asked, once that runs"
	}
	switch a.Genuine {
	case no:
		text += "; no host with the create.keys of this one has signed it, so its generation does not count"
	case notKnown:
		text += "; whether a host has signed it is not known without create.keys"
	}
	return []string{text}
}
