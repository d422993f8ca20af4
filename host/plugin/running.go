package plugin

import (
	"context"
	"errors"
	"fmt"
	"log/slog"
	"time"

	"github.com/hashicorp/go-plugin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/host/process"
	"github.com/agenthost/agenthost/host/sandbox"
	"github.com/agenthost/agenthost/host/secret"
)

// running is a process with all that belongs to it. What a start did not get to is nil.
type running struct {
	log    *slog.Logger
	rundir *process.RunDir
	proc   *process.Process
	image  *artifact.Folder // what the program is in, where that is an image
	known  *secret.Known    // what is secret of it
	client *plugin.Client
	conns  *conns
	conn   *grpc.ClientConn
	served *Conn // conn, and the stream that calls share on it

	granted *sandbox.Granted // nil where there is no sandbox
	lacking []string         // what of its limits has no effect, of those that somebody asked for
	watched bool             // no cgroup holds its limit of memory
}

// clientWait bounds the wait for go-plugin to notice that its process has ended. Only an unkillable one makes it long.
const clientWait = 5 * time.Second

// end ends the process, asking it until ctx ends, and removes everything that belongs to it.
func (r *running) end(ctx context.Context) (process.Ending, error) {
	ending := process.AlreadyEnded
	var failed []error
	if r.proc != nil {
		ending = r.proc.Stop(ctx, r.shutdownRequest())
		if ending == process.Unkillable {
			failed = append(failed, fmt.Errorf("process %d %s: the kernel keeps it, most likely in a system call on a device or a network file system that does not answer", r.proc.PID(), ending))
		}
	}
	if r.served != nil {
		r.served.Close()
	}
	r.closeClient()
	if r.rundir != nil {
		failed = append(failed, r.rundir.Remove())
	}
	if r.image != nil && ending != process.Unkillable {
		r.image.Release()
	}
	return ending, errors.Join(failed...)
}

// closeClient ends go-plugin's side. Its Kill has no deadline, so it comes when there is nothing left to wait for.
func (r *running) closeClient() {
	if r.client == nil {
		return
	}
	closed := make(chan struct{})
	go func() {
		defer close(closed)
		r.client.Kill()
		r.conns.close()
	}()
	timer := time.NewTimer(clientWait)
	defer timer.Stop()
	select {
	case <-closed:
	case <-timer.C:
		r.conns.close()
	}
}

// shutdownRequest is the request to shut down; nil where there is no connection to make it on.
func (r *running) shutdownRequest() func(context.Context) error {
	if r.conn == nil {
		return nil
	}
	return func(ctx context.Context) error {
		err := r.conn.Invoke(ctx, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
		if isUnavailable(err) {
			return nil // the server stops before it answers: that is how go-plugin's Go side does it
		}
		return err
	}
}

// exited says how the process ended, if it has.
func (r *running) exited() (process.Exit, bool) {
	select {
	case <-r.proc.Done():
		return r.proc.Exit(), true
	default:
		return process.Exit{}, false
	}
}

func isUnavailable(err error) bool {
	return err != nil && status.Code(err) == codes.Unavailable
}
