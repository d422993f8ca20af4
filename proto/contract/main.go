// Command contract writes contract.binpb, the descriptors that the SDKs in other languages generate their stubs from: those of
// the given files, put together, without what only Flyte's HTTP gateway reads.
//
//	contract flyteidl/descriptors.binpb ours.binpb >contract.binpb
//
// grpc.health.v1, which every gRPC library has of its own, is added last.
package main

import (
	"fmt"
	"os"
	"slices"
	"strings"

	healthpb "google.golang.org/grpc/health/grpc_health_v1"
	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoreflect"
	"google.golang.org/protobuf/types/descriptorpb"
)

func main() {
	contract, err := assemble(os.Args[1:], healthpb.File_grpc_health_v1_health_proto)
	if err == nil {
		_, err = os.Stdout.Write(contract)
	}
	if err != nil {
		fmt.Fprintln(os.Stderr, "contract:", err)
		os.Exit(1)
	}
}

// assemble puts the sets in the files and more files together, imports before importers, and sees that the whole links.
func assemble(paths []string, more ...protoreflect.FileDescriptor) ([]byte, error) {
	whole := &descriptorpb.FileDescriptorSet{}
	seen := map[string]bool{}
	for _, path := range paths {
		data, err := os.ReadFile(path)
		if err != nil {
			return nil, err
		}
		var set descriptorpb.FileDescriptorSet
		if err := proto.Unmarshal(data, &set); err != nil {
			return nil, fmt.Errorf("%s is not a FileDescriptorSet: %w", path, err)
		}
		for _, file := range set.GetFile() {
			if seen[file.GetName()] || ofGateway(file.GetName()) {
				continue
			}
			seen[file.GetName()] = true
			withoutGateway(file)
			whole.File = append(whole.File, file)
		}
	}
	for _, file := range more {
		whole.File = append(whole.File, protodesc.ToFileDescriptorProto(file))
	}
	if _, err := protodesc.NewFiles(whole); err != nil {
		return nil, fmt.Errorf("the contract does not link: %w", err)
	}
	return proto.MarshalOptions{Deterministic: true}.Marshal(whole)
}

// ofGateway says whether a file only describes how flyteadmin maps calls to HTTP: nothing that a plugin serves needs it,
// and every language would have to find the generated code of it.
func ofGateway(name string) bool {
	return strings.HasPrefix(name, "google/api/") || strings.HasPrefix(name, "protoc-gen-openapiv2/")
}

// withoutGateway removes from a file the imports and options that ofGateway's files define.
func withoutGateway(file *descriptorpb.FileDescriptorProto) {
	file.Dependency = slices.DeleteFunc(file.Dependency, ofGateway)
	file.PublicDependency, file.WeakDependency = nil, nil
	if file.Options != nil {
		file.Options.ProtoReflect().SetUnknown(nil)
	}
	for _, service := range file.Service {
		for _, method := range service.Method {
			method.Options = nil
		}
	}
	for _, message := range file.MessageType {
		withoutFieldOptions(message)
	}
}

// withoutFieldOptions removes openapi's options from fields, and leaves protobuf's own.
func withoutFieldOptions(message *descriptorpb.DescriptorProto) {
	if message.Options != nil {
		message.Options.ProtoReflect().SetUnknown(nil)
	}
	for _, field := range message.Field {
		if field.Options != nil {
			field.Options.ProtoReflect().SetUnknown(nil)
		}
	}
	for _, nested := range message.NestedType {
		withoutFieldOptions(nested)
	}
}
