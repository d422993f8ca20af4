package process

import (
	"fmt"
	"os"
	"strings"
	"testing"
)

func TestTheContractNamesTheLimitsOfOutput(t *testing.T) {
	file, err := os.ReadFile("../../docs/contract.md")
	if err != nil {
		t.Fatal(err)
	}
	page := strings.Join(strings.Fields(string(file)), " ")
	for _, part := range []string{
		fmt.Sprintf("up to %d lines or %d KiB", maxNoiseLines, maxNoiseBytes>>10),
		fmt.Sprintf("The line itself has at most %d KiB", maxHandshake>>10),
		fmt.Sprintf("A socket's path holds %d bytes; the host leaves %d for its name", maxSocketPath, socketRoom-len("/")),
		fmt.Sprintf("A line is kept up to %d KiB", maxLine>>10),
		fmt.Sprintf("text up to %d KiB", maxText>>10),
		fmt.Sprintf("the host counts what it cuts in `%s`", keyCut),
		fmt.Sprintf("%d lines and %d KiB a second are let through, after a burst of %d,%03d lines or %d MiB",
			linesPerSecond, bytesPerSecond>>10, linesBurst/1000, linesBurst%1000, bytesBurst>>20),
		fmt.Sprintf("| SIGKILL, to the process group | %.0f s |", killWait.Seconds()),
		fmt.Sprintf("| `%s` | `%s`, `%s`, `%s`, `%s` or `%s` |", keyLevel, levelTrace, levelDebug, levelInfo, levelWarn, levelError),
		fmt.Sprintf("| `%s` | a string |", keyMessage),
		fmt.Sprintf("| `%s` | RFC 3339", keyTimestamp),
	} {
		if !strings.Contains(page, part) {
			t.Errorf("docs/contract.md does not say %q", part)
		}
	}
}
