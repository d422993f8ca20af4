// Package intest lets examples call what takes a testing.TB.
package intest

import (
	"fmt"
	"os"
	"testing"
)

// Run runs what would be the body of a test, and cleans up after it.
func Run(test func(t testing.TB)) {
	e := &exampleTB{}
	defer func() {
		for n := len(e.cleanups) - 1; n >= 0; n-- {
			e.cleanups[n]()
		}
	}()
	test(e)
}

// exampleTB has what agenttest calls; the rest of the interface panics.
type exampleTB struct {
	testing.TB
	cleanups []func()
}

func (e *exampleTB) Helper()          {}
func (e *exampleTB) Name() string     { return "Example" }
func (e *exampleTB) Cleanup(f func()) { e.cleanups = append(e.cleanups, f) }

func (e *exampleTB) TempDir() string {
	dir, err := os.MkdirTemp("", "example")
	if err != nil {
		panic(err)
	}
	e.Cleanup(func() { os.RemoveAll(dir) })
	return dir
}

// A failure is printed, where no example expects it.
func (e *exampleTB) Errorf(format string, args ...any) { fmt.Printf(format+"\n", args...) }
func (e *exampleTB) Fatalf(format string, args ...any) { panic(fmt.Sprintf(format, args...)) }
