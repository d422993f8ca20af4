// Package terminal writes for people what others said: plugins, hosts, Flyte. Nothing in it can move the cursor, colour, hide or turn
// round what a person reads, or make the terminal do anything else.
package terminal

import (
	"fmt"
	"io"
	"slices"
	"strings"
	"sync"
	"unicode"
	"unicode/utf8"
)

// Clean makes text safe to show: controls other than newline and tab, and characters that turn or hide others, become escapes such
// as \u001b, which is what JSON writes for them, too; what is no UTF-8 becomes \ufffd.
func Clean(text string) string {
	if !strings.ContainsFunc(text, isUnsafe) && utf8.ValidString(text) {
		return text
	}
	var b strings.Builder
	for i, r := range text {
		switch _, size := utf8.DecodeRuneInString(text[i:]); {
		case r == utf8.RuneError && size == 1:
			b.WriteString(`\ufffd`)
		case !isUnsafe(r):
			b.WriteRune(r)
		case r > 0xffff:
			high, low := (r-0x10000)>>10+0xd800, (r-0x10000)&0x3ff+0xdc00 // as JSON has it
			fmt.Fprintf(&b, `\u%04x\u%04x`, high, low)
		default:
			fmt.Fprintf(&b, `\u%04x`, r)
		}
	}
	return b.String()
}

// Line is Clean for what is to stay in one line.
func Line(text string) string { return Clean(strings.Join(strings.Fields(text), " ")) }

// Unsafe says that Clean would change text.
func Unsafe(text string) bool { return strings.ContainsFunc(text, isUnsafe) || !utf8.ValidString(text) }

func isUnsafe(r rune) bool {
	switch {
	case r == '\n', r == '\t':
		return false
	case r == '\u2028', r == '\u2029', r == '\ufeff', r >= '\ufff9' && r <= '\ufffb':
		return true
	case r >= 0xe0000 && r <= 0xe007f: // tags, which nobody sees
		return true
	case r >= '\u206a' && r <= '\u206f':
		return true
	}
	return unicode.IsControl(r) || unicode.Is(unicode.Bidi_Control, r)
}

// Writer cleans all that is written to it. A character may come in several parts.
type Writer struct {
	out io.Writer

	mu   sync.Mutex
	part []byte // of a character that has not come to its end
}

// NewWriter returns a writer in front of another.
func NewWriter(out io.Writer) *Writer { return &Writer{out: out} }

// Write implements io.Writer.
func (w *Writer) Write(text []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	whole := slices.Concat(w.part, text)
	end := len(whole) - unfinished(whole)
	w.part = append([]byte(nil), whole[end:]...)
	if end == 0 {
		return len(text), nil
	}
	if _, err := io.WriteString(w.out, Clean(string(whole[:end]))); err != nil {
		return 0, err
	}
	return len(text), nil
}

// Close writes what is left of a character without an end. The writer behind it stays open.
func (w *Writer) Close() error {
	w.mu.Lock()
	defer w.mu.Unlock()
	if len(w.part) == 0 {
		return nil
	}
	rest := Clean(string(w.part))
	w.part = nil
	_, err := io.WriteString(w.out, rest)
	return err
}

// unfinished is how many bytes at the end are the beginning of a character.
func unfinished(text []byte) int {
	for back := 1; back < utf8.UTFMax && back <= len(text); back++ {
		if last := text[len(text)-back:]; utf8.RuneStart(last[0]) {
			if utf8.FullRune(last) {
				return 0
			}
			return back
		}
	}
	return 0
}

// Behind is what a writer writes to: for whoever has to know whether that is a terminal.
func Behind(out io.Writer) io.Writer {
	if w, ok := out.(*Writer); ok {
		return w.out
	}
	return out
}

// Control writes a program's own control sequences, and text between them that has been cleaned.
func Control(out io.Writer, text string) {
	_, _ = io.WriteString(Behind(out), text) // a terminal that is gone needs none
}
