package verify_test

import (
	"testing"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/test/badplugin"
)

func TestMain(m *testing.M) {
	badplugin.Main()
	goleak.VerifyTestMain(m)
}
