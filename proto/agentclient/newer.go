package agentclient

import (
	"maps"
	"slices"

	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/proto/fields"
)

// Fields that the linked flyteidl does not know: they are sent as unknown fields.
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
