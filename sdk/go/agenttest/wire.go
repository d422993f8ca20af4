package agenttest

import (
	"fmt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	agent "github.com/agenthost/agenthost/sdk/go"
)

// outputPrefixField is GetTaskRequest.output_prefix = 4, which the linked flyteidl does not know.
func outputPrefixField(prefix string) []byte {
	if prefix == "" {
		return nil
	}
	return protowire.AppendString(protowire.AppendTag(nil, 4, protowire.BytesType), prefix)
}

// field is connection = 5 of Flyte 2's requests: {task_type = 1, map secrets = 2, map configs = 3}.
func (c *Connection) field() []byte {
	if c == nil {
		return nil
	}
	var message []byte
	if c.TaskType != "" {
		message = appendText(message, 1, c.TaskType)
	}
	for number, entries := range map[protowire.Number]map[string]string{2: c.Secrets, 3: c.Configs} {
		for name, value := range entries {
			entry := appendText(appendText(nil, 1, name), 2, value)
			message = protowire.AppendBytes(protowire.AppendTag(message, number, protowire.BytesType), entry)
		}
	}
	return protowire.AppendBytes(protowire.AppendTag(nil, 5, protowire.BytesType), message)
}

func appendText(message []byte, number protowire.Number, text string) []byte {
	return protowire.AppendString(protowire.AppendTag(message, number, protowire.BytesType), text)
}

// structuredLines reads GetTaskLogsResponseBody.structured_lines = 2: {timestamp = 1, message = 2, originator = 3}.
func structuredLines(body *admin.GetTaskLogsResponseBody) ([]agent.LogLine, error) {
	var lines []agent.LogLine
	err := eachField(body.ProtoReflect().GetUnknown(), func(number protowire.Number, value []byte, _ uint64) error {
		if number != 2 {
			return nil
		}
		line := agent.LogLine{}
		lines = append(lines, line)
		return eachField(value, func(number protowire.Number, value []byte, varint uint64) error {
			line := &lines[len(lines)-1]
			switch number {
			case 1:
				stamp := &timestamppb.Timestamp{}
				if err := proto.Unmarshal(value, stamp); err != nil {
					return err
				}
				line.Time = stamp.AsTime()
			case 2:
				line.Message = string(value)
			case 3:
				line.Originator = agent.Originator(varint)
			}
			return nil
		})
	})
	return lines, err
}

// eachField calls take with each field of a message that has only length-delimited and varint fields.
func eachField(message []byte, take func(number protowire.Number, value []byte, varint uint64) error) error {
	for len(message) > 0 {
		number, kind, length := protowire.ConsumeTag(message)
		if length < 0 {
			return protowire.ParseError(length)
		}
		message = message[length:]
		var value []byte
		var varint uint64
		switch kind {
		case protowire.BytesType:
			value, length = protowire.ConsumeBytes(message)
		case protowire.VarintType:
			varint, length = protowire.ConsumeVarint(message)
		default:
			return fmt.Errorf("field %d has wire type %d", number, kind)
		}
		if length < 0 {
			return protowire.ParseError(length)
		}
		message = message[length:]
		if err := take(number, value, varint); err != nil {
			return err
		}
	}
	return nil
}

func setRange(request *admin.GetTaskMetricsRequest, query agent.MetricsQuery) {
	if !query.Start.IsZero() {
		request.StartTime = timestamppb.New(query.Start)
	}
	if !query.End.IsZero() {
		request.EndTime = timestamppb.New(query.End)
	}
	if query.Step != 0 {
		request.Step = durationpb.New(query.Step)
	}
}
