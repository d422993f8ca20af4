package process

import (
	"fmt"
	"regexp"
)

const (
	// maxHandshake bounds the handshake line: an address and a certificate fit many times.
	maxHandshake = 16 << 10
	// maxNoiseLines and maxNoiseBytes bound what may be printed before the handshake line.
	maxNoiseLines = 200
	maxNoiseBytes = 256 << 10
)

// handshakeLine is go-plugin's: core protocol version, application protocol version, network, address, and more.
var handshakeLine = regexp.MustCompile(`^[0-9]{1,9}\|[0-9]{1,9}\|[^|]+\|[^|]+`)

// handshakeFilter finds the handshake line among what a process prints on stdout. A line before it is noise, such as
// the JVM's "Picked up JAVA_TOOL_OPTIONS": it is passed over with a warning, because a print that somebody left in is
// no reason to refuse a plugin. A process that prints ever more of it is given up.
type handshakeFilter struct {
	found   bool
	problem string // why the handshake was given up
	lines   int
	bytes   int
}

// verdict is what becomes of a line of stdout.
type verdict int

const (
	handshake verdict = iota // the handshake line
	noise                    // printed before it
	chatter                  // printed after it, or after it was given up
)

// sort says what a line of stdout is. giveUp is true once: when there will be no handshake any more.
func (f *handshakeFilter) sort(line []byte, cut int) (v verdict, giveUp bool) {
	if f.found || f.problem != "" {
		return chatter, false
	}
	if handshakeLine.Match(line) {
		if len(line)+cut > maxHandshake {
			f.problem = fmt.Sprintf("its handshake line is %d bytes long, more than the %d that any needs", len(line)+cut, maxHandshake)
			return noise, true
		}
		f.found = true
		return handshake, false
	}
	f.lines++
	f.bytes += len(line) + cut
	if f.lines > maxNoiseLines || f.bytes > maxNoiseBytes {
		f.problem = fmt.Sprintf("it printed %d lines (%d bytes) on stdout without a handshake line among them", f.lines, f.bytes)
		return noise, true
	}
	return noise, false
}
