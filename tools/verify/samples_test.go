package verify

import (
	"reflect"
	"testing"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

func TestAnExpectedDictMayHaveNumbersAsKeys(t *testing.T) {
	l, err := literal.Encode(map[int]any{1: []any{map[int]any{2: "two"}}}, nil)
	if err != nil {
		t.Fatal(err)
	}
	want := map[string]any{"1": []any{map[string]any{"2": "two"}}}
	if got, err := plain(l); err != nil || !reflect.DeepEqual(got, want) {
		t.Errorf("got %v, %v; want %v", got, err, want)
	}
}
