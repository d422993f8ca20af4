package process

import "bytes"

// lineSplitter cuts a stream of bytes into lines, in bounded memory: of a line longer than max only the first max bytes
// are kept, and the others counted. It is an io.Writer, so that io.Copy feeds it.
type lineSplitter struct {
	max  int
	emit func(line []byte, cut int) // line is valid until emit returns

	buffer []byte
	cut    int
}

// Write takes all of data, always.
func (s *lineSplitter) Write(data []byte) (int, error) {
	n := len(data)
	for {
		line, rest, found := bytes.Cut(data, []byte{'\n'})
		s.add(line)
		if !found {
			return n, nil
		}
		s.end()
		data = rest
	}
}

// Flush emits a last line that has no newline.
func (s *lineSplitter) Flush() {
	if len(s.buffer) > 0 || s.cut > 0 {
		s.end()
	}
}

func (s *lineSplitter) add(part []byte) {
	room := min(len(part), s.max-len(s.buffer))
	s.buffer = append(s.buffer, part[:room]...)
	s.cut += len(part) - room
}

func (s *lineSplitter) end() {
	s.emit(bytes.TrimSuffix(s.buffer, []byte{'\r'}), s.cut)
	s.buffer, s.cut = s.buffer[:0], 0
}
