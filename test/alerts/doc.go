// Package alerts holds the alert rules and the dashboard that come with the host to a real Prometheus: each rule fires on series
// of its incident and not in a quiet hour (rules_test.go, with promtool); incidents of real hosts fire what is for them, and nothing else
// (incidents_test.go); and each query of the dashboard finds what it asks for.
//
// It has tests only. `make alerts-test` runs them.
package alerts
