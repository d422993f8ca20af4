// Package flyteidl2 holds the contract of Flyte 2's connectors as descriptors: there is no Go module of it to import.
//
// Flyte 2 renamed the agent protocol (package `flyteidl2.connector` instead of `flyteidl.admin` and `flyteidl.service`)
// but kept its wire form: every field that both generations have carries the same number and type. The host therefore
// needs no generated types for it. It serves Flyte 2 by method name, and needs descriptors only to answer gRPC
// reflection, and the tests to hold the two generations against each other.
//
// descriptors.binpb is made by proto/extract from the `flyteidl2` package on PyPI; NOTICE names the works in it.
package flyteidl2

import (
	_ "embed"
	"fmt"
	"sync"

	"google.golang.org/protobuf/proto"
	"google.golang.org/protobuf/reflect/protodesc"
	"google.golang.org/protobuf/reflect/protoregistry"
	"google.golang.org/protobuf/types/descriptorpb"
)

// The services, and the methods as they are called on the wire. CreateTask to GetTaskLogs take and give what v1's
// AsyncAgentService does; GetTaskLogs streams its answer; GetConnector and ListConnectors are v1's GetAgent and ListAgents.
const (
	ServiceConnector = "flyteidl2.connector.AsyncConnectorService"
	ServiceMetadata  = "flyteidl2.connector.ConnectorMetadataService"

	MethodCreateTask     = "/" + ServiceConnector + "/CreateTask"
	MethodGetTask        = "/" + ServiceConnector + "/GetTask"
	MethodDeleteTask     = "/" + ServiceConnector + "/DeleteTask"
	MethodGetTaskMetrics = "/" + ServiceConnector + "/GetTaskMetrics"
	MethodGetTaskLogs    = "/" + ServiceConnector + "/GetTaskLogs"
	MethodGetConnector   = "/" + ServiceMetadata + "/GetConnector"
	MethodListConnectors = "/" + ServiceMetadata + "/ListConnectors"
)

//go:embed descriptors.binpb
var descriptors []byte

// Files gives flyteidl2/connector/service.proto and everything that it imports, the well-known types included: a registry
// that is whole by itself. It is built on first use and shared: do not register into it.
//
// The files are not in protoregistry.GlobalFiles, where another copy of buf/validate or flyteidl2 that some dependency
// links in would collide with them.
func Files() *protoregistry.Files { return files() }

var files = sync.OnceValue(func() *protoregistry.Files {
	var set descriptorpb.FileDescriptorSet
	if err := proto.Unmarshal(descriptors, &set); err != nil {
		panic(fmt.Sprintf("flyteidl2: descriptors.binpb is not a FileDescriptorSet: %v; make it again with proto/extract", err))
	}
	registry, err := protodesc.NewFiles(&set)
	if err != nil {
		panic(fmt.Sprintf("flyteidl2: descriptors.binpb does not link: %v; make it again with proto/extract", err))
	}
	return registry
})
