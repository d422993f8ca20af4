// Package flyteconfig knows what Flyte needs to be told of a host: it prints that part of Flyte's configuration, with the reason of
// each line, and says what an existing configuration lacks or has wrong.
//
// Both come from one table, Target.settings. What Flyte makes of a file is modelled on its own source, as it is in v1.13.0 to v1.16.8
// and v2.0.43: keys are read whatever their case, files of a directory are merged one after the other, and keys that nobody knows are
// ignored (merge.go, schema.go). Nothing here asks a Flyte.
package flyteconfig
