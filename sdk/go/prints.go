package agent

import (
	"bytes"
	"io"
	"log/slog"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/protobuf/proto"
)

// maxPrinted is the longest line of prints; a longer one becomes several.
const maxPrinted = 16 << 10

// printsToLog makes log lines of what is printed. After the handshake go-plugin replaces os.Stdout and os.Stderr with pipes,
// and streams them to the host, which commonly drops them. This takes the stream's messages out before they are sent: lines of
// os.Stdout are logged, those of os.Stderr are written to the real one as they are, since they can be log lines already.
func printsToLog(stderr io.Writer) grpc.StreamServerInterceptor {
	return func(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
		if info.FullMethod != "/plugin.GRPCStdio/StreamStdio" {
			return handler(server, stream)
		}
		prints := &printStream{
			ServerStream: stream,
			stdout:       lineBuffer{write: func(line string) { slog.Info(line, "stream", "stdout") }},
			stderr:       lineBuffer{write: func(line string) { _, _ = io.WriteString(stderr, line+"\n") }},
		}
		defer prints.stdout.flush()
		defer prints.stderr.flush()
		return handler(server, prints)
	}
}

// printStream takes the place of the stream to the host.
type printStream struct {
	grpc.ServerStream
	stdout, stderr lineBuffer
}

// SendMsg takes one StdioData, a type that is go-plugin's own: channel (1 is stdout, 2 stderr) and data.
func (p *printStream) SendMsg(message any) error {
	reflected := message.(proto.Message).ProtoReflect()
	fields := reflected.Descriptor().Fields()
	data := reflected.Get(fields.ByName("data")).Bytes()
	if reflected.Get(fields.ByName("channel")).Enum() == 1 {
		p.stdout.add(data)
	} else {
		p.stderr.add(data)
	}
	return nil
}

// lineBuffer cuts what is printed into lines. It has one user at a time.
type lineBuffer struct {
	write   func(line string)
	partial []byte
}

func (b *lineBuffer) add(data []byte) {
	b.partial = append(b.partial, data...)
	for {
		line, rest, found := bytes.Cut(b.partial, []byte("\n"))
		if !found && len(b.partial) < maxPrinted {
			return
		}
		if !found || len(line) > maxPrinted {
			line, rest = b.partial[:maxPrinted], b.partial[maxPrinted:]
		}
		b.write(strings.TrimSuffix(string(line), "\r"))
		b.partial = bytes.Clone(rest)
	}
}

func (b *lineBuffer) flush() {
	if len(b.partial) > 0 {
		b.write(string(b.partial))
		b.partial = nil
	}
}
