package agent

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"runtime/debug"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// guard runs a call of an agent and turns what goes wrong, panics included, into a status that names the agent.
func guard(registered *registration, category Category, method string, call func() error) (err error) {
	defer func() {
		if thrown := recover(); thrown != nil {
			slog.Error("agent panicked", "agent", registered.name, "task_category", category.Name,
				"task_category_version", category.Version, "method", method, "panic", fmt.Sprint(thrown), "stack", string(debug.Stack()))
			err = status.Errorf(codes.Internal, "agent %s (task category %s) panicked in %s: %s",
				registered.name, category.Name, method, cut(fmt.Sprint(thrown), 1024))
		}
	}()
	if err := call(); err != nil {
		return status.Errorf(codeOf(err), "agent %s: %s: %s", registered.name, method, messageOf(err))
	}
	return nil
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

// messageOf is the error's own message, without the "rpc error: code = …" of package status.
func messageOf(err error) string {
	if _, direct := err.(interface{ GRPCStatus() *status.Status }); direct { //nolint:errorlint // A wrapped status keeps the wrapper's words.
		return status.Convert(err).Message()
	}
	return err.Error()
}

func cut(text string, limit int) string {
	if len(text) <= limit {
		return text
	}
	return text[:limit] + "…"
}
