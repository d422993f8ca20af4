package plugin

import (
	"context"
	"slices"
	"sync"

	"google.golang.org/grpc"
)

// conns knows every connection that go-plugin made. It makes one, and loses it when the plugin dies at the wrong
// moment, with the goroutines that go with it.
type conns struct {
	mu   sync.Mutex
	seen []*grpc.ClientConn
}

// interceptor sees each connection early: go-plugin opens streams of its own on it before it gives it away.
func (c *conns) interceptor(ctx context.Context, desc *grpc.StreamDesc, cc *grpc.ClientConn, method string, streamer grpc.Streamer, opts ...grpc.CallOption) (grpc.ClientStream, error) {
	c.mu.Lock()
	if !slices.Contains(c.seen, cc) {
		c.seen = append(c.seen, cc)
	}
	c.mu.Unlock()
	return streamer(ctx, desc, cc, method, opts...)
}

func (c *conns) close() {
	c.mu.Lock()
	defer c.mu.Unlock()
	for _, cc := range c.seen {
		_ = cc.Close() // closed already, most of the time
	}
}
