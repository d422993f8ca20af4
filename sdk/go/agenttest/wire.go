package agenttest

import (
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"

	"github.com/agenthost/agenthost/proto/agentclient"
	agent "github.com/agenthost/agenthost/sdk/go"
)

// logLines are the lines of a part of a log.
func logLines(body *admin.GetTaskLogsResponseBody) ([]agent.LogLine, error) {
	found, err := agentclient.LogLines(body)
	lines := make([]agent.LogLine, len(found))
	for i, line := range found {
		lines[i] = agent.LogLine{Time: line.Time, Message: line.Message, Originator: agent.Originator(line.Originator)}
	}
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
