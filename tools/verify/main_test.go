package verify_test

import (
	"fmt"
	"os"
	"testing"

	"go.uber.org/goleak"

	"github.com/agenthost/agenthost/test/badplugin"
)

func TestMain(m *testing.M) {
	badplugin.Main()
	if len(os.Args) == 4 && os.Args[1] == serviceFlag {
		fmt.Println(serveForVerify())
		os.Exit(1)
	}
	goleak.VerifyTestMain(m)
}
