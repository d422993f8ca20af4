package propeller

import (
	"bytes"
	"encoding/gob"
	"encoding/json"
	"errors"
	"fmt"
	"sync"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
)

// objects are where Flyte 1 keeps what its plugins wrote down of the tasks in flight: all tasks of an execution in one object, each
// with gob's bytes, which are base64 in the object's JSON. Between two rounds a task has nothing else. (read)
type objects struct {
	mu      sync.Mutex
	all     map[string]*object // by execution
	largest int
}

// object is that of one execution.
type object struct {
	tasks map[string]int // the size of what is kept, by attempt
	size  int
	full  bool // it was too large once: its workflow has failed
}

// objectLimit is the most that etcd takes for an object.
const objectLimit = 3 << 19

// errObjectTooLarge fails all tasks of an execution, which have failed with their workflow.
var errObjectTooLarge = errors.New("the workflow's object is larger than etcd takes")

// kept is a state as gob has it.
type kept struct {
	Phase        pluginPhase
	HasMeta      bool
	Name         string
	Version      int32
	OutputPrefix string
	Job          []byte
	Connection   []byte
	SyncFailures int
	LastError    string
}

// keep writes a task's state down, and gives what the next round reads of it.
func (o *objects) keep(e *Execution, a *attempt, current state) (state, error) {
	document, err := encodeState(current)
	if err != nil {
		return state{}, err
	}
	o.mu.Lock()
	defer o.mu.Unlock()
	if o.all == nil {
		o.all = map[string]*object{}
	}
	name := e.object()
	one := o.all[name]
	if one == nil {
		one = &object{tasks: map[string]int{}}
		o.all[name] = one
	}
	one.size += len(document) - one.tasks[a.id]
	one.tasks[a.id] = len(document)
	o.largest = max(o.largest, one.size)
	if one.full = one.full || one.size > objectLimit; one.full {
		return state{}, errObjectTooLarge
	}
	return decodeState(document, a)
}

// forget takes a task out that is over.
func (o *objects) forget(e *Execution, a *attempt) {
	o.mu.Lock()
	defer o.mu.Unlock()
	if one := o.all[e.object()]; one != nil {
		one.size -= one.tasks[a.id]
		delete(one.tasks, a.id)
	}
}

// LargestObject is the most that Flyte 1 has kept of the tasks of one execution at a time, in bytes.
func (p *Propeller) LargestObject() int {
	p.objects.mu.Lock()
	defer p.objects.mu.Unlock()
	return p.objects.largest
}

// object names the one that the execution's tasks are kept in.
func (e *Execution) object() string {
	id := e.task.ExecutionID.GetNodeExecutionId().GetExecutionId()
	return id.GetProject() + "/" + id.GetDomain() + "/" + id.GetName()
}

func encodeState(current state) ([]byte, error) {
	written := kept{Phase: current.phase, SyncFailures: current.syncFailures, LastError: current.lastError}
	if meta := current.meta; meta != nil {
		written.HasMeta, written.Name, written.Version = true, meta.category.GetName(), meta.category.GetVersion()
		written.OutputPrefix, written.Job, written.Connection = meta.outputPrefix, meta.job, meta.connection
	}
	var encoded bytes.Buffer
	if err := gob.NewEncoder(&encoded).Encode(written); err != nil {
		return nil, fmt.Errorf("a task's state cannot be written: %w", err)
	}
	return json.Marshal(map[string][]byte{"pluginState": encoded.Bytes()})
}

func decodeState(document []byte, a *attempt) (state, error) {
	var fields map[string][]byte
	if err := json.Unmarshal(document, &fields); err != nil {
		return state{}, fmt.Errorf("a task's state cannot be read: %w", err)
	}
	var written kept
	if err := gob.NewDecoder(bytes.NewReader(fields["pluginState"])).Decode(&written); err != nil {
		return state{}, fmt.Errorf("a task's state cannot be read: %w", err)
	}
	read := state{phase: written.Phase, syncFailures: written.SyncFailures, lastError: written.LastError}
	if written.HasMeta {
		read.meta = &resourceMeta{
			attempt: a, category: &admin.TaskCategory{Name: written.Name, Version: written.Version},
			outputPrefix: written.OutputPrefix, job: written.Job, connection: written.Connection,
		}
	}
	return read, nil
}
