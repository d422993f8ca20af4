package agenttest

import (
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agenthost/agenthost/proto/fields"
	agent "github.com/agenthost/agenthost/sdk/go"
)

// structuredLines reads GetTaskLogsResponseBody.structured_lines = 2: {timestamp = 1, message = 2, originator = 3}.
func structuredLines(body *admin.GetTaskLogsResponseBody) ([]agent.LogLine, error) {
	var lines []agent.LogLine
	err := fields.Each(body.ProtoReflect().GetUnknown(), func(number fields.Number, value fields.Value) error {
		if number != 2 {
			return nil
		}
		line := agent.LogLine{}
		err := fields.Each(value.Bytes, func(number fields.Number, value fields.Value) error {
			switch number {
			case 1:
				stamp := &timestamppb.Timestamp{}
				if err := proto.Unmarshal(value.Bytes, stamp); err != nil {
					return err
				}
				line.Time = stamp.AsTime()
			case 2:
				value.Text(&line.Message)
			case 3:
				line.Originator = agent.Originator(value.Varint)
			}
			return nil
		})
		lines = append(lines, line)
		return err
	})
	return lines, err
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
