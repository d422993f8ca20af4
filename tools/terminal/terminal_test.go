package terminal_test

import (
	"bytes"
	"encoding/json"
	"strings"
	"testing"
	"unicode"
	"unicode/utf8"

	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/tools/terminal"
)

func TestWhatMovesTurnsOrHidesTextIsShownAsAnEscape(t *testing.T) {
	for text, want := range map[string]string{
		"plain, ünï → 日本 🎉\n\ttabbed": "plain, ünï → 日本 🎉\n\ttabbed",
		"\x1b[2Jgone":                 `\u001b[2Jgone`,
		"\x1b]0;title\a":              `\u001b]0;title\u0007`,
		"\u009b31mred":                `\u009b31mred`, // CSI in one character
		"\x9b31m":                     `\ufffd31m`,    // and in one byte, for terminals of other encodings
		"over\rwritten\b":             `over\u000dwritten\u0008`,
		"user\u202etxt.exe":           `user\u202etxt.exe`,
		"\u2066\u2069\u200e\u061c":    `\u2066\u2069\u200e\u061c`,
		"a\u2028b\u0085c\x7f\x00":     `a\u2028b\u0085c\u007f\u0000`,
		"tag\U000e0041":               `tag\udb40\udc41`,
		"👩\u200d🔬":                    "👩\u200d🔬", // joiners make one sign of several
	} {
		if got := terminal.Clean(text); got != want {
			t.Errorf("%q became %q, want %q", text, got, want)
		}
	}
	if got := terminal.Line("a\nfake\r\n line\x1b[m"); got != `a fake line\u001b[m` {
		t.Errorf("in one line: %q", got)
	}
}

// What stands in JSON is the same value afterwards.
func TestCleanedJSONSaysTheSame(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		value := rapid.StringOf(rapid.RuneFrom(nil, unicode.C, unicode.Bidi_Control, unicode.L)).Draw(t, "value")
		encoded, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		var was, is string
		if err := json.Unmarshal(encoded, &was); err != nil {
			t.Fatal(err)
		}
		if err := json.Unmarshal([]byte(terminal.Clean(string(encoded))), &is); err != nil || is != was {
			t.Fatalf("%q became %q, %v", was, is, err)
		}
	})
}

func TestAWriterCleansWhateverThePartsAre(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		text := rapid.SliceOf(rapid.OneOf(rapid.Byte(), rapid.SampledFrom([]byte("\x1b\xc2\x9b\xe2\x80\xae\xf0\x9f\x8e\x89")))).Draw(t, "text")
		var out bytes.Buffer
		w := terminal.NewWriter(&out)
		for rest := text; len(rest) > 0; {
			n := rapid.IntRange(1, len(rest)).Draw(t, "part")
			if written, err := w.Write(rest[:n]); err != nil || written != n {
				t.Fatalf("%d of %d bytes, %v", written, n, err)
			}
			rest = rest[n:]
		}
		if err := w.Close(); err != nil {
			t.Fatal(err)
		}
		if got := out.String(); terminal.Unsafe(got) || !utf8.ValidString(got) || got != terminal.Clean(string(text)) {
			t.Fatalf("%q became %q, want %q", text, got, terminal.Clean(string(text)))
		}
	})
}

func TestAProgramsOwnSequencesPass(t *testing.T) {
	var out strings.Builder
	terminal.Control(terminal.NewWriter(&out), "\r\x1b[K")
	if out.String() != "\r\x1b[K" {
		t.Errorf("%q", out.String())
	}
}
