// Package compat holds what docs/compatibility.md promises to plugins and jobs that are older than the host, and to those that are
// newer: today's and those of an earlier commit (scripts/earlier) run side by side.
//
// It has tests only.
package compat
