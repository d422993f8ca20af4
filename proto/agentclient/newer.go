package agentclient

import (
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agenthost/agenthost/proto/fields"
)

// Fields that the linked flyteidl does not know: they are sent, and found, as unknown fields.
const (
	outputPrefix fields.Number = 4 // GetTaskRequest, since Flyte 1.15.1
	connection   fields.Number = 5 // all requests but those for logs and metrics, in flyteidl2.connector

	connectionTaskType fields.Number = 1 // flyteidl2.core.Connection
	connectionSecrets  fields.Number = 2
	connectionConfigs  fields.Number = 3
)

// Connection is what Flyte 2 sends with a call, in clear.
type Connection struct {
	TaskType string
	Secrets  map[string]string
	Configs  map[string]string
}

// AddTo adds the connection to a request of Flyte 2; none if c is nil.
func (c *Connection) AddTo(request proto.Message) {
	if c != nil {
		addUnknown(request, connection, c.Marshal())
	}
}

// Marshal is the connection on the wire.
func (c *Connection) Marshal() []byte {
	var message []byte
	if c.TaskType != "" {
		message = fields.Append(message, connectionTaskType, c.TaskType)
	}
	message = appendMap(message, connectionSecrets, c.Secrets)
	return appendMap(message, connectionConfigs, c.Configs)
}

func appendMap(to []byte, number fields.Number, values map[string]string) []byte {
	for _, key := range slices.Sorted(maps.Keys(values)) {
		to = fields.Append(to, number, fields.Append(fields.Append(nil, 1, key), 2, values[key]))
	}
	return to
}

func addOutputPrefix(request proto.Message, prefix string) {
	if prefix != "" {
		addUnknown(request, outputPrefix, []byte(prefix))
	}
}

func addUnknown(message proto.Message, number fields.Number, value []byte) {
	reflected := message.ProtoReflect()
	reflected.SetUnknown(fields.Append(reflected.GetUnknown(), number, value))
}

// GetTaskLogsResponseBody and its LogLine, since Flyte 1.16.
const (
	structuredLines fields.Number = 2

	lineTimestamp  fields.Number = 1
	lineMessage    fields.Number = 2
	lineOriginator fields.Number = 3
)

// LogLine is a line of a job's log.
type LogLine struct {
	// Time is when it was written; zero where that is unknown.
	Time time.Time
	// Message is the line, without its line break.
	Message string
	// Originator is who wrote it: 0 for nobody known, 1 the user's code, 2 the system that runs it.
	Originator int32
}

// By is the originator in Flyte's word; empty where it is unknown.
func (l LogLine) By() string {
	switch l.Originator {
	case 1:
		return "USER"
	case 2:
		return "SYSTEM"
	}
	return ""
}

// LogLines are the lines of a part of a log. Where it has structured ones, its plain ones are the same again, for clients
// that know no others.
func LogLines(body *admin.GetTaskLogsResponseBody) ([]LogLine, error) {
	var lines []LogLine
	err := fields.Each(body.ProtoReflect().GetUnknown(), func(number fields.Number, value fields.Value) error {
		if number != structuredLines {
			return nil
		}
		line, err := logLine(value.Bytes)
		lines = append(lines, line)
		return err
	})
	if err != nil {
		return nil, fmt.Errorf("a line of the log: %w", err)
	}
	if lines == nil {
		for _, text := range body.GetResults() {
			lines = append(lines, LogLine{Message: strings.TrimSuffix(text, "\n")})
		}
	}
	return lines, nil
}

func logLine(message []byte) (LogLine, error) {
	var line LogLine
	err := fields.Each(message, func(number fields.Number, value fields.Value) error {
		switch number {
		case lineTimestamp:
			stamp := &timestamppb.Timestamp{}
			if err := proto.Unmarshal(value.Bytes, stamp); err != nil {
				return err
			}
			line.Time = stamp.AsTime()
		case lineMessage:
			value.Text(&line.Message)
		case lineOriginator:
			value.Int32(&line.Originator)
		}
		return nil
	})
	line.Message = strings.TrimSuffix(line.Message, "\n")
	return line, err
}
