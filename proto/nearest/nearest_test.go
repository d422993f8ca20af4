package nearest

import "testing"

func TestTheNearestNameIsFound(t *testing.T) {
	known := []string{"command", "checksum", "start_timeout", "stop_timeout", "pin"}
	for name, want := range map[string]string{
		"comand":        "command",
		"Command":       "command",
		"checksumm":     "checksum",
		"stoptimeout":   "stop_timeout",
		"start_timeuot": "start_timeout",
		"pni":           "pin",
		"xyz":           "", // as far from "pin" as there are letters
		"replicas":      "",
		"":              "",
	} {
		if got := Name(name, known); got != want {
			t.Errorf("Name(%q) = %q, want %q", name, got, want)
		}
	}
	if got := Name("command", nil); got != "" {
		t.Errorf("among none it is %q", got)
	}
}

func TestDistanceCountsLetters(t *testing.T) {
	for _, c := range []struct {
		a, b string
		want int
	}{
		{"", "", 0},
		{"", "abc", 3},
		{"same", "same", 0},
		{"kitten", "sitting", 3},
		{"flaw", "lawn", 2},
		{"ab", "ba", 2},
		{"größe", "grösse", 2}, // letters, not bytes
	} {
		if got := distance(c.a, c.b); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.a, c.b, got, c.want)
		}
		if got := distance(c.b, c.a); got != c.want {
			t.Errorf("distance(%q, %q) = %d, want %d", c.b, c.a, got, c.want)
		}
	}
}
