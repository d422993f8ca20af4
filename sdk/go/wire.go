package agent

import (
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agenthost/agenthost/proto/fields"
)

// Fields that the linked flyteidl does not know: they arrive, and are sent, as unknown fields.
const (
	// flyteidl.admin.GetTaskRequest.output_prefix, since Flyte 1.15.1.
	getOutputPrefixField fields.Number = 4
	// flyteidl2.connector: connection of CreateTaskRequest, GetTaskRequest, DeleteTaskRequest and CreateRequestHeader.
	connectionField fields.Number = 5
	// flyteidl2.core.Connection.
	connectionTaskTypeField fields.Number = 1
	connectionSecretsField  fields.Number = 2
	connectionConfigsField  fields.Number = 3
	// flyteidl.admin.GetTaskLogsResponseBody.structured_lines, and its LogLine.
	structuredLinesField fields.Number    = 2
	lineTimestampField   protowire.Number = 1
	lineMessageField     protowire.Number = 2
	lineOriginatorField  fields.Number    = 3
)

// bytesFields returns the values of a length-delimited field in order. Broken bytes end the search: protobuf has already
// accepted them as unknown fields.
func bytesFields(message []byte, wanted fields.Number) [][]byte {
	var values [][]byte
	_ = fields.Each(message, func(number fields.Number, value fields.Value) error {
		if number == wanted && value.Kind == protowire.BytesType {
			values = append(values, value.Bytes)
		}
		return nil
	})
	return values
}

func lastString(message []byte, field fields.Number) string {
	values := bytesFields(message, field)
	if len(values) == 0 {
		return ""
	}
	return string(values[len(values)-1])
}

// connectionOf returns the connection that Flyte 2 sent with a request, or nil.
func connectionOf(request proto.Message) *Connection {
	parts := bytesFields(request.ProtoReflect().GetUnknown(), connectionField)
	if len(parts) == 0 {
		return nil
	}
	connection := &Connection{Configs: map[string]string{}, secrets: map[string]SecretValue{}}
	for _, part := range parts {
		if taskType := lastString(part, connectionTaskTypeField); taskType != "" {
			connection.TaskType = taskType
		}
		for _, entry := range bytesFields(part, connectionSecretsField) {
			connection.secrets[lastString(entry, 1)] = NewSecretValue(lastString(entry, 2))
		}
		for _, entry := range bytesFields(part, connectionConfigsField) {
			connection.Configs[lastString(entry, 1)] = lastString(entry, 2)
		}
	}
	return connection
}

// structuredLines returns the unknown field that holds log lines.
func structuredLines(lines []LogLine) ([]byte, error) {
	var field []byte
	for _, line := range lines {
		var message []byte
		if !line.Time.IsZero() {
			stamp, err := proto.Marshal(timestamppb.New(line.Time))
			if err != nil {
				return nil, err
			}
			message = fields.Append(message, lineTimestampField, stamp)
		}
		message = fields.Append(message, lineMessageField, line.Message)
		if line.Originator != OriginatorUnknown {
			message = fields.AppendVarint(message, lineOriginatorField, uint64(line.Originator))
		}
		field = fields.Append(field, structuredLinesField, message)
	}
	return field, nil
}
