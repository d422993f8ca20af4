package query

import (
	"testing"
	"time"
)

func TestADurationIsACanonicalInterval(t *testing.T) {
	for duration, want := range map[time.Duration]string{
		0:                                        "0-0 0 0:0:0",
		90 * time.Minute:                         "0-0 0 1:30:0",
		26*time.Hour + 1500*time.Millisecond:     "0-0 1 2:0:1.5",
		-26 * time.Hour:                          "0-0 -1 -2:0:0",
		-time.Microsecond:                        "0-0 0 -0:0:0.000001",
		59*time.Second + 999999*time.Microsecond: "0-0 0 0:0:59.999999",
	} {
		if got := interval(duration); got != want {
			t.Errorf("%s = %q, want %q", duration, got, want)
		}
	}
}
