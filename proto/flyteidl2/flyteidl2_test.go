package flyteidl2_test

import (
	"fmt"
	"slices"
	"strings"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/dynamicpb"

	"github.com/agenthost/agenthost/proto/flyteidl2"
)

func TestEveryMethodOfFlyte2IsDescribed(t *testing.T) {
	for method, streams := range map[string]bool{
		flyteidl2.MethodCreateTask:     false,
		flyteidl2.MethodGetTask:        false,
		flyteidl2.MethodDeleteTask:     false,
		flyteidl2.MethodGetTaskMetrics: false,
		flyteidl2.MethodGetTaskLogs:    true,
		flyteidl2.MethodGetConnector:   false,
		flyteidl2.MethodListConnectors: false,
	} {
		name := strings.ReplaceAll(strings.TrimPrefix(method, "/"), "/", ".")
		found, err := flyteidl2.Files().FindDescriptorByName(protoreflect.FullName(name))
		if err != nil {
			t.Fatalf("%s: %v", name, err)
		}
		descriptor, ok := found.(protoreflect.MethodDescriptor)
		if !ok || descriptor.IsStreamingServer() != streams || descriptor.IsStreamingClient() {
			t.Errorf("%s: a %T, server streaming wanted %v", name, found, streams)
		}
	}
	for service, methods := range map[string]int{flyteidl2.ServiceConnector: 5, flyteidl2.ServiceMetadata: 2} {
		found, err := flyteidl2.Files().FindDescriptorByName(protoreflect.FullName(service))
		if err != nil {
			t.Fatal(err)
		}
		if got := found.(protoreflect.ServiceDescriptor).Methods().Len(); got != methods {
			t.Errorf("%s has %d methods, %d are named here", service, got, methods)
		}
	}
}

// Every field of v1 that v2 has too crosses the wire in the same way. The host leans on it: it forwards the bytes of the
// one generation to agents of the other.
func TestFlyte1AndFlyte2AgreeOnEverySharedField(t *testing.T) {
	walk := agreement{t: t, seen: map[protoreflect.FullName]bool{}}
	for v2, v1 := range map[protoreflect.Name]proto.Message{
		"TaskExecutionMetadata":     &admin.TaskExecutionMetadata{},
		"CreateTaskRequest":         &admin.CreateTaskRequest{},
		"CreateTaskResponse":        &admin.CreateTaskResponse{},
		"CreateRequestHeader":       &admin.CreateRequestHeader{},
		"GetTaskRequest":            &admin.GetTaskRequest{},
		"GetTaskResponse":           &admin.GetTaskResponse{},
		"Resource":                  &admin.Resource{},
		"DeleteTaskRequest":         &admin.DeleteTaskRequest{},
		"DeleteTaskResponse":        &admin.DeleteTaskResponse{},
		"Connector":                 &admin.Agent{},
		"TaskCategory":              &admin.TaskCategory{},
		"GetConnectorRequest":       &admin.GetAgentRequest{},
		"GetConnectorResponse":      &admin.GetAgentResponse{},
		"ListConnectorsRequest":     &admin.ListAgentsRequest{},
		"ListConnectorsResponse":    &admin.ListAgentsResponse{},
		"GetTaskMetricsRequest":     &admin.GetTaskMetricsRequest{},
		"GetTaskMetricsResponse":    &admin.GetTaskMetricsResponse{},
		"GetTaskLogsRequest":        &admin.GetTaskLogsRequest{},
		"GetTaskLogsResponseHeader": &admin.GetTaskLogsResponseHeader{},
		"GetTaskLogsResponseBody":   &admin.GetTaskLogsResponseBody{},
		"GetTaskLogsResponse":       &admin.GetTaskLogsResponse{},
	} {
		walk.messages(v1.ProtoReflect().Descriptor(), connectorMessage(t, v2))
	}
	t.Logf("%d pairs of messages, %d shared fields", len(walk.seen), walk.fields)
	if walk.fields < 200 {
		t.Errorf("only %d shared fields were compared: the walk does not reach the nested messages", walk.fields)
	}
}

