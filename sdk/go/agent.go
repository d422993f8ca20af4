package agent

import (
	"context"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

// AsyncAgent runs jobs that outlive a call. Create starts one and returns at once with what is needed to find it
// again, an M; Flyte keeps that M, as JSON, and hands it back to Get and Delete, perhaps to another process or a newer
// version of the plugin. So an M holds ids and places, never secrets, and is changed only by adding optional fields.
//
// Methods are called concurrently. Their contexts carry the caller's deadline, ten seconds by default.
type AsyncAgent[M any] interface {
	// Create starts a job. It can be called again for one attempt (Task.IdempotencyKey says which), when an answer was
	// lost; a plugin that then finds the job it already made should declare IdempotentCreate.
	Create(ctx context.Context, task *Task) (M, error)
	// Get says how a job is. An error is for "cannot say now" and is survived only a few times in a job's life; a job
	// that went wrong is Failed, one that is gone is NotFound.
	Get(ctx context.Context, job Job[M]) (*Resource, error)
	// Delete ends a job, or forgets a finished one. It must succeed for a job that is finished or gone, also the second
	// time: Flyte 2 deletes every job, and repeats that until it succeeds.
	Delete(ctx context.Context, job Job[M]) error
}

// Finder is implemented by an AsyncAgent whose service tells by Task.IdempotencyKey whether an attempt has a job. Its
// categories declare the capability find_by_key by that. With IdempotentCreate it lets the host accept a task whose job
// cannot be made at once: a plugin that restarts, hangs or is over its limits then costs no attempt.
//
// Both methods must be right in every process of the plugin, also on another machine, for as long as Flyte may ask about
// the task, and at the same time as a Create of the same attempt.
type Finder[M any] interface {
	// Find returns what Create returned for the attempt, and makes nothing: NotFound where no job was made, Abandoned where
	// Abandon was called.
	Find(ctx context.Context, task *Task) (M, error)
	// Abandon gives the attempt up. A job that was made for it ends as by Delete, and none is made from now on: Create and Find
	// return Abandoned. So something has to stay where they look. A second call succeeds too.
	Abandon(ctx context.Context, task *Task) error
}

// SyncAgent does a task's whole work within one call.
type SyncAgent interface {
	// Execute does the work. Its resource must be terminal: Succeeded, Failed or RetryableFailed.
	Execute(ctx context.Context, task *Task) (*Resource, error)
}

// Logger is implemented by an AsyncAgent whose jobs have logs.
type Logger[M any] interface {
	// Logs sends a job's log lines. Every Send reaches the caller at once, so a running job's log can be followed until
	// ctx ends. Returning nil ends the stream.
	Logs(ctx context.Context, job Job[M], query LogQuery, out *LogStream) error
}

// Measurer is implemented by an AsyncAgent whose jobs have metrics.
type Measurer[M any] interface {
	// Metrics returns what was measured, in Prometheus's range query format.
	Metrics(ctx context.Context, job Job[M], query MetricsQuery) ([]*core.ExecutionMetricResult, error)
}

// Closer is implemented by an agent that has something to let go of when the plugin stops. It is called once, after the
// last call of the agent ended, and ctx ends when the plugin must.
type Closer interface {
	Close(ctx context.Context) error
}

// MetaCodec is implemented by an AsyncAgent whose job metadata is not JSON, such as one that takes over the jobs of
// another program.
type MetaCodec[M any] interface {
	EncodeMeta(meta M) ([]byte, error)
	DecodeMeta(data []byte) (M, error)
}

// Job is a job that Create started, as Get, Delete, Logs and Metrics see it.
type Job[M any] struct {
	// Meta is what Create returned.
	Meta M
	// Category is what the call was routed by.
	Category Category
	// OutputPrefix is the storage location for the task's outputs, ending without a slash. Only Get has it, and only
	// where Flyte sends it (1.15.1 and newer): keep Task.OutputPrefix in M where it matters.
	OutputPrefix string
	// Connection is what Flyte 2 sends with Get and Delete; nil elsewhere.
	Connection *Connection
}

// Secret returns a secret from the job's connection, or else the plugin's own secret of that name.
func (j Job[M]) Secret(key string) (SecretValue, error) { return j.Connection.secret(key) }

// Category is a kind of task: what calls are routed by.
type Category struct {
	// Name is the task type that a task's template names, such as "duckdb_query".
	Name string
	// Version is the template's task_type_version. A call for a version that no agent serves goes to the highest one.
	Version int32
}
