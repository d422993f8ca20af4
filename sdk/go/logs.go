package agent

import (
	"time"
)

// LogQuery says which part of a job's log is asked for.
type LogQuery struct {
	// Lines is the most lines to send; 0 means all.
	Lines uint64
	// Token is where an earlier answer left off; empty for the beginning.
	Token string
}

// LogLine is one line of a job's log.
type LogLine struct {
	// Time is when the line was written; zero when unknown.
	Time time.Time
	// Message is the line, without its line break.
	Message string
	// Originator says who wrote it.
	Originator Originator
}

// Originator says who wrote a log line.
type Originator int32

// Who writes log lines: the user's code, or the system that runs it.
const (
	OriginatorUnknown Originator = 0
	OriginatorUser    Originator = 1
	OriginatorSystem  Originator = 2
)

// LogStream takes the log lines that Logs sends. It is for one goroutine at a time.
type LogStream struct {
	send func(*logPart) error
}

// logPart is one message of the stream: lines, or the token of the next page.
type logPart struct {
	lines []LogLine
	token string
}

// Send sends lines to the caller at once. An error means that the caller is gone.
func (s *LogStream) Send(lines ...LogLine) error {
	if len(lines) == 0 {
		return nil
	}
	return s.send(&logPart{lines: lines})
}

// NextToken tells the caller where to go on next time.
func (s *LogStream) NextToken(token string) error { return s.send(&logPart{token: token}) }

// MetricsQuery says which measurements are asked for.
type MetricsQuery struct {
	// Queries are the names of what to measure, such as "EXECUTION_METRIC_USED_CPU_AVG".
	Queries []string
	// Start and End are the time range; zero when open.
	Start, End time.Time
	// Step is the time between two values; 0 when left to the agent.
	Step time.Duration
}
