package gateway

import (
	"encoding/hex"
	"fmt"
	"os"
	"strings"
	"testing"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// contract is docs/contract.md, each paragraph in one line.
func contract(t *testing.T) string {
	t.Helper()
	page, err := os.ReadFile("../../docs/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	return strings.Join(strings.Fields(string(page)), " ")
}

func TestTheEnvelopeInTheContractIsOne(t *testing.T) {
	_, rest, found := strings.Cut(contract(t), "<!-- example: envelope --> ```text ")
	text, _, closed := strings.Cut(rest, " ```")
	sealedMeta, err := hex.DecodeString(strings.ReplaceAll(text, " ", ""))
	if !found || !closed || err != nil {
		t.Fatalf("docs/contract.md has no example of an envelope: %v", err)
	}
	e, ok := open(sealedMeta, nil)
	if !ok || e.plugin != "bigquery" || e.generation != "3f2a9c41d07e" || string(e.meta) != `{"id":"j1"}` {
		t.Errorf("it is opened as %+v (%v)", e, ok)
	}
	for _, mark := range [][]byte{envelopeMark, signedMark} {
		if text := fmt.Sprintf("`% x`", mark); !strings.Contains(contract(t), text) {
			t.Errorf("docs/contract.md does not say that a mark is %s", text)
		}
	}
}

func TestTheContractNamesTheLimitsOfTheGateway(t *testing.T) {
	for _, part := range []string{
		fmt.Sprintf("a message is cut to %d KiB", maxMessage>>10),
		fmt.Sprintf("inline outputs that make the answer larger than %d MiB", maxAnswer>>20),
		fmt.Sprintf("the host remembers creations for %.0f min", createMemoryTime.Minutes()),
		fmt.Sprintf("(%.0f min where there was none)", createWithoutDeadline.Minutes()),
		fmt.Sprintf("RETRYABLE_FAILED (%d)", pluginv1.PhaseRetryableFailed),
	} {
		if !strings.Contains(contract(t), part) {
			t.Errorf("docs/contract.md does not say %q", part)
		}
	}
	_, rest, _ := strings.Cut(contract(t), "| anything else | both | passes unchanged, but for ")
	row, _, _ := strings.Cut(rest, " |")
	for _, key := range []string{"content-type", "user-agent", "te", "connection", "host", "trailer", ":path", "grpc-timeout"} {
		if !ofConnection(key) {
			t.Errorf("%s crosses the host, which docs/contract.md denies", key)
		}
		named := strings.Contains(row, "`"+key+"`") || key == ":path" && strings.Contains(row, "begin with `:`") ||
			key == "grpc-timeout" && strings.Contains(row, "`grpc-*`")
		if !named {
			t.Errorf("docs/contract.md does not say that %s does not cross the host", key)
		}
	}
	for _, key := range []string{"grpc-trace-bin", "grpc-tags-bin", "traceparent"} {
		if ofConnection(key) {
			t.Errorf("%s does not cross the host, which docs/contract.md says", key)
		}
	}
}
