// Package traces holds recordings of Flyte's own clients talking to a scripted agent: what the agent answered, what the
// client sent, and what it made of the task. They are the ground that the FlytePropeller model stands on, and a source
// of real request bytes for any test. README.md tells how they were made.
package traces

import (
	"bytes"
	"embed"
	"encoding/json"
	"fmt"
	"path"
	"strings"
	"time"
)

// Trace is one recorded scenario.
type Trace struct {
	// Name is the file's name without its extension; unique within one generation of Flyte.
	Name string `json:"name"`
	// Why says in a few words what the scenario shows.
	Why string `json:"why"`

	// TaskType and TaskTypeVersion are the category of the task's template.
	TaskType        string `json:"task_type"`
	TaskTypeVersion int32  `json:"task_type_version"`
	// Custom is the template's custom struct where it matters; CustomUnset means that the template has none.
	Custom      map[string]any `json:"custom"`
	CustomUnset bool           `json:"custom_unset"`
	// Container means that the template had a container, whose args Flyte renders before it sends them.
	Container bool `json:"container"`
	// Retries is the template's number of retries.
	Retries int `json:"template_retries"`
	// SecretManagerAnswers means that Flyte had a secret manager; else it had the one that knows no secret.
	SecretManagerAnswers bool `json:"secret_manager_answers"`

	// Replies of the agent, call by call; the last one repeats, none at all is an empty success.
	CreateReplies []Reply `json:"create_replies"`
	GetReplies    []Reply `json:"get_replies"`
	SyncReplies   []Reply `json:"sync_replies"`
	DeleteReplies []Reply `json:"delete_replies"`
	// ResourceMeta is what CreateTask answered.
	ResourceMeta []byte `json:"resource_meta_base64"`

	// AbortAfter is when the task was aborted, after the start; zero: not at all.
	AbortAfter Seconds `json:"abort_after_s"`
	// AbortError is what the abort returned; "none" for nothing.
	AbortError string `json:"abort_error"`
	// ObservedFor is how long the task was watched.
	ObservedFor Seconds `json:"observed_for_s"`

	// Calls are what the client sent, Phases what became of the task, both in order.
	Calls  []Call  `json:"calls"`
	Phases []Phase `json:"phases"`
	// OutputLiteralsWritten counts the outputs that Flyte stored from inline answers.
	OutputLiteralsWritten int `json:"output_literals_written"`
}

// Reply is one answer of the agent.
type Reply struct {
	// GRPCCode is the status to fail with, as UNAVAILABLE; empty: none. Its message is "scripted " and the code.
	GRPCCode string `json:"grpc_code"`
	// Sleep is the delay before the answer.
	Sleep Seconds `json:"sleep_s"`
	// EmptyResource is a Resource with nothing set.
	EmptyResource bool `json:"empty_resource"`
	// Phase is the Resource's, as RUNNING.
	Phase   string `json:"phase"`
	Message string `json:"message"`
	// Outputs means inline outputs: one literal named o0, a string of OutputBytes bytes where that is set.
	Outputs     bool `json:"outputs"`
	OutputBytes int  `json:"output_bytes"`
	// OutputsInASecondMessage means that a sync answer comes in two parts.
	OutputsInASecondMessage bool `json:"outputs_in_a_second_message"`
	// AgentError is v1's structured error.
	AgentError *AgentError `json:"agent_error"`
}

// AgentError is flyteidl.admin.AgentError.
type AgentError struct {
	Code string `json:"code"`
	Kind int32  `json:"kind"`
}

// Call is one RPC as the agent saw it.
type Call struct {
	// At is when it arrived, after the start.
	At Seconds `json:"at_s"`
	// Method is the RPC's name without its service, as GetTask.
	Method string `json:"method"`
	// DeadlineLeft is what was left of its deadline on arrival; zero: it had none.
	DeadlineLeft Seconds `json:"deadline_left_s"`
	// ConnectionNo counts connections from 1. Flyte 2 only.
	ConnectionNo int `json:"connection_no"`
	// Headers are HTTP/2's. Flyte 2 only, and on some calls only.
	Headers map[string][]string `json:"headers"`
	// Reply is the answer that it got.
	Reply Reply `json:"reply"`
	// Frames are the request's messages as they crossed the wire: one, or two for a sync call. Recorded for the first
	// call of each method (of each attempt, for CreateTask).
	Frames [][]byte `json:"request_frames_base64"`
	// Request is the first frame as JSON, for people.
	Request json.RawMessage `json:"request"`
}

