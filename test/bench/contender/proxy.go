package contender

import (
	"context"
	"os/exec"
	"strings"
	"time"
)

// Proxy starts the plain proxy of test/bench/proxy in front of a plugin.
func Proxy(ctx context.Context, proxy, plugin string) (*Contender, error) {
	running, err := start(ctx, exec.Command(proxy, plugin))
	if err != nil {
		return nil, missing(err, "`make bench` builds it")
	}
	address, err := await(ctx, running, "listening", time.Minute, func(line []byte) (string, bool) {
		return strings.CutPrefix(strings.TrimSpace(string(line)), "proxy: ")
	})
	if err != nil {
		running.end()
		return nil, err
	}
	process, conn, err := running.reach(address)
	if err != nil {
		return nil, err
	}
	return &Contender{Conn: conn, Between: &process, Answering: childrenOf(process.PID), Stop: func() {
		_ = conn.Close()
		running.end()
	}}, nil
}
