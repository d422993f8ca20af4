// Package fakejobs is a workspace of Databricks for tests: the part of the Jobs API 2.1 and 2.2 that has to do with
// one-time runs, and the token endpoint of OAuth M2M. Databricks offers no emulator.
//
// It is strict: what the documentation says that the API refuses, it refuses, with the API's status and code, and so it
// does with fields that the documentation does not have. The fields and their types are those of Databricks' SDK, which
// is generated from the API's specification; the rules between fields, which no schema tells, are in rules.go.
//
// Runs do no work but what a test has them do (Options.Work). They live as a test scripts it (Live), one step at each look.
package fakejobs
