package badplugin

import (
	"context"
	"encoding/json"
	"fmt"
	"io"
	"os"
	"strconv"
	"strings"
	"sync"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/timestamppb"
)

// Script is what a task asks of the echo agents, as JSON in its template's `custom`. All of it is optional; an empty
// script is a job that succeeds at the first poll with its inputs as its outputs.
type Script struct {
	// Polls is how many Gets answer RUNNING before the end.
	Polls int `json:"polls,omitempty"`
	// Phase is the phase at the end, such as "FAILED"; SUCCEEDED where empty. Message goes with it.
	Phase   string `json:"phase,omitempty"`
	Message string `json:"message,omitempty"`
	// CreateDelay and GetDelay are slept through before the answer, such as "300ms".
	CreateDelay string `json:"create_delay,omitempty"`
	GetDelay    string `json:"get_delay,omitempty"`
	// CreateError and DeleteError are the names of codes to answer with, such as "UNAVAILABLE".
	CreateError string `json:"create_error,omitempty"`
	// ErrorLength is how much longer the text of CreateError is, in characters that take more than one byte each.
	ErrorLength int    `json:"error_length,omitempty"`
	DeleteError string `json:"delete_error,omitempty"`
	// GetErrors is how many Gets fail with GetError (UNAVAILABLE where empty) before they answer.
	GetErrors int    `json:"get_errors,omitempty"`
	GetError  string `json:"get_error,omitempty"`
	// CrashIn ends the process in "create", "get", "delete" or "sync", before it answers, with exit code 9.
	CrashIn string `json:"crash_in,omitempty"`
	// Stateless makes jobs survive the process: all there is to know of them is in their resource_meta, and Get then
	// counts from zero.
	Stateless bool `json:"stateless,omitempty"`
	// LogLines is how many messages GetTaskLogs streams.
	LogLines int `json:"log_lines,omitempty"`
	// SyncParts is how many messages a sync call is answered with; one where 0.
	SyncParts int `json:"sync_parts,omitempty"`
	// SecondDelete is the name of a code with which the second deletion of a job is answered.
	SecondDelete string `json:"second_delete,omitempty"`
}

// Meta is the resource_meta of an echo job, as JSON.
type Meta struct {
	ID     string `json:"id"`
	PID    int    `json:"pid"`
	Script Script `json:"script"`
	Inputs []byte `json:"inputs"` // a LiteralMap as JSON
}

// echo is an async and a sync agent with its jobs in memory.
type echo struct {
	service.UnimplementedAsyncAgentServiceServer
	service.UnimplementedSyncAgentServiceServer

	strict bool
	script string          // merged over that of every task
	known  map[string]bool // the names of task categories

	mu      sync.Mutex
	made    int
	jobs    map[string]*job
	deleted map[string]bool
}

type job struct{ gets int }

func newEcho(o *options) *echo {
	e := &echo{strict: o.strict, script: o.script, jobs: map[string]*job{}, deleted: map[string]bool{}, known: map[string]bool{}}
	for _, agent := range parseAgents(o) {
		for _, category := range agent.GetSupportedTaskCategories() {
			e.known[category.GetName()] = true
		}
		for _, name := range agent.GetSupportedTaskTypes() {
			e.known[name] = true
		}
	}
	return e
}

// mine says, where the plugin is strict, that a task category is one of its own.
func (e *echo) mine(category string) error {
	if e.strict && !e.known[category] {
		return status.Errorf(codes.NotFound, "no agent for task category %q", category)
	}
	return nil
}

