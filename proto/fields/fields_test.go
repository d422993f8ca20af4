package fields_test

import (
	"bytes"
	"slices"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/agenthost/agenthost/proto/fields"
)

const (
	jobMeta     = 2 // GetTaskRequest.resource_meta
	jobCategory = 3 // GetTaskRequest.task_category
)

// Whatever bytes come, reading and editing them ends without a panic, and does what protobuf would.
func FuzzFields(f *testing.F) {
	request, err := proto.Marshal(&admin.GetTaskRequest{TaskType: "spark", ResourceMeta: []byte("job 1"), TaskCategory: &admin.TaskCategory{Name: "spark", Version: 2}})
	if err != nil {
		f.Fatal(err)
	}
	f.Add(request)
	f.Add([]byte{0x1a, 3, 0x0a, 1, 'a', 0x1a, 5, 0x0a, 1, 'b', 0x10, 7})    // a category in two parts
	f.Add([]byte{0x12, 0x7f})                                               // a length beyond the end
	f.Add([]byte{0x0b, 0x12, 1, 'x', 0x0c, 0x15, 1, 2, 3, 4, 0x12, 1, 'y'}) // a group, a fixed32, and a field after them
	f.Fuzz(func(t *testing.T, message []byte) {
		before := bytes.Clone(message)
		err := fields.Each(message, func(fields.Number, fields.Value) error { return nil })
		var pieces []byte
		errRaw := fields.EachRaw(message, func(_ fields.Number, _ protowire.Type, raw []byte) { pieces = append(pieces, raw...) })
		category, rest, errTake := fields.Take(message, jobCategory)
		set, errSet := fields.Set(message, jobMeta, []byte("another"))
		if !bytes.Equal(message, before) {
			t.Fatalf("%x was changed to %x", before, message)
		}
		if (err == nil) != (errRaw == nil) || (err == nil) != (errTake == nil) || (err == nil) != (errSet == nil) {
			t.Fatalf("%x: Each says %v, EachRaw %v, Take %v, Set %v", message, err, errRaw, errTake, errSet)
		}
		if err != nil {
			if proto.Unmarshal(message, &emptypb.Empty{}) == nil {
				t.Errorf("%x: protobuf takes it, Each says %v", message, err)
			}
			return
		}
		if !bytes.Equal(pieces, message) {
			t.Errorf("%x: its fields are %x", message, pieces)
		}

		var want, got admin.GetTaskRequest
		if proto.Unmarshal(message, &want) != nil {
			return // of another type
		}
		if err := proto.Unmarshal(fields.Append(slices.Clip(rest), jobCategory, category), &got); err != nil {
			t.Fatalf("%x became %x and %x: %v", message, category, rest, err)
		}
		if want.TaskCategory == nil {
			want.TaskCategory = &admin.TaskCategory{}
		}
		if !proto.Equal(&want, &got) {
			t.Errorf("%x: taken apart and put together it is %v, was %v", message, &got, &want)
		}

		want, got = admin.GetTaskRequest{}, admin.GetTaskRequest{}
		if err := proto.Unmarshal(message, &want); err != nil {
			t.Fatal(err)
		}
		want.ResourceMeta = []byte("another")
		if err := proto.Unmarshal(set, &got); err != nil || !proto.Equal(&want, &got) {
			t.Errorf("%x: with a field set it is %v (%v), want %v", message, &got, err, &want)
		}
	})
}

func TestValuesOfAnotherKindSetNothing(t *testing.T) {
	message := fields.Append(fields.AppendVarint(nil, 1, 7), 2, "text")
	message = protowire.AppendFixed64(protowire.AppendTag(message, 3, protowire.Fixed64Type), 1)
	texts, numbers := map[fields.Number]string{}, map[fields.Number]int32{}
	err := fields.Each(message, func(number fields.Number, value fields.Value) error {
		var text string
		if value.Text(&text) {
			texts[number] = text
		}
		var n int32
		if value.Int32(&n) {
			numbers[number] = n
		}
		return nil
	})
	if err != nil || len(texts) != 1 || texts[2] != "text" || len(numbers) != 1 || numbers[1] != 7 {
		t.Errorf("read texts %v and numbers %v, %v", texts, numbers, err)
	}
}

// The gateway reads every poll with it.
func TestReadingAllocatesNothing(t *testing.T) {
	message := fields.AppendVarint(fields.Append(nil, jobMeta, "job 1"), 9, 1)
	var meta []byte
	var raw int
	if allocations := testing.AllocsPerRun(100, func() {
		_ = fields.Each(message, func(number fields.Number, value fields.Value) error {
			if number == jobMeta {
				meta = value.Bytes
			}
			return nil
		})
		_ = fields.EachRaw(message, func(_ fields.Number, _ protowire.Type, bytes []byte) { raw += len(bytes) })
	}); allocations != 0 {
		t.Errorf("%v allocations", allocations)
	}
	if string(meta) != "job 1" || raw == 0 {
		t.Errorf("read %q and %d bytes", meta, raw)
	}
}
