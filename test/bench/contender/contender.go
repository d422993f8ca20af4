// Package contender starts what is measured side by side, each as real processes: our host with plugins behind it, a plugin
// without a host, flytekit's own server, and a plain proxy for reference.
package contender

import (
	"fmt"

	"github.com/prometheus/procfs"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials"
	"google.golang.org/grpc/credentials/insecure"

	"github.com/agenthost/agenthost/test/bench/load"
)

// Contender is one way to make a call.
type Contender struct {
	// Conn is where it is called.
	Conn grpc.ClientConnInterface
	// Between is what stands between the caller and those that answer; nil where nothing does.
	Between *procfs.Proc
	// Answering are the processes that answer.
	Answering func() ([]procfs.Proc, error)
	// Stop ends all of it.
	Stop func()
}

// dial connects to an address; no message is too large for it.
func dial(address string, security credentials.TransportCredentials) (*grpc.ClientConn, error) {
	if security == nil {
		security = insecure.NewCredentials()
	}
	const most = 64 << 20
	return grpc.NewClient(address, grpc.WithTransportCredentials(security),
		grpc.WithDefaultCallOptions(grpc.MaxCallRecvMsgSize(most), grpc.MaxCallSendMsgSize(most)))
}

// Spent is processor time in seconds, and who took it.
type Spent struct{ Client, Host, Plugin float64 }

// Minus is what was spent since an earlier time.
func (s Spent) Minus(before Spent) Spent {
	return Spent{Client: s.Client - before.Client, Host: s.Host - before.Host, Plugin: s.Plugin - before.Plugin}
}

// Plus is both.
func (s Spent) Plus(other Spent) Spent {
	return Spent{Client: s.Client + other.Client, Host: s.Host + other.Host, Plugin: s.Plugin + other.Plugin}
}

// All is what everybody took.
func (s Spent) All() float64 { return s.Client + s.Host + s.Plugin }

// Spent is what this process and the contender's have taken until now.
func (c *Contender) Spent() (now Spent, err error) {
	self, err := procfs.Self()
	if err != nil {
		return now, err
	}
	if now.Client, err = load.CPU(self); err != nil {
		return now, err
	}
	if c.Between != nil {
		if now.Host, err = load.CPU(*c.Between); err != nil {
			return now, err
		}
	}
	answering, err := c.Answering()
	if err == nil {
		now.Plugin, err = load.CPU(answering...)
	}
	return now, err
}

// family is a process and those that it has started.
func family(of procfs.Proc) func() ([]procfs.Proc, error) {
	return func() ([]procfs.Proc, error) {
		children, err := load.Children(of.PID)
		return append(children, of), err
	}
}

// childrenOf are those that a process has started: at least one.
func childrenOf(parent int) func() ([]procfs.Proc, error) {
	return func() ([]procfs.Proc, error) {
		children, err := load.Children(parent)
		if err == nil && len(children) == 0 {
			err = fmt.Errorf("process %d has no child: it runs no plugin", parent)
		}
		return children, err
	}
}
