package process

import (
	"fmt"
	"io"
	"sync"
	"time"

	"golang.org/x/time/rate"
)

// What of a flood is let through, for both pipes together.
const (
	linesPerSecond = 500
	linesBurst     = 2000
	bytesPerSecond = 512 << 10
	bytesBurst     = 4 << 20
	// countEvery is how often the number of lines left out is told, while there are any.
	countEvery = time.Second

	// outputBuffer is what is read at once: most processes print little, and there may be hundreds.
	outputBuffer = 4 << 10
)

// output is what a process prints, on its way to go-plugin. One goroutine reads each pipe, and never waits for a
// reader: what cannot be taken is counted and left out.
type output struct {
	handshakes *lineQueue // at most one line
	logs       *lineQueue
	watch      func(Stream, []byte, int)
	hide       func(string) string
	keep       func([]byte)

	readers sync.WaitGroup

	mu        sync.Mutex // guards what follows
	filter    handshakeFilter
	handshake string
	better    *time.Timer // set while a better handshake line is waited for
	stderr    logLines
	tail      tail
	lines     *rate.Limiter
	bytes     *rate.Limiter
	dropped   dropped
}

// dropped counts what was left out since it was last told.
type dropped struct {
	lines, bytes int
	timer        *time.Timer // set while there is something to tell
}

func newOutput(watch func(Stream, []byte, int), hide func(string) string) *output {
	if watch == nil {
		watch = func(Stream, []byte, int) {}
	}
	return &output{
		watch:      watch,
		hide:       hide,
		keep:       func([]byte) {},
		handshakes: newLineQueue(2 * maxHandshake),
		logs:       newLineQueue(1 << 20),
		lines:      rate.NewLimiter(linesPerSecond, linesBurst),
		bytes:      rate.NewLimiter(bytesPerSecond, bytesBurst),
	}
}

// follow starts to read both pipes, until their ends or an error such as a deadline that was set on them.
func (o *output) follow(stdout, stderr io.Reader) {
	o.readers.Add(2)
	go o.read(stdout, o.stdoutLine, o.stdoutEnded)
	go o.read(stderr, o.stderrLine, func() {})
}

// wait returns when both pipes are read, and ends what go-plugin reads.
func (o *output) wait() {
	o.readers.Wait()
	o.mu.Lock()
	o.tellDropped()
	o.mu.Unlock()
	o.logs.finish()
}

// abandon is for a process that did not start: readers find the end at once.
func (o *output) abandon() {
	o.handshakes.finish()
	o.logs.finish()
}

func (o *output) read(from io.Reader, emit func([]byte, int), atEnd func()) {
	defer o.readers.Done()
	defer atEnd()
	splitter := &lineSplitter{max: maxLine, emit: emit}
	piecewise := struct{ io.Reader }{from}                         // a file would be read with a buffer of eight times the size
	io.CopyBuffer(splitter, piecewise, make([]byte, outputBuffer)) //nolint:errcheck // whatever ends the pipe ends the reading
	splitter.Flush()
}

func (o *output) stdoutLine(line []byte, cut int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watch(Stdout, line, cut)
	s := o.filter.sort(line, cut)
	switch s.verdict {
	case handshake:
		if s.before != "" {
			o.noise([]byte(s.before), 0)
		}
		o.shake(s.handshake)
	case faulty:
		o.better = time.AfterFunc(betterWait, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.takeFaulty()
		})
	case noise:
		o.noise(line, cut)
	case chatter:
		line = o.shown(line)
		o.log(line, cut, func() []byte {
			encoded, _ := encodeText(levelDebug, string(line), cut, stdoutField)
			return encoded
		})
	}
	if s.giveUp {
		o.handshakes.finish()
	}
}

// noise logs what came before the handshake. It needs mu.
func (o *output) noise(line []byte, cut int) {
	line = o.shown(line)
	o.log(line, cut, func() []byte {
		encoded, _ := encodeText(levelWarn, "printed before its handshake: "+string(line), cut, stdoutField)
		return encoded
	})
}

// shake passes the handshake on. It needs mu.
func (o *output) shake(line string) {
	o.handshake = line
	o.handshakes.push([]byte(line))
	if passed := o.filter.faulty; passed != "" && passed != line {
		o.noise([]byte(passed), 0)
	}
	if o.better != nil {
		o.better.Stop()
	}
}