func TestARequestOfOneGenerationReadsBackAsTheOther(t *testing.T) {
	inputs := map[string]*core.Literal{}
	for i := range 5 {
		inputs[fmt.Sprint("x", i)] = &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{
			Value: &core.Scalar_Primitive{Primitive: &core.Primitive{Value: &core.Primitive_Integer{Integer: int64(i)}}},
		}}}
	}
	sent := &admin.CreateTaskRequest{
		Inputs:       &core.LiteralMap{Literals: inputs},
		Template:     &core.TaskTemplate{Type: "bigquery", TaskTypeVersion: 3},
		OutputPrefix: "s3://bucket/a/0",
	}
	wire, err := proto.Marshal(sent)
	if err != nil {
		t.Fatal(err)
	}
	v2 := dynamicpb.NewMessage(connectorMessage(t, "CreateTaskRequest"))
	if err := proto.Unmarshal(wire, v2); err != nil {
		t.Fatal(err)
	}
	named := v2.Get(v2.Descriptor().Fields().ByName("inputs")).Message()
	literals := named.Get(named.Descriptor().Fields().ByName("literals")).List()
	if literals.Len() != len(inputs) {
		t.Errorf("v2 reads %d named literals of %d", literals.Len(), len(inputs))
	}
	if len(v2.GetUnknown()) != 0 {
		t.Errorf("v2 does not know %x of a v1 request", v2.GetUnknown())
	}
	back := &admin.CreateTaskRequest{}
	if wire, err = proto.Marshal(v2); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(wire, back); err != nil {
		t.Fatal(err)
	}
	if !proto.Equal(sent, back) {
		t.Errorf("sent %v\ncame back %v", sent, back)
	}
}

// agreement walks two descriptors side by side, down to the last shared field.
type agreement struct {
	t      *testing.T
	seen   map[protoreflect.FullName]bool
	fields int
}

// renumbered are the fields that moved. The Go module of v1 is 1.14.0; v1 moved generates_deck from 10 to 15 in 1.15, where
// Flyte 2 has it too, and 10 is free there.
var renumbered = []protoreflect.FullName{"flyteidl2.core.TaskMetadata.generates_deck"}

func (a *agreement) messages(v1, v2 protoreflect.MessageDescriptor) {
	pair := v1.FullName() + "=" + v2.FullName()
	if a.seen[pair] {
		return
	}
	a.seen[pair] = true
	for i := range v2.Fields().Len() {
		new := v2.Fields().Get(i)
		if old := v1.Fields().ByName(new.Name()); old != nil && old.Number() != new.Number() && !slices.Contains(renumbered, new.FullName()) {
			a.t.Errorf("%s is %d in v1 and %d in v2", new.FullName(), old.Number(), new.Number())
		}
		if old := v1.Fields().ByNumber(new.Number()); old != nil {
			a.field(old, new)
		}
	}
}

func (a *agreement) field(v1, v2 protoreflect.FieldDescriptor) {
	a.fields++
	// A map crosses the wire as a repeated message of key and value: the two declarations are one form.
	if v1.Kind() != v2.Kind() || (v1.Cardinality() == protoreflect.Repeated) != (v2.Cardinality() == protoreflect.Repeated) {
		a.t.Errorf("field %d: %s is %v %v, %s is %v %v", v1.Number(),
			v1.FullName(), v1.Cardinality(), v1.Kind(), v2.FullName(), v2.Cardinality(), v2.Kind())
		return
	}
	if v1.IsPacked() != v2.IsPacked() {
		a.t.Errorf("%s is packed in one generation only", v1.FullName())
	}
	switch v1.Kind() {
	case protoreflect.MessageKind:
		a.messages(v1.Message(), v2.Message())
	case protoreflect.EnumKind:
		a.enums(v1.Enum(), v2.Enum())
	}
}

func (a *agreement) enums(v1, v2 protoreflect.EnumDescriptor) {
	for i := range v1.Values().Len() {
		old := v1.Values().Get(i)
		if new := v2.Values().ByNumber(old.Number()); new != nil && new.Name() != old.Name() {
			a.t.Errorf("value %d of %s: %s in v1, %s in v2", old.Number(), v1.FullName(), old.Name(), new.Name())
		}
	}
}

func connectorMessage(t *testing.T, name protoreflect.Name) protoreflect.MessageDescriptor {
	t.Helper()
	found, err := flyteidl2.Files().FindDescriptorByName("flyteidl2.connector." + protoreflect.FullName(name))
	if err != nil {
		t.Fatal(err)
	}
	return found.(protoreflect.MessageDescriptor)
}
