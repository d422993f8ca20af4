package admin

import (
	"cmp"
	"context"
	"errors"
	"log/slog"
	"net/http"
	"time"

	"github.com/agenthost/agenthost/host/internal/throttle"
)

// operation is a handler of what changes something at the host. Every one is made by Server.operation: it answers only who may
// operate the host, and leaves an audit line.
type operation struct {
	name string
	do   func(http.ResponseWriter, *http.Request) Outcome
	log  *auditLog
}

// operation makes the handler of an operation. do answers the request, and says what came of it.
func (s *Server) operation(name string, do func(http.ResponseWriter, *http.Request) Outcome) http.Handler {
	return operation{name, do, s.audit}
}

// Outcome is what an operation came to, for its audit line.
type Outcome struct {
	// Plugin is the plugin that was operated; empty for the host as a whole.
	Plugin string
	// Changed is what has changed, in few words; empty: nothing.
	Changed string
	// Err is why the operation failed.
	Err error
}

// errBrokenOff is the outcome of an operation that did not come to its end.
var errBrokenOff = errors.New("it broke off")

// ServeHTTP implements http.Handler. It is reached by who may operate the host only.
func (o operation) ServeHTTP(w http.ResponseWriter, r *http.Request) {
	began := time.Now()
	outcome := Outcome{Err: errBrokenOff} // unless it comes to its end
	defer func() { o.log.done(r.Context(), o.name, callerIn(r.Context()), outcome, time.Since(began)) }()
	outcome = o.do(w, r)
}

// guard has an endpoint answer who may have its answer, and nobody else.
func (s *Server) guard(e endpoint) http.Handler {
	o, operates := e.handler.(operation)
	if operates {
		e.access = operate
	}
	return http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		c := s.callerOf(r, e)
		w.Header().Set("X-Content-Type-Options", "nosniff")
		if e.page {
			r = r.WithContext(withVisitor(r.Context(), s.visitor(r, e, c)))
		}
		refused := s.refuse(r, e, c)
		if refused == nil && e.body == form {
			refused = s.readForm(w, r, e, c)
		}
		if refused != nil {
			if operates {
				s.audit.refused(r.Context(), o.name, c, refused.text)
			}
			if refused.status == http.StatusUnauthorized {
				w.Header().Set("WWW-Authenticate", `Bearer realm="agenthost"`)
				s.tellTokenFile(w, r)
			}
			if e.page {
				s.refusePage(w, r, refused)
				return
			}
			http.Error(w, refused.text, refused.status)
			return
		}
		s.tellTokenFile(w, r)
		e.handler.ServeHTTP(w, r.WithContext(context.WithValue(r.Context(), callerKey{}, c)))
	})
}

type callerKey struct{}

func callerIn(ctx context.Context) caller {
	c, _ := ctx.Value(callerKey{}).(caller)
	return c
}

// By is who asked for the operation that ctx is of, as its line in the log has it; empty where nobody is known to.
func By(ctx context.Context) string {
	if c, known := ctx.Value(callerKey{}).(caller); known {
		return c.String()
	}
	return ""
}

const (
	// refusedInterval and refusedBurst bound the audit lines of operations that were refused, which strangers can ask for.
	refusedInterval = time.Second
	refusedBurst    = 20
)

// auditLog writes a line for each operation into the host's log, whatever its level.
type auditLog struct {
	handler slog.Handler
	refusal *throttle.Throttle
}

func newAuditLog(log *slog.Logger) *auditLog {
	return &auditLog{handler: cmp.Or(log, slog.New(slog.DiscardHandler)).Handler(), refusal: throttle.New(refusedInterval, refusedBurst)}
}

func (a *auditLog) done(ctx context.Context, name string, by caller, outcome Outcome, took time.Duration) {
	level, result := slog.LevelInfo, "done"
	attributes := []slog.Attr{slog.String("plugin", outcome.Plugin), slog.String("changed", outcome.Changed)}
	if outcome.Err != nil {
		level, result = slog.LevelWarn, "failed"
		attributes = append(attributes, slog.String("error", outcome.Err.Error()))
	}
	a.write(ctx, level, name, by, result, append(attributes, slog.Duration("took", took.Round(time.Millisecond)))...)
}

func (a *auditLog) refused(ctx context.Context, name string, by caller, why string) {
	leftOut, ok := a.refusal.Allow()
	if !ok {
		return
	}
	attributes := []slog.Attr{slog.String("error", why)}
	if leftOut > 0 {
		attributes = append(attributes, slog.Int64("left_out", leftOut))
	}
	a.write(ctx, slog.LevelWarn, name, by, "refused", attributes...)
}

// write writes past the logger, which would leave out lines below its level.
func (a *auditLog) write(ctx context.Context, level slog.Level, name string, by caller, result string, attributes ...slog.Attr) {
	record := slog.NewRecord(time.Now(), level, "operation", 0)
	record.AddAttrs(slog.String("operation", name), slog.String("outcome", result), slog.String("by", by.String()))
	if by.peer != nil {
		record.AddAttrs(slog.Uint64("uid", uint64(by.peer.Uid)), slog.Int("pid", int(by.peer.Pid)))
	}
	if by.remote != "" {
		record.AddAttrs(slog.String("remote", by.remote))
	}
	if by.token != "" {
		record.AddAttrs(slog.String("token", by.token))
	}
	for _, attribute := range attributes {
		if attribute.Value.Kind() != slog.KindString || attribute.Value.String() != "" {
			record.AddAttrs(attribute)
		}
	}
	_ = a.handler.Handle(ctx, record) // the host's log counts what it cannot write
}

// Audit writes the audit line of an operation that was asked for by other means than this API, such as a signal.
func Audit(log *slog.Logger, name, by string, outcome Outcome) {
	newAuditLog(log).done(context.Background(), name, caller{cause: by}, outcome, 0)
}
