package verify

import (
	"context"
	"fmt"
)

// logChecks are made last, about all that the plugin printed during the others.
func logChecks() []*Check {
	return []*Check{
		{
			Name:   "logs/format",
			Reason: "a log line arrives with its level and fields only if go-plugin can read it",
			Advice: `write one JSON object a line on stderr: @level, @message (a string), @timestamp with six digits after the point, and your own fields`,
			run:    logFormat,
		},
		{
			Name:   "logs/stdout-after",
			Reason: "stdout belongs to the handshake: what is printed there later arrives at debug level and without fields, if at all",
			Advice: "print to stderr, or let the SDK catch prints",
			run:    stdoutAfter,
		},
	}
}

func logFormat(_ context.Context, k *kit) (string, error) {
	b := &k.logs
	b.mu.Lock()
	defer b.mu.Unlock()
	switch {
	case b.bad > 0:
		return "", failed("%d of %d log lines are wrong, such as %.120q: %s", b.bad, b.good+b.bad+b.raw+b.slog, b.badLine, b.badCause)
	case b.slog > 0:
		return "", advise(warned("%d lines are JSON without @level and @message, such as %.120q", b.slog, b.rawLine),
			"rename the keys: @level, @message, @timestamp; the host reads other names too, go-plugin does not")
	case b.raw > 0:
		return "", warned("%d of %d lines are plain text, such as %.120q: they arrive without a level of their own", b.raw, b.good+b.raw, b.rawLine)
	case b.good == 0:
		return "it logged nothing", nil
	}
	return fmt.Sprintf("%d lines", b.good), nil
}

func stdoutAfter(_ context.Context, k *kit) (string, error) {
	line, count := k.logs.strayPrint()
	if count == 0 {
		return "", nil
	}
	return "", warned("it printed %d lines on stdout after its handshake, such as %.80q", count, line)
}
