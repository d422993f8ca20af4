// Package taskrun runs one Flyte task, as FlytePropeller would, for a person at a terminal.
//
//	NewTask          a task template from a file or from flags, with its inputs (template.go, inputs.go, types.go)
//	Run              the calls: list, create, poll, logs, delete; or the one call of a sync agent (run.go, client.go)
//	Result           what came out, readable or as JSON (result.go, preview.go)
//
// It speaks to whatever serves Flyte's agent protocol behind a gRPC connection: a host, a plugin, or flytekit's own server.
package taskrun
