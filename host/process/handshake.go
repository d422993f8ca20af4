package process

import (
	"fmt"
	"regexp"
	"strings"
	"time"
)

const (
	// maxHandshake bounds the handshake line: an address and a certificate fit many times.
	maxHandshake = 16 << 10
	// maxNoiseLines and maxNoiseBytes bound what may be printed before the handshake line.
	maxNoiseLines = 200
	maxNoiseBytes = 256 << 10
	// betterWait is how long a handshake line with a mistake is kept back: a better one may follow.
	betterWait = time.Second
)

// wholeHandshake is go-plugin's line: core protocol version, application protocol version, network, address, protocol,
// certificate, multiplexing. It is found at the end of a line too, behind text that was printed without a newline.
var wholeHandshake = regexp.MustCompile(`1\|[0-9]{1,9}\|(?:unix|tcp)\|[^|]+\|grpc(?:\|[A-Za-z0-9+/]*={0,2})?(?:\|(?:true|false)?)?$`)

// nearHandshake is a line that nobody prints who does not mean a handshake, whatever else is wrong with it.
var nearHandshake = regexp.MustCompile(`^[0-9]{1,9}\|[0-9]{1,9}\|(?:unix|tcp)\|[^|]+`)

// likeHandshake is a line that has the form of one, but may be something else: a table, a progress.
var likeHandshake = regexp.MustCompile(`^[^|]*\|[^|]*\|[^|]*\|[^|]*`)

// handshakeFilter finds the handshake line among what a process prints on stdout. A line before it is noise, such as
// the JVM's "Picked up JAVA_TOOL_OPTIONS": it is passed over with a warning, because a print that somebody left in is
// no reason to refuse a plugin. A process that prints ever more of it is given up. A line that is meant as a handshake and
// has a mistake is kept back for a moment: it counts if no better one follows.
type handshakeFilter struct {
	found   bool
	faulty  string // the first line that is meant as a handshake and has a mistake
	like    string // the first line that has the form of one; for people
	problem string // why the handshake was given up
	lines   int
	bytes   int
}

// verdict is what becomes of a line of stdout.
type verdict int

const (
	handshake verdict = iota // the handshake line
	faulty                   // meant as one
	noise                    // printed before it
	chatter                  // printed after it, or after it was given up
)

// sorted is a line of stdout with its verdict. Of a handshake, handshake is the line as it should have been, without what
// was printed before it.
type sorted struct {
	verdict
	handshake string
	before    string
	giveUp    bool // true once: when there will be no handshake any more
}

// sort says what a line of stdout is.
func (f *handshakeFilter) sort(line []byte, cut int) sorted {
	if f.found || f.problem != "" {
		return sorted{verdict: chatter}
	}
	text := strings.TrimSpace(string(line))
	if cut == 0 {
		if at := wholeHandshake.FindStringIndex(text); at != nil && at[1]-at[0] <= maxHandshake {
			f.found = true
			return sorted{verdict: handshake, handshake: text[at[0]:], before: text[:at[0]]}
		}
	}
	if nearHandshake.MatchString(text) {
		if len(line)+cut > maxHandshake {
			f.problem = fmt.Sprintf("its handshake line is %d bytes long, more than the %d that any needs", len(line)+cut, maxHandshake)
			return sorted{verdict: noise, giveUp: true}
		}
		if f.faulty == "" {
			f.faulty = text
			return sorted{verdict: faulty}
		}
	}
	if f.like == "" && cut == 0 && likeHandshake.MatchString(text) {
		f.like = text
	}
	f.lines++
	f.bytes += len(line) + cut
	if f.lines > maxNoiseLines || f.bytes > maxNoiseBytes {
		f.problem = fmt.Sprintf("it printed %d lines (%d bytes) on stdout without a handshake line among them", f.lines, f.bytes)
		return sorted{verdict: noise, giveUp: true}
	}
	return sorted{verdict: noise}
}

// takeFaulty gives the line with a mistake, where there is one and no better one came.
func (f *handshakeFilter) takeFaulty() (line string, ok bool) {
	if f.found || f.problem != "" || f.faulty == "" {
		return "", false
	}
	f.found = true
	return f.faulty, true
}

// nearest is the line that came closest to a handshake where none came, cut to what an error can hold; empty: none did.
func (f *handshakeFilter) nearest() string {
	if f.found || f.problem != "" {
		return ""
	}
	return shortText(f.like)
}
