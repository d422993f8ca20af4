package traceparent

import (
	"strings"
	"testing"

	"google.golang.org/grpc/metadata"
)

func TestATraceparentNamesATraceAndASpan(t *testing.T) {
	const trace, span = "4bf92f3577b34da6a3ce929d0e0e4736", "00f067aa0ba902b7"
	of := func(headers ...string) (string, string, bool) {
		return Of(metadata.NewIncomingContext(t.Context(), metadata.MD{"traceparent": headers}))
	}
	if gotTrace, gotSpan, ok := of("00-" + trace + "-" + span + "-01"); gotTrace != trace || gotSpan != span || !ok {
		t.Errorf("got %q, %q, %v", gotTrace, gotSpan, ok)
	}
	for _, wrong := range [][]string{
		nil, {""}, {"00-x-y-01"}, {"00-" + noTrace + "-" + span + "-01"}, {"00-" + trace + "-" + noSpan + "-01"}, {"00-" + strings.ToUpper(trace) + "-" + span + "-01"},
		{"00-" + trace + "-" + span + "-01-more"}, {"00-" + trace + "-" + span + "-01", "00-" + trace + "-" + span + "-01"},
	} {
		if _, _, ok := of(wrong...); ok {
			t.Errorf("%q names one", wrong)
		}
	}
	if _, _, ok := Of(t.Context()); ok {
		t.Error("no call names one")
	}
}