func (e *echo) CreateTask(_ context.Context, request *admin.CreateTaskRequest) (*admin.CreateTaskResponse, error) {
	script, err := e.scriptOf(request.GetTemplate())
	if err != nil {
		return nil, err
	}
	crash(script, "create")
	pause(script.CreateDelay)
	if script.CreateError != "" {
		return nil, failure(script.CreateError, strings.Repeat("ä", script.ErrorLength)+"create failed as the script says")
	}
	inputs, err := protojson.Marshal(request.GetInputs())
	if err != nil {
		return nil, err
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	e.made++
	meta := Meta{ID: strconv.Itoa(e.made), PID: os.Getpid(), Script: script, Inputs: inputs}
	e.jobs[meta.ID] = &job{}
	encoded, err := json.Marshal(meta)
	return &admin.CreateTaskResponse{ResourceMeta: encoded}, err
}

func (e *echo) GetTask(_ context.Context, request *admin.GetTaskRequest) (*admin.GetTaskResponse, error) {
	if err := e.mine(request.GetTaskCategory().GetName()); err != nil {
		return nil, err
	}
	meta, job, err := e.find(request.GetResourceMeta())
	if err != nil {
		return nil, err
	}
	crash(meta.Script, "get")
	pause(meta.Script.GetDelay)
	e.mu.Lock()
	job.gets++
	gets := job.gets
	e.mu.Unlock()
	if gets <= meta.Script.GetErrors {
		return nil, failure(meta.Script.GetError, fmt.Sprintf("get %d failed as the script says", gets))
	}
	if gets -= meta.Script.GetErrors; gets <= meta.Script.Polls {
		return &admin.GetTaskResponse{Resource: &admin.Resource{
			Phase:   core.TaskExecution_RUNNING,
			Message: fmt.Sprintf("poll %d of %d", gets, meta.Script.Polls),
		}}, nil
	}
	var inputs core.LiteralMap
	if err := protojson.Unmarshal(meta.Inputs, &inputs); err != nil {
		return nil, err
	}
	resource, err := resourceOf(meta.Script, &inputs)
	return &admin.GetTaskResponse{Resource: resource}, err
}

func (e *echo) DeleteTask(_ context.Context, request *admin.DeleteTaskRequest) (*admin.DeleteTaskResponse, error) {
	if err := e.mine(request.GetTaskCategory().GetName()); err != nil {
		return nil, err
	}
	meta, _, err := e.find(request.GetResourceMeta())
	if err != nil {
		return nil, err
	}
	crash(meta.Script, "delete")
	if meta.Script.DeleteError != "" {
		return nil, failure(meta.Script.DeleteError, "delete failed as the script says")
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	if e.deleted[meta.ID] && meta.Script.SecondDelete != "" {
		return nil, failure(meta.Script.SecondDelete, "the job is gone already")
	}
	delete(e.jobs, meta.ID)
	e.deleted[meta.ID] = true
	return &admin.DeleteTaskResponse{}, nil
}

func (e *echo) GetTaskMetrics(_ context.Context, request *admin.GetTaskMetricsRequest) (*admin.GetTaskMetricsResponse, error) {
	if _, _, err := e.find(request.GetResourceMeta()); err != nil {
		return nil, err
	}
	results := make([]*core.ExecutionMetricResult, 0, len(request.GetQueries()))
	for _, query := range request.GetQueries() {
		results = append(results, &core.ExecutionMetricResult{Metric: query})
	}
	return &admin.GetTaskMetricsResponse{Results: results}, nil
}

func (e *echo) GetTaskLogs(request *admin.GetTaskLogsRequest, stream service.AsyncAgentService_GetTaskLogsServer) error {
	meta, _, err := e.find(request.GetResourceMeta())
	if err != nil {
		return err
	}
	for n := range meta.Script.LogLines {
		line := fmt.Sprintf("line %d of %d", n+1, meta.Script.LogLines)
		body := &admin.GetTaskLogsResponseBody{Results: []string{line}}
		if err := stream.Send(&admin.GetTaskLogsResponse{Part: &admin.GetTaskLogsResponse_Body{Body: body}}); err != nil {
			return err
		}
	}
	return stream.Send(&admin.GetTaskLogsResponse{Part: &admin.GetTaskLogsResponse_Header{
		Header: &admin.GetTaskLogsResponseHeader{Token: timestamppb.Now().String()},
	}})
}

func (e *echo) ExecuteTaskSync(stream service.SyncAgentService_ExecuteTaskSyncServer) error {
	var header *admin.CreateRequestHeader
	inputs := &core.LiteralMap{Literals: map[string]*core.Literal{}}
	for {
		part, err := stream.Recv()
		if err == io.EOF { //nolint:errorlint // gRPC's streams end with a bare io.EOF
			break
		}
		if err != nil {
			return err
		}
		if part.GetHeader() != nil {
			header = part.GetHeader()
		}
		for name, literal := range part.GetInputs().GetLiterals() {
			inputs.Literals[name] = literal
		}
	}
	if header == nil {
		return status.Error(codes.InvalidArgument, "no header came")
	}
	script, err := e.scriptOf(header.GetTemplate())
	if err != nil {
		return err
	}
	crash(script, "sync")
	pause(script.CreateDelay)
	if script.CreateError != "" {
		return failure(script.CreateError, "the sync call failed as the script says")
	}
	resource, err := resourceOf(script, inputs)
	if err != nil {
		return err
	}
	for range max(script.SyncParts, 1) {
		if err := stream.Send(&admin.ExecuteTaskSyncResponse{Res: &admin.ExecuteTaskSyncResponse_Header{
			Header: &admin.ExecuteTaskSyncResponseHeader{Resource: resource},
		}}); err != nil {
			return err
		}
	}
	return nil
}

// find is the job that resource_meta names; one that this process does not know is NOT_FOUND.
func (e *echo) find(resourceMeta []byte) (Meta, *job, error) {
	var meta Meta
	if err := json.Unmarshal(resourceMeta, &meta); err != nil {
		return meta, nil, status.Errorf(codes.InvalidArgument, "resource_meta is not of this agent: %v", err)
	}
	e.mu.Lock()
	defer e.mu.Unlock()
	found := e.jobs[meta.ID]
	if found != nil && meta.PID == os.Getpid() {
		return meta, found, nil
	}
	if !meta.Script.Stateless {
		return meta, nil, status.Errorf(codes.NotFound, "job %s of process %d is not known", meta.ID, meta.PID)
	}
	key := fmt.Sprintf("%d/%s", meta.PID, meta.ID)
	if e.jobs[key] == nil {
		e.jobs[key] = &job{}
	}
	return meta, e.jobs[key], nil
}

func resourceOf(script Script, outputs *core.LiteralMap) (*admin.Resource, error) {
	phase := core.TaskExecution_SUCCEEDED
	if script.Phase != "" {
		number, ok := core.TaskExecution_Phase_value[script.Phase]
		if !ok {
			return nil, status.Errorf(codes.InvalidArgument, "the script's phase %q is none", script.Phase)
		}
		phase = core.TaskExecution_Phase(number)
	}
	resource := &admin.Resource{Phase: phase, Message: script.Message}
	if phase == core.TaskExecution_SUCCEEDED {
		resource.Outputs = outputs
	}
	return resource, nil
}

// scriptOf is the script of a task, if the task is one of this plugin's.
func (e *echo) scriptOf(template *core.TaskTemplate) (Script, error) {
	var script Script
	if err := e.mine(template.GetType()); err != nil {
		return script, err
	}
	encoded := []byte("{}")
	var err error
	if template.GetCustom() != nil {
		encoded, err = template.GetCustom().MarshalJSON()
	}
	if err == nil {
		err = json.Unmarshal(encoded, &script)
	}
	if err == nil && e.script != "" {
		err = json.Unmarshal([]byte(e.script), &script)
	}
	if err != nil {
		return script, status.Errorf(codes.InvalidArgument, "the task's script: %v", err)
	}
	return script, nil
}

func crash(script Script, in string) {
	if script.CrashIn == in {
		say(realStderr, "crashing in "+in+" as the script says")
		os.Exit(9)
	}
}

func pause(duration string) {
	if duration == "" {
		return
	}
	parsed, err := time.ParseDuration(duration)
	if err != nil {
		panic(err)
	}
	time.Sleep(parsed)
}

func failure(code, message string) error {
	c := codes.Unavailable
	if code != "" {
		if err := c.UnmarshalJSON([]byte(strconv.Quote(code))); err != nil {
			c = codes.Unknown
			message = fmt.Sprintf("%s (and its code %q is none)", message, code)
		}
	}
	return status.Error(c, message)
}

// registry lists the agents.
type registry struct {
	service.UnimplementedAgentMetadataServiceServer
	agents []*admin.Agent
}

func (m *registry) ListAgents(context.Context, *admin.ListAgentsRequest) (*admin.ListAgentsResponse, error) {
	return &admin.ListAgentsResponse{Agents: m.agents}, nil
}

func (m *registry) GetAgent(_ context.Context, request *admin.GetAgentRequest) (*admin.GetAgentResponse, error) {
	for _, agent := range m.agents {
		if agent.GetName() == request.GetName() {
			return &admin.GetAgentResponse{Agent: agent}, nil
		}
	}
	return nil, status.Errorf(codes.NotFound, "no agent %s", request.GetName())
}

func parseAgents(o *options) []*admin.Agent {
	var agents []*admin.Agent
	for entry := range strings.SplitSeq(o.agents, ";") {
		name, rest, _ := strings.Cut(entry, ":")
		kind, categories, _ := strings.Cut(rest, ":")
		agent := &admin.Agent{Name: name, IsSync: kind == "sync"}
		for category := range strings.SplitSeq(categories, ",") {
			category, version, _ := strings.Cut(category, "@")
			number, _ := strconv.Atoi(version) // none is 0
			if o.byTaskType {
				agent.SupportedTaskTypes = append(agent.SupportedTaskTypes, category)
			} else {
				agent.SupportedTaskCategories = append(agent.SupportedTaskCategories, &admin.TaskCategory{Name: category, Version: int32(number)})
			}
		}
		agents = append(agents, agent)
	}
	return agents
}
