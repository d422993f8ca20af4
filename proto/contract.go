// Package contract is the plugin contract as data: the descriptors of all that a plugin serves, and the source of what in it is ours.
package contract

import "embed"

// Descriptors is contract.binpb, a FileDescriptorSet: Flyte's agent services, grpc.health.v1, go-plugin's services and ours.
//
//go:embed contract.binpb
var Descriptors []byte

// Sources has the .proto files of go-plugin's services and of ours by their names in Descriptors, with their comments.
//
//go:embed agenthost/plugin/v1/plugin.proto goplugin/goplugin.proto
var Sources embed.FS
