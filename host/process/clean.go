package process

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

// clean makes text safe to show in a terminal and to put in a log: what is not valid UTF-8, controls other than
// newline and tab, and characters that turn or break lines unseen, are written as escapes. It grows a text at most
// fivefold.
func clean(text string) string {
	if isClean(text) {
		return text
	}
	var b strings.Builder
	for i := 0; i < len(text); {
		r, size := utf8.DecodeRuneInString(text[i:])
		switch {
		case r == utf8.RuneError && size == 1:
			fmt.Fprintf(&b, `\x%02x`, text[i])
		case !unsafeRune(r):
			b.WriteRune(r)
		case r < 0x80:
			fmt.Fprintf(&b, `\x%02x`, r)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
		i += size
	}
	return b.String()
}

func isClean(text string) bool {
	return utf8.ValidString(text) && !strings.ContainsFunc(text, unsafeRune)
}

func unsafeRune(r rune) bool {
	switch r {
	case '\n', '\t':
		return false
	case '\u2028', '\u2029':
		return true
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}
