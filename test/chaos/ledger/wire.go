package ledger

import "time"

// Op is a call of the ledger's, and its path: POST /create and so on.
type Op string

// The calls. A plugin asks Start before it shakes hands with its host.
const (
	Start  Op = "start"
	Create Op = "create"
	Get    Op = "get"
	Delete Op = "delete"
	// Find answers with the job that was made under a key, and makes none.
	Find Op = "find"
	// Abandon ends the job that was made under a key, and lets none be made from then on.
	Abandon Op = "abandon"
	// Execute is all of a task in one call, for sync agents.
	Execute Op = "execute"
)

// Do is what an answer tells the plugin to do on the spot.
type Do string

// What a plugin can be told. Nothing is the usual answer.
const (
	Nothing Do = ""
	// Exit ends the process at once.
	Exit Do = "exit"
	// Panic ends it as Go's panics do.
	Panic Do = "panic"
	// Hang lets this one call never come back, whatever its deadline.
	Hang Do = "hang"
	// Garbage prints bytes on standard output, which is the host's for the handshake.
	Garbage Do = "garbage"
	// Logs prints lines that log parsers have died of.
	Logs Do = "logs"
	// Fork starts a child in the plugin's process group that ignores signals and holds the pipes, and exits. ForkAway starts it
	// in a session of its own.
	Fork     Do = "fork"
	ForkAway Do = "fork-away"
)

// Deadly tells whether it ends the plugin's process.
func (d Do) Deadly() bool { return d == Exit || d == Panic || d == Fork || d == ForkAway }

// Request is a call of a plugin instance.
type Request struct {
	// Agent and Release say what was configured, Plugin and Host are process ids.
	Agent   string `json:"agent"`
	Release string `json:"release"`
	Plugin  int    `json:"plugin"`
	Host    int    `json:"host"`

	// Task and Attempt are what Flyte calls the attempt: the execution's name, with the node's where that is not n0, and the retry
	// number. For all calls that name no job.
	Task    string `json:"task,omitempty"`
	Attempt int    `json:"attempt,omitempty"`
	// Key makes Create answer with the job that was made under it before. Empty: every Create makes a job. Find and Abandon are
	// about the job of a key.
	Key string `json:"key,omitempty"`
	// Number and Text are the task's inputs.
	Number int64  `json:"number,omitempty"`
	Text   string `json:"text,omitempty"`

	// Job is which job, for Get and Delete.
	Job string `json:"job,omitempty"`

	arrived time.Time // at the ledger
}

// Answer is the ledger's. Its HTTP status is 200, 404 for a job that is not there or, in Delete, over, 409 for an attempt that was
// abandoned, or 503 in bad weather.
type Answer struct {
	Job string `json:"job,omitempty"`
	// State is how the job is.
	State State `json:"state,omitempty"`
	// Message is the reason of a failure.
	Message string `json:"message,omitempty"`
	// Number and Text are the outputs of a job that succeeded.
	Number int64  `json:"number,omitempty"`
	Text   string `json:"text,omitempty"`
	// Shape is how the plugin is to tell Flyte. Execute only.
	Shape Shape `json:"shape,omitempty"`
	Do    Do    `json:"do,omitempty"`

	works time.Duration // before it is sent
}

// Shape is how a sync agent tells what came out: agents do it in more ways than Flyte understands.
type Shape string

// The shapes.
const (
	// Whole is the one message that Flyte reads.
	Whole Shape = ""
	// Parts is a message with the phase, and one for each output.
	Parts Shape = "parts"
	// Early is a message that the task runs, and then the one that it is over.
	Early Shape = "early"
	// Open is a message that the task runs, and no other.
	Open Shape = "open"
	// Old is one message with the state from before there were phases.
	Old Shape = "old"
)

// State is how a job is.
type State string

// The states of a job.
const (
	Queued    State = "queued"
	Running   State = "running"
	Succeeded State = "succeeded"
	Failed    State = "failed"
	Retryable State = "retryable"
	Cancelled State = "cancelled"
)

// Plan is what becomes of a task, whatever happens around it.
type Plan struct {
	// Retryables is how many jobs of the task end Retryable before one ends for good.
	Retryables int
	// End is Succeeded or Failed; Running for a task that only Flyte's user ends.
	End State
	// Message is the reason of a failure.
	Message string
	// Interval is how often a host may ask about a job; 0: as often as it likes.
	Interval time.Duration
	// Runs is how long the first job runs, Rerun any further one.
	Runs, Rerun time.Duration
	// Shape is how a sync agent tells the end.
	Shape Shape
	// Silent has the service answer no question about a job of the task but the first.
	Silent bool
}

// Outputs are what a job makes of its inputs.
func Outputs(number int64, text string) (int64, string) {
	runes := []rune(text)
	for i, j := 0, len(runes)-1; i < j; i, j = i+1, j-1 {
		runes[i], runes[j] = runes[j], runes[i]
	}
	return number*number + 1, string(runes)
}
