package literal_test

import (
	"strings"
	"testing"

	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

func TestATemplateWithANumberThatItMayHaveRoundedIsRefused(t *testing.T) {
	for number, fine := range map[float64]bool{
		0: true, 1<<53 - 1: true, -(1<<53 - 1): true, 0.1: true, 1 << 53: false, -(1 << 53): false, 1 << 60: false, 1e300: false,
	} {
		custom, err := structpb.NewStruct(map[string]any{"a": "x", "conf": map[string]any{"sizes": []any{1, number}}})
		if err != nil {
			t.Fatal(err)
		}
		err = literal.CheckTemplate(custom)
		if fine != (err == nil) || err != nil && !strings.HasPrefix(err.Error(), "conf.sizes[1] is ") {
			t.Errorf("%v: %v", number, err)
		}
	}
	if err := literal.CheckTemplate(nil); err != nil {
		t.Error(err)
	}
}
