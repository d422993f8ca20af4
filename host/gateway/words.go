package gateway

import (
	"context"
	"fmt"
	"maps"
	"slices"
	"strings"
	"time"

	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/host/internal/deadline"
	"github.com/agenthost/agenthost/host/route"
)

// Errors on their way to Flyte. Each names the plugin and says what is the matter, whoever it comes from, and equal matters have
// equal texts, without running times or ports: Flyte groups errors by their text. And each fits into what clients read of
// an HTTP/2 header, because one that does not breaks the call.

const (
	// maxErrorText is how much of an error's text goes out, in bytes as they are sent, percent-encoded. Clients in Python refuse
	// headers of more than 16 KiB in all, and some of more than 8 KiB; what belongs to the error counts too.
	maxErrorText = 4 << 10
	// maxErrorDetails is how much the details of an error may be, which carry its text a second time, in base64.
	maxErrorDetails = 4 << 10
	// maxTrailer and maxHeader bound what of a plugin's metadata goes out with its answer.
	maxTrailer = 1 << 10
	maxHeader  = 6 << 10
)

// wordsTime is how much of a caller's deadline is kept, so that he reads why there is no answer in place of his client's
// "deadline exceeded".
func wordsTime(left time.Duration) time.Duration { return min(left/40, 250*time.Millisecond) }

// withWordsTime is the context for asking a plugin on behalf of a caller.
func withWordsTime(ctx context.Context) (context.Context, context.CancelFunc) {
	at, ok := ctx.Deadline()
	if !ok {
		return ctx, func() {}
	}
	return deadline.With(ctx, at.Add(-wordsTime(time.Until(at))))
}

// late says that a call has run into its deadline, or into one that a plugin's server was told, which is the same.
func late(ctx context.Context, err error) bool {
	at, ok := ctx.Deadline()
	return ok && status.Code(err) == codes.DeadlineExceeded && time.Until(at) < 20*time.Millisecond
}

// lost is the error of a call that the plugin did not answer, or did when it was too late.
func lost(ctx context.Context, lease route.Lease, c *routedCall, err error) error {
	switch {
	case canceled(ctx):
		return err
	case late(ctx, err):
		if trouble, ok := silent(lease.Watched); ok {
			return status.Errorf(codes.DeadlineExceeded, "%s; it did not answer %s for %s in time", trouble.Reason, c.method.name, c.route.Category)
		}
		return status.Errorf(codes.DeadlineExceeded, "%s did not answer %s for %s in time", c.describePlugin(), c.method.name, c.route.Category)
	case status.Code(err) == codes.Unavailable: // what grpc says of it has the ports of a connection in it
		return status.Errorf(codes.Unavailable, "the connection to %s broke while it answered %s for %s", c.describePlugin(), c.method.name, c.route.Category)
	default:
		return err
	}
}

// silent says that somebody does not answer.
func silent(who any) (route.Trouble, bool) {
	if watched, ok := who.(route.Watched); ok {
		return watched.Silent()
	}
	return route.Trouble{}, false
}

// naming is an error that names the plugin.
func (c *routedCall) naming(err error) error {
	name := c.route.Target.Plugin()
	s := status.Convert(err)
	if err == nil || name == "" || s.Code() == codes.Canceled || strings.Contains(s.Message(), fmt.Sprintf("plugin %q", name)) {
		return err
	}
	p := s.Proto()
	p.Message = fmt.Sprintf("plugin %q: %s", name, strings.TrimPrefix(p.GetMessage(), "plugin "+name+": "))
	if s.Message() == "" {
		p.Message = fmt.Sprintf("plugin %q answered %s without a word", name, s.Code())
	}
	return status.ErrorProto(p)
}

// fitted is an error that clients can read: its text is cut, and details that are too large are left out. shortened says that
// something was.
func fitted(err error) (fits error, shortened bool) {
	if err == nil {
		return nil, false
	}
	p := status.Convert(err).Proto()
	limit := maxErrorText
	if len(p.GetDetails()) > 0 {
		limit /= 2
		whole := proto.Clone(p).(*spb.Status) //nolint:forcetypeassert // it is a clone
		whole.Message = cutEncoded(p.GetMessage(), limit)
		if base64(proto.Size(whole)) > maxErrorDetails {
			p.Details, limit, shortened = nil, maxErrorText, true
		}
	}
	if text := cutEncoded(p.GetMessage(), limit); text != p.GetMessage() {
		p.Message, shortened = text, true
	}
	if !shortened {
		return err, false
	}
	return status.ErrorProto(p), true
}

func base64(size int) int { return (size + 2) / 3 * 4 }

// cutEncoded is cut by the length that a text has when grpc has percent-encoded it.
func cutEncoded(text string, limit int) string {
	for size := encoded(text); size > limit; size = encoded(text) {
		text = cut(text, min(len(text)*limit/size, len(text)-1))
	}
	return text
}

func encoded(text string) int {
	size := 0
	for i := range len(text) {
		if c := text[i]; c < ' ' || c > '~' || c == '%' {
			size += 3
		} else {
			size++
		}
	}
	return size
}

// bounded leaves of metadata what fits into size, by the order of the keys.
func bounded(md metadata.MD, size int) metadata.MD {
	all := 0
	for key, values := range md {
		all += headerSize(key, values)
	}
	if all <= size { // as nearly always: nothing has to be sorted
		return md
	}
	for _, key := range slices.Sorted(maps.Keys(md)) {
		if size -= headerSize(key, md[key]); size < 0 {
			delete(md, key)
		}
	}
	return md
}

// headerSize is what a header takes by HTTP/2's own reckoning.
func headerSize(key string, values []string) int {
	size := 0
	for _, value := range values {
		length := len(value)
		if strings.HasSuffix(key, "-bin") {
			length = base64(length)
		}
		size += len(key) + length + 32
	}
	return size
}

// fit is what of an error goes out.
func (g *Gateway) fit(err error, of *observation) error {
	if !g.enabled.Has(guarantee.SizeLimits) {
		return err
	}
	fits, shortened := fitted(err)
	if shortened && of.plugin != "" {
		g.metrics.guarantees.WithLabelValues(guarantee.SizeLimits.String(), of.plugin, of.taskType).Inc() // G10
	}
	return fits
}
