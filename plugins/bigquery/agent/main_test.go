package agent_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/plugins/bigquery/bqtest"
)

// emulator is one for all tests: a start takes seconds. Jobs are kept apart by their ids.
var emulator *bqtest.Emulator

func TestMain(m *testing.M) {
	var err error
	if emulator, err = bqtest.Start(); err != nil {
		fmt.Fprintln(os.Stderr, err)
		os.Exit(1)
	}
	code := m.Run()
	emulator.Stop()
	if folder, err := compiled(); err == nil {
		os.RemoveAll(folder)
	}
	if err := goleak.Find(); err != nil && code == 0 {
		fmt.Fprintln(os.Stderr, err)
		code = 1
	}
	os.Exit(code)
}
