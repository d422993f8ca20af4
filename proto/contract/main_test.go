package main

import (
	"bytes"
	"os"
	"path/filepath"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

func contract(t *testing.T) *protoregistry.Files {
	t.Helper()
	data, err := os.ReadFile("../contract.binpb")
	if err != nil {
		t.Fatal(err)
	}
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(data, &set); err != nil {
		t.Fatal(err)
	}
	files, err := protodesc.NewFiles(&set)
	if err != nil {
		t.Fatal(err)
	}
	return files
}

// moved are the fields that flyteidl renumbered after 1.14.0, the newest version that there is a Go module of: nothing
// that the host or a plugin reads.
var moved = map[protoreflect.FullName]bool{"flyteidl.core.TaskMetadata.generates_deck": true}

func TestTheContractIsTheOneThatTheGoSideIsBuiltWith(t *testing.T) {
	files := contract(t)
	seen := map[string]bool{}
	fields := 0
	var compare func(file protoreflect.FileDescriptor)
	compare = func(file protoreflect.FileDescriptor) {
		if seen[file.Path()] || ofGateway(file.Path()) {
			return
		}
		seen[file.Path()] = true
		for i := range file.Imports().Len() {
			compare(file.Imports().Get(i).FileDescriptor)
		}
		for i := range file.Messages().Len() {
			fields += compareMessages(t, files, file.Messages().Get(i))
		}
		for i := range file.Services().Len() {
			compareServices(t, files, file.Services().Get(i))
		}
	}
	compare(service.File_flyteidl_service_agent_proto)
	compare(pluginv1.File_agenthost_plugin_v1_plugin_proto)
	compare(healthpb.File_grpc_health_v1_health_proto)
	if fields < 300 {
		t.Errorf("only %d fields were compared: the walk does not reach the imports", fields)
	}
}

func compareMessages(t *testing.T, files *protoregistry.Files, want protoreflect.MessageDescriptor) (fields int) {
	found, err := files.FindDescriptorByName(want.FullName())
	if err != nil {
		t.Errorf("%s is not in the contract", want.FullName())
		return 0
	}
	got := found.(protoreflect.MessageDescriptor)
	for i := range want.Fields().Len() {
		field := want.Fields().Get(i)
		if moved[field.FullName()] {
			continue
		}
		fields++
		other := got.Fields().ByNumber(field.Number())
		if other == nil || other.Name() != field.Name() || other.Kind() != field.Kind() || other.Cardinality() != field.Cardinality() {
			t.Errorf("%s = %d is %v in the contract", field.FullName(), field.Number(), other)
		}
	}
	for i := range want.Enums().Len() {
		values := want.Enums().Get(i).Values()
		for j := range values.Len() {
			value := got.Enums().ByName(want.Enums().Get(i).Name()).Values().ByNumber(values.Get(j).Number())
			if value == nil || value.Name() != values.Get(j).Name() {
				t.Errorf("%s = %d is %v in the contract", values.Get(j).FullName(), values.Get(j).Number(), value)
			}
		}
	}
	for i := range want.Messages().Len() {
		fields += compareMessages(t, files, want.Messages().Get(i))
	}
	return fields
}

func compareServices(t *testing.T, files *protoregistry.Files, want protoreflect.ServiceDescriptor) {
	found, err := files.FindDescriptorByName(want.FullName())
	if err != nil {
		t.Errorf("%s is not in the contract", want.FullName())
		return
	}
	for i := range want.Methods().Len() {
		method := want.Methods().Get(i)
		got := found.(protoreflect.ServiceDescriptor).Methods().ByName(method.Name())
		if got == nil || got.Input().FullName() != method.Input().FullName() || got.Output().FullName() != method.Output().FullName() ||
			got.IsStreamingClient() != method.IsStreamingClient() || got.IsStreamingServer() != method.IsStreamingServer() {
			t.Errorf("%s is %v in the contract", method.FullName(), got)
		}
	}
}

func TestTheContractHasWhatNewerFlytesAdd(t *testing.T) {
	files := contract(t)
	for name, number := range map[protoreflect.FullName]protoreflect.FieldNumber{
		"flyteidl.admin.GetTaskRequest.output_prefix":             4,
		"flyteidl.admin.GetTaskLogsResponseBody.structured_lines": 2,
		"agenthost.plugin.v1.DescribeResponse.config_schema":      5,
		"plugin.StdioData.data":                                   2,
	} {
		found, err := files.FindDescriptorByName(name)
		if err != nil {
			t.Errorf("%s is not in the contract", name)
		} else if got := found.(protoreflect.FieldDescriptor).Number(); got != number {
			t.Errorf("%s is %d, not %d", name, got, number)
		}
	}
	phases, err := files.FindDescriptorByName("flyteidl.core.TaskExecution.Phase")
	if err != nil {
		t.Fatal(err)
	}
	if phases.(protoreflect.EnumDescriptor).Values().ByName("RETRYABLE_FAILED") == nil {
		t.Error("the phase RETRYABLE_FAILED is not in the contract")
	}
	values := phases.(protoreflect.EnumDescriptor).Values()
	for i := range values.Len() {
		value := values.Get(i)
		if name := pluginv1.PhaseName(core.TaskExecution_Phase(value.Number())); name != string(value.Name()) {
			t.Errorf("phase %d is %s in the contract, and PhaseName says %s", value.Number(), value.Name(), name)
		}
	}
}

func TestTheContractHoldsFlytesDescriptorsAsTheyAreNow(t *testing.T) {
	made, err := assemble([]string{"../flyteidl/descriptors.binpb"})
	if err != nil {
		t.Fatal(err)
	}
	data, err := os.ReadFile("../contract.binpb")
	if err != nil {
		t.Fatal(err)
	}
	if !bytes.HasPrefix(data, made) {
		t.Error("contract.binpb does not begin with flyteidl/descriptors.binpb: run `make generate`")
	}
}

func TestWhatIsNoDescriptorIsRefusedByName(t *testing.T) {
	path := filepath.Join(t.TempDir(), "garbage.binpb")
	if err := os.WriteFile(path, []byte("\xff\xffgarbage"), 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := assemble([]string{path}); err == nil || !bytes.Contains([]byte(err.Error()), []byte(path)) {
		t.Errorf("got %v, which does not name %s", err, path)
	}
}
