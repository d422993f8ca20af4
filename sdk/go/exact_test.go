package agent

import (
	"encoding/json"
	"math"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/google/go-cmp/cmp"
	"google.golang.org/protobuf/types/known/durationpb"
	"google.golang.org/protobuf/types/known/timestamppb"
)

func TestTheCustomInfoKeepsEveryDigit(t *testing.T) {
	info, err := structOf(map[string]any{
		"rows": 3, "id": int64(9007199254740993), "large": uint64(math.MaxUint64), "exact": int64(math.MinInt64), "half": 0.5,
		"all": []any{json.Number("18446744073709551617"), 1e20},
	})
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{
		"rows": 3.0, "id": "9007199254740993", "large": "18446744073709551615", "exact": "-9223372036854775808", "half": 0.5,
		"all": []any{"18446744073709551617", 1e20},
	}
	if diff := cmp.Diff(want, info.AsMap()); diff != "" {
		t.Error(diff)
	}
}

func TestAMetricsQueryOutsideOfGosTimesIsRefused(t *testing.T) {
	for name, request := range map[string]*admin.GetTaskMetricsRequest{
		"step of 300 years": {Step: &durationpb.Duration{Seconds: 300 * 365 * 86400}},
		"mixed step":        {Step: &durationpb.Duration{Seconds: 1, Nanos: -1}},
		"start":             {StartTime: &timestamppb.Timestamp{Seconds: 253402300800}},
		"end":               {EndTime: &timestamppb.Timestamp{Nanos: -1}},
	} {
		if query, err := metricsQueryOf(request); err == nil {
			t.Errorf("%s: got %+v", name, query)
		}
	}
}
