package languages

import (
	"testing"

	"github.com/agenthost/agenthost/host/internal/hosttest"
)

func TestMain(m *testing.M) { hosttest.Main(m, "host") }