// Phase is one change in what Flyte made of the task.
type Phase struct {
	// At is when, after the start.
	At Seconds `json:"at_s"`
	// Phase is the plugin's, as PhaseRunning, or in parentheses what happened to a Flyte 2 action.
	Phase string `json:"phase"`
	// Reason, ErrorCode and ErrorKind say why.
	Reason    string `json:"reason"`
	ErrorCode string `json:"error_code"`
	ErrorKind string `json:"error_kind"`
	// HandleError is what the plugin returned instead of a phase.
	HandleError string `json:"handle_error"`
	// TaskInfo is what Flyte shows of the task. Flyte 2 only.
	TaskInfo *TaskInfo `json:"task_info"`
}

// TaskInfo is of two kinds: of the plugin (Logs, LogContext, CustomInfo), or of an executor's action (the others).
type TaskInfo struct {
	Logs []struct {
		URI           string `json:"uri"`
		Name          string `json:"name"`
		MessageFormat int32  `json:"message_format"`
	} `json:"logs"`
	LogContext *struct {
		Connector struct {
			Endpoint string `json:"endpoint"`
		} `json:"connector"`
	} `json:"log_context"`
	CustomInfo map[string]any `json:"custom_info"`

	Attempts       int      `json:"attempts"`
	Conditions     []string `json:"conditions"`
	Deleting       bool     `json:"deleting"`
	Finalizers     []string `json:"finalizers"`
	SystemFailures int      `json:"system_failures"`
}

// Discovery is the recording of Flyte 2's ListConnectors calls.
type Discovery struct {
	PollInterval      Seconds        `json:"poll_interval_s"`
	Calls             []Call         `json:"calls"` // the first six
	NumberOfCalls     int            `json:"number_of_calls"`
	LastCallAt        Seconds        `json:"last_call_at_s"`
	CallsByConnection map[string]int `json:"calls_by_connection_no"`
	ConnectionsOpened int            `json:"connections_opened"`
	ConnectionsClosed int            `json:"connections_closed"`
	OtherRPCs         map[string]int `json:"other_rpcs"`
}

//go:embed flyte1/*.json flyte2/*.json flyte2/_list_connectors.json
var files embed.FS

const discoveryFile = "flyte2/_list_connectors.json"

// Load gives all traces of one generation of Flyte, 1 or 2, in the order of their names. It panics on any other number, and on a
// file that does not parse: both are mistakes in this repository.
func Load(flyte int) []Trace {
	folder := fmt.Sprintf("flyte%d", flyte)
	entries, err := files.ReadDir(folder)
	if err != nil {
		panic(fmt.Sprintf("traces: there are none of Flyte %d: %v", flyte, err))
	}
	var all []Trace
	for _, entry := range entries {
		file := path.Join(folder, entry.Name())
		if file == discoveryFile {
			continue
		}
		var trace Trace
		parse(file, &trace)
		all = append(all, trace)
	}
	return all
}

// LoadDiscovery gives the recording of Flyte 2's discovery.
func LoadDiscovery() Discovery {
	var discovery Discovery
	parse(discoveryFile, &discovery)
	return discovery
}

// Requests gives the recorded requests of one method, as GetTask, in order: each is the frames of one call.
func (t Trace) Requests(method string) [][][]byte {
	var requests [][][]byte
	for _, call := range t.Calls {
		if call.Method == method && len(call.Frames) > 0 {
			requests = append(requests, call.Frames)
		}
	}
	return requests
}

// OfExecutor tells whether Flyte 2's executor was recorded, not its connector plugin alone.
func (t Trace) OfExecutor() bool { return strings.HasPrefix(t.Name, "exec-") }

// Seconds is a time span, recorded in seconds with two decimals.
type Seconds time.Duration

// UnmarshalJSON reads a number of seconds.
func (s *Seconds) UnmarshalJSON(data []byte) error {
	var seconds float64
	if err := json.Unmarshal(data, &seconds); err != nil {
		return fmt.Errorf("seconds: %w", err)
	}
	*s = Seconds(seconds * float64(time.Second))
	return nil
}

// Duration is the span in Go's terms.
func (s Seconds) Duration() time.Duration { return time.Duration(s) }

// parse is strict: a recorded fact that no field holds could not hold the model to it.
func parse(file string, into any) {
	data, err := files.ReadFile(file)
	if err == nil {
		decoder := json.NewDecoder(bytes.NewReader(data))
		decoder.DisallowUnknownFields()
		err = decoder.Decode(into)
	}
	if err != nil {
		panic(fmt.Sprintf("traces: %s: %v", file, err))
	}
}
