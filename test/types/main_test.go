package types

import (
	"testing"

	"github.com/agenthost/agenthost/test/hosttest"
)

func TestMain(m *testing.M) { hosttest.Main(m, "plugins/duckdb") }
