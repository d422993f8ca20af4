package pluginv1

import (
	"testing"

	"google.golang.org/protobuf/proto"
)

func TestACapabilityIsPromisedForAllCategoriesOrForOne(t *testing.T) {
	all := &DescribeResponse{Capabilities: []string{CapabilityIdempotentCreate}}
	one := &DescribeResponse{CategoryCapabilities: []*CategoryCapabilities{
		{Name: "sql", Version: 2, Capabilities: []string{"other", CapabilityIdempotentCreate}},
		{Name: "shell", Capabilities: []string{"other"}},
	}}
	for _, c := range []struct {
		said     *DescribeResponse
		category string
		version  int32
		want     bool
	}{
		{nil, "sql", 0, false},
		{&DescribeResponse{}, "sql", 0, false},
		{all, "sql", 0, true},
		{all, "anything", 7, true},
		{one, "sql", 2, true},
		{one, "sql", 0, false},
		{one, "shell", 0, false},
		{one, "python", 0, false},
	} {
		if got := c.said.Promises(CapabilityIdempotentCreate, c.category, c.version); got != c.want {
			t.Errorf("%v promises it for %s v%d: %v", c.said, c.category, c.version, got)
		}
	}
}

// A host of an older version reads `capabilities` alone: what is promised for single categories must not be there.
func TestAnOlderHostTakesItThatACategorysPromiseIsNone(t *testing.T) {
	said := &DescribeResponse{Name: "p", CategoryCapabilities: []*CategoryCapabilities{
		{Name: "sql", Capabilities: []string{CapabilityIdempotentCreate}},
	}}
	data, err := proto.Marshal(said)
	if err != nil {
		t.Fatal(err)
	}
	const newField = 6 // the older contract ends before it
	older := &DescribeResponse{}
	if err := proto.Unmarshal(data, older); err != nil {
		t.Fatal(err)
	}
	older.ProtoReflect().Clear(older.ProtoReflect().Descriptor().Fields().ByNumber(newField))
	if len(older.GetCapabilities()) != 0 || older.Promises(CapabilityIdempotentCreate, "sql", 0) {
		t.Errorf("an older host reads %v", older)
	}
}
