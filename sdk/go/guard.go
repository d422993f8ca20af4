package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"path/filepath"
	"runtime"
	"runtime/debug"
	"strings"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// guard runs a call of an agent and turns what goes wrong, panics included, into a status that names the agent.
func guard(registered *registration, category Category, method string, call func() error) (err error) {
	defer func() {
		if thrown := recover(); thrown != nil {
			slog.Error("agent panicked", "agent", registered.name, "task_category", category.Name,
				"task_category_version", category.Version, "method", method, "panic", fmt.Sprint(thrown), "stack", string(debug.Stack()))
			err = status.Errorf(codes.Internal, "agent %s (task category %s) panicked in %s: %s%s",
				registered.name, category.Name, method, cut(fmt.Sprint(thrown), maxMessage), placeOfPanic())
		}
	}()
	if err := call(); err != nil {
		return status.Errorf(codeOf(err), "agent %s: %s: %s", registered.name, method, cut(messageOf(err), maxMessage))
	}
	return nil
}

// placeOfPanic is where the panic began that a deferred function has recovered from, such as " (main.go:48)".
func placeOfPanic() string {
	callers := make([]uintptr, 32)
	frames := runtime.CallersFrames(callers[:runtime.Callers(3, callers)])
	for {
		frame, more := frames.Next()
		if frame.File != "" && !strings.HasPrefix(frame.Function, "runtime.") {
			return fmt.Sprintf(" (%s:%d)", filepath.Base(frame.File), frame.Line)
		}
		if !more {
			return ""
		}
	}
}

func codeOf(err error) codes.Code {
	switch known, isStatus := status.FromError(err); {
	case isStatus && known.Code() != codes.OK:
		return known.Code()
	case errors.Is(err, context.DeadlineExceeded):
		return codes.DeadlineExceeded
	case errors.Is(err, context.Canceled):
		return codes.Canceled
	}
	return codes.Internal
}

// messageOf is the error's own message, without the "rpc error: code = …" of package status. An error that wraps a status
// keeps its own words.
func messageOf(err error) string {
	if _, direct := err.(interface{ GRPCStatus() *status.Status }); direct {
		return status.Convert(err).Message()
	}
	return err.Error()
}

// maxMessage bounds a status's message, in bytes: it travels in a header, for which clients have limits.
const maxMessage = 4 << 10

// cut keeps the head and the tail of a long text, where the reasons are.
func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	half := limit / 2
	return strings.ToValidUTF8(text[:half], "") + fmt.Sprintf("\n… (%d bytes cut) …\n", len(text)-2*half) +
		strings.ToValidUTF8(text[len(text)-half:], "")
}
