// Package types holds one property of the plugins with an engine of their own: a value that goes in is read back equal by flytekit's
// type engine and by pyarrow, or the task is FAILED with a message that names the column and the type.
//
// The types are those that the engine itself lists, each in every position that a value can have; a type without values to try
// fails the test. What became of each is the plugin's types.tsv, which docs/types.md is made of. The plugins are real processes;
// `make test-types` runs this package, and TYPES_CHECKS says how many values are made up beside the fixed ones.
package types
