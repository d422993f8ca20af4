package page

import (
	"fmt"
	"math"
	"strconv"
	"strings"
	"time"
	"unicode/utf8"
)

// ago is how long ago something was, in a word; the script that comes with the page says it the same way.
func ago(t time.Time) string { return forHowLong(time.Since(t)) }

func forHowLong(d time.Duration) string {
	switch {
	case d < 2*time.Second:
		return "now"
	case d < 2*time.Minute:
		return fmt.Sprintf("%d s", int(d.Seconds()))
	case d < 2*time.Hour:
		return fmt.Sprintf("%d min", int(d.Minutes()))
	case d < 48*time.Hour:
		return fmt.Sprintf("%d h", int(d.Hours()))
	}
	return fmt.Sprintf("%d d", int(d.Hours()/24))
}

func iso(t time.Time) string { return t.UTC().Format(time.RFC3339) }

func clock(t time.Time) string { return t.UTC().Format("15:04:05") }

// slug is a state as a part of a name.
func slug(state string) string { return strings.ReplaceAll(state, " ", "-") }

func inBytes(b float64) string {
	switch {
	case b == 0:
		return "0"
	case b < 1<<20:
		return figure(b/(1<<10)) + " KiB"
	case b < 1<<30:
		return figure(b/(1<<20)) + " MiB"
	}
	return figure(b/(1<<30)) + " GiB"
}

func inRate(perSecond float64) string { return figure(perSecond) + "/s" }

func inSeconds(seconds float64) string {
	switch {
	case seconds == 0:
		return "–"
	case seconds < 1e-3:
		return figure(seconds*1e6) + " µs"
	case seconds < 1:
		return figure(seconds*1e3) + " ms"
	case seconds < 120:
		return figure(seconds) + " s"
	}
	return figure(seconds/60) + " min"
}

// figure has two digits that say something, or all before the point.
func figure(f float64) string {
	switch {
	case f == 0:
		return "0"
	case math.Abs(f) < 10:
		return strings.TrimSuffix(strings.TrimRight(strconv.FormatFloat(f, 'f', 1, 64), "0"), ".")
	}
	return count(int(math.Round(f)))
}

// count has thin spaces between thousands.
func count(n int) string {
	text := strconv.Itoa(n)
	for i := len(text) - 3; i > 0; i -= 3 {
		text = text[:i] + "\u202f" + text[i:]
	}
	return text
}

// short is the beginning of what tells generations apart.
func short(id string) string {
	if len(id) > 8 {
		return id[:8]
	}
	return id
}

// cut is a text of at most so many bytes.
func cut(most int, text string) string {
	if len(text) <= most {
		return text
	}
	for most > 0 && !utf8.RuneStart(text[most]) {
		most--
	}
	return text[:most] + "…"
}
