// Package languages holds `agenthost new` to its promise, in every language that it has: the project builds, passes its own
// tests, is verified, and runs a task, as it comes. Then all of them serve behind one host, are killed under load, and take
// over each other's jobs.
//
// It has tests only.
package languages
