package process

import (
	"regexp"
	"slices"
	"strings"
)

const (
	tailLines    = 20
	tailLine     = 16 << 10 // kept of each line, so that most structured lines stay whole
	tailText     = 240      // shown of each line
	decisiveText = 1000     // shown of one that says why the process ends
	// staleCrash is how many lines after it a crash that need not end the process, but only a thread of it, is forgotten.
	staleCrash = 500
)

// tail keeps the last lines, and those that announced a crash: a Go panic prints more stack than anybody keeps.
type tail struct {
	ring    [tailLines]string
	next    int
	crash   []crashLine
	follows bool // what the crash says is in the next line
}

type crashLine struct {
	at   int
	text string
}

func (t *tail) add(line []byte) {
	text := string(line[:min(len(line), tailLine)])
	switch announced, inNext := announcesCrash(text); {
	case announced:
		t.crash, t.follows = []crashLine{{t.next, text}}, inNext
	case t.follows:
		t.crash, t.follows = append(t.crash, crashLine{t.next, text}), false
	case len(t.crash) > 0 && strings.HasPrefix(text, "Caused by: "): // the last one is where it began
		t.crash = append(t.crash[:1], crashLine{t.next, text})
	}
	t.ring[t.next%tailLines] = text
	t.next++
}

// announcesCrash says that a runtime begins with this line to tell why the process, or a thread of it, ends; inNext, that the next line
// has the reason.
func announcesCrash(text string) (announced, inNext bool) {
	switch {
	case strings.HasPrefix(text, "panic: "), strings.HasPrefix(text, "fatal error: "), // Go
		strings.HasPrefix(text, "Exception in thread "), strings.HasPrefix(text, "Fatal Python error: "):
		return true, false
	case strings.HasPrefix(text, "thread '") && strings.Contains(text, " panicked at "), // Rust
		strings.HasPrefix(text, "terminate called after "): // C++
		return true, true
	}
	return false, false
}

func (t *tail) texts() []string {
	var texts []string
	add := func(raw string) {
		if text := shortText(raw); text != "" {
			texts = append(texts, text)
		}
	}
	first := max(0, t.next-tailLines)
	for _, line := range t.crash {
		ends := strings.HasPrefix(t.crash[0].text, "panic: ") || strings.HasPrefix(t.crash[0].text, "fatal error: ")
		if line.at < first && (ends || t.next-line.at < staleCrash) {
			add(line.text)
		}
	}
	for i := first; i < t.next; i++ {
		add(t.ring[i%tailLines])
	}
	return texts
}

// shortText is a printed line in few words: the message of a structured one, cut to what an error message can hold.
func shortText(raw string) string {
	var parser logLines
	_, message := parser.encode([]byte(raw), 0)
	text := strings.Join(strings.Fields(message), " ")
	if text == "" {
		return ""
	}
	if strings.Contains(message, "\n") && len(text) > tailText { // such as a stack in one structured line
		var lines []string
		for line := range strings.Lines(message) {
			if line := indented(line); line != "" {
				lines = append(lines, cutText(line))
			}
		}
		return Excerpt(lines, 4)
	}
	if raw[0] == ' ' || raw[0] == '\t' {
		text = " " + text
	}
	return cutText(text)
}

// indented is a line with single spaces, and one before it where there were some.
func indented(line string) string {
	text := strings.Join(strings.Fields(line), " ")
	if text != "" && (line[0] == ' ' || line[0] == '\t') {
		text = " " + text
	}
	return text
}

func cutText(text string) string {
	limit := tailText
	if decides.MatchString(text) {
		limit = decisiveText
	}
	if len(text) > limit {
		return strings.ToValidUTF8(text[:limit], "") + "…"
	}
	return text
}

// decides recognises the line that says why a process ends, as runtimes write it: Go's panics, Rust's, the exceptions of Java, Python and
// JavaScript, C++'s terminate, the loader of the system, and programs that print an error and end.
var decides = regexp.MustCompile(`^(panic: |fatal error: |\[signal |thread '.*' .*panicked at |fatal runtime error: |memory allocation of |Exception in thread |` +
	`Caused by: |Fatal Python error: |terminate called after | ?what\(\): |Unhandled |Uncaught |# A fatal error has been detected|[^ ]+: error while loading |` +
	`[^ ]+: symbol lookup error: |.*: Assertion .* failed|(?i:fatal|error)( [^ ]+)?(\[\w+\])?: |Error occurred during initialization|` +
	`([\w$]+(\.|::))*[\w$]*(Error|Exception|Exit|Interrupt)\b( \[\w+\])?(: |$))`)

// Excerpt is a few of the lines of LastOutput in one: those that say why the process ended, wherever they are, and the last ones. "…" stands
// for what is left out.
func Excerpt(lines []string, most int) string {
	shown := make([]bool, len(lines))
	left := min(most, len(lines))
	show := func(i int) {
		if !shown[i] && left > 0 {
			shown[i] = true
			left--
		}
	}
	reasons := decisive(lines)
	if len(reasons) == 0 && len(lines) > 0 {
		show(0) // where a program tells what is wrong and then how it is used, for example
	}
	for _, i := range slices.Backward(reasons) {
		if left > most/2 {
			show(i)
		}
	}
	for i := range slices.Backward(lines) {
		show(i)
	}
	var parts []string
	gap := false
	for i, line := range lines {
		switch {
		case shown[i]:
			parts = append(parts, strings.TrimSpace(line))
		case !gap:
			parts = append(parts, "…")
		}
		gap = !shown[i]
	}
	return strings.Join(parts, " | ")
}

// decisive are the places of the lines that say why a process ended.
func decisive(lines []string) []int {
	var places []int
	inTraceback, next := false, false
	for i, line := range lines {
		isIndented := strings.HasPrefix(line, " ")
		switch {
		case strings.HasPrefix(line, "Traceback (most recent call last)"): // Python's ends with the exception, which may have any name
			inTraceback = true
			continue
		case inTraceback && !isIndented, next, decides.MatchString(line):
			places = append(places, i)
			inTraceback = inTraceback && isIndented
		}
		_, next = announcesCrash(line)
	}
	return places
}
