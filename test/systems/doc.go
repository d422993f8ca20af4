// Package systems holds the plugins for outside systems (plugins/bigquery, …) against flytekit's own connectors for them: the same
// task definitions, compiled by real flytekit, run through a real host on the same emulator with either, and a Flyte that is
// modelled after the real one sees the same of both. What differs is listed, with the reason, and nothing else may.
//
// It has tests only; `make test-systems` runs them, together with the plugins' own.
package systems