// takeFaulty takes a handshake line with a mistake for what there is. It needs mu.
func (o *output) takeFaulty() {
	if line, ok := o.filter.takeFaulty(); ok {
		o.shake(line)
	}
}

// shown is a line without what must not be shown.
func (o *output) shown(line []byte) []byte {
	if o.hide == nil {
		return line
	}
	return []byte(o.hide(string(line)))
}

// stdoutEnded is for the end of stdout: no better handshake can come any more.
func (o *output) stdoutEnded() {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.takeFaulty()
	o.handshakes.finish()
}

var stdoutField = map[string]any{keyStream: "stdout"}

func (o *output) stderrLine(line []byte, cut int) {
	o.mu.Lock()
	defer o.mu.Unlock()
	o.watch(Stderr, line, cut)
	line = o.shown(line)
	o.log(line, cut, func() []byte {
		encoded, _ := o.stderr.encode(line, cut)
		return encoded
	})
}

// log remembers a line and passes it on, unless there are too many. It needs mu.
func (o *output) log(line []byte, cut int, encode func() []byte) {
	if len(line) == 0 && cut == 0 {
		return
	}
	o.tail.add(line)
	now := time.Now()
	if !o.lines.AllowN(now, 1) || !o.bytes.AllowN(now, len(line)) {
		o.drop(len(line) + cut)
		return
	}
	encoded := encode()
	if encoded == nil {
		return
	}
	o.keep(encoded)
	if !o.logs.push(encoded) {
		o.drop(len(line) + cut)
	}
}

func (o *output) drop(bytes int) {
	o.dropped.lines++
	o.dropped.bytes += bytes
	if o.dropped.timer == nil {
		o.dropped.timer = time.AfterFunc(countEvery, func() {
			o.mu.Lock()
			defer o.mu.Unlock()
			o.tellDropped()
		})
	}
}

// tellDropped logs how much was left out. It needs mu.
func (o *output) tellDropped() {
	if o.dropped.timer == nil {
		return
	}
	o.dropped.timer.Stop()
	text := fmt.Sprintf("left out %d lines (%d bytes) of its output: it prints more than can be logged", o.dropped.lines, o.dropped.bytes)
	encoded, _ := encodeText(levelWarn, text, 0, map[string]any{"dropped_lines": o.dropped.lines, "dropped_bytes": o.dropped.bytes})
	o.dropped = dropped{}
	o.keep(encoded)
	o.logs.pushAlways(encoded)
}

// Handshake is the handshake line; empty until it came.
func (p *Process) Handshake() string {
	p.output.mu.Lock()
	defer p.output.mu.Unlock()
	return p.output.handshake
}

// HandshakeProblem says why there will be no handshake, where that is known from what was printed; empty otherwise.
func (p *Process) HandshakeProblem() string {
	p.output.mu.Lock()
	defer p.output.mu.Unlock()
	return string(p.output.shown([]byte(p.output.filter.problem)))
}

// LikeHandshake is a line on stdout that had the form of a handshake and was none, where none came; empty otherwise.
func (p *Process) LikeHandshake() string {
	p.output.mu.Lock()
	defer p.output.mu.Unlock()
	return string(p.output.shown([]byte(p.output.filter.nearest())))
}

// LastOutput is the last lines that the process printed on either pipe, oldest first and clean, bounded in number and
// length. Of structured log lines it is the message. The lines that announced a crash lead, however long ago that was. A line that was
// indented begins with a space: Excerpt tells stacks by it.
func (p *Process) LastOutput() []string {
	p.output.mu.Lock()
	defer p.output.mu.Unlock()
	return p.output.tail.texts()
}

// StdoutWriter and StderrWriter take what the process printed but which reached its parent by another way, such as
// go-plugin's stdio stream. It is treated like the rest. Writes never block and never fail.
func (p *Process) StdoutWriter() io.Writer { return &sideWriter{emit: p.output.stdoutLine} }

// StderrWriter is as StdoutWriter, for the standard error.
func (p *Process) StderrWriter() io.Writer { return &sideWriter{emit: p.output.stderrLine} }

type sideWriter struct {
	emit     func([]byte, int)
	mu       sync.Mutex
	splitter lineSplitter
}

func (w *sideWriter) Write(data []byte) (int, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.splitter.max, w.splitter.emit = maxLine, w.emit
	return w.splitter.Write(data)
}
