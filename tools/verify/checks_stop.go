package verify

import (
	"context"
	"fmt"
	"os"
	"strings"
	"sync"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/types/known/emptypb"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/process"
)

// stopChecks are about the end of the process, on processes of their own.
func stopChecks() []*Check {
	return []*Check{
		{
			Name:   "stop/shutdown",
			Reason: "it is how the host ends a plugin when it swaps it: one that does not follow is killed, with what it was doing",
			Advice: "serve plugin.GRPCController/Shutdown(google.protobuf.Empty): let the calls in flight end, then exit with code 0",
			run:    shutdownEnds,
		},
		{
			Name:   "stop/socket",
			Reason: "a socket that is left behind is a file that somebody has to remove; the host does, other hosts may not",
			Advice: "remove the socket when the server stops",
			run:    socketRemoved,
		},
		{
			Name:   "stop/under-load",
			Reason: "a swap happens while calls are under way: each must end, with its answer or with a code that says to come again",
			Advice: "stop the server gracefully: refuse new calls with UNAVAILABLE, let those in flight end, and exit within 5 seconds",
			run:    shutdownUnderLoad,
		},
		{
			Name:   "stop/sigterm",
			Reason: "it is the host's second word, when the connection is broken, and the first that a container runtime says",
			Advice: "do on SIGTERM what you do on Shutdown; a launcher such as sh must exec the program, so that the signal reaches it",
			run:    sigtermEnds,
		},
		{
			Name:   "stop/death",
			Reason: "when the host dies, the kernel kills the plugin's first process and no other: what outlives that runs on without anybody",
			Advice: "start the program itself as the command (exec in scripts, no setsid, no daemon), and let children end when their parent or their pipes do",
			run:    deathLeavesNothing,
		},
	}
}

// orderlyEnd is what came of a Shutdown.
type orderlyEnd struct {
	err    error // why it is no orderly end
	detail string
	socket string // the socket if it was left behind
}

// askToStop makes the Shutdown call. A server may stop before it answers: go-plugin's own does.
func (k *kit) askToStop(ctx context.Context, i *instance) error {
	i.expected = true
	ctx, cancel := context.WithTimeout(ctx, k.options.StopTimeout)
	defer cancel()
	err := i.conn.Invoke(ctx, "/plugin.GRPCController/Shutdown", &emptypb.Empty{}, &emptypb.Empty{})
	switch status.Code(err) {
	case codes.OK, codes.Unavailable, codes.Canceled:
		return nil
	case codes.Unimplemented:
		return failed("it does not serve plugin.GRPCController/Shutdown")
	}
	return failed("Shutdown: %s", describeError(err))
}

// stop asks a process of its own to stop, once: two checks look at what comes of it.
func (k *kit) stop(ctx context.Context) (*orderlyEnd, error) {
	if k.ended != nil {
		return k.ended, nil
	}
	i, err := k.fresh(ctx, k.asTheHost())
	if err != nil {
		return nil, err
	}
	defer i.kill()
	end := &orderlyEnd{}
	began := time.Now()
	if end.err = k.askToStop(ctx, i); end.err == nil && !i.awaitEnd(ctx, k.options.StopTimeout) {
		end.err = failed("it still runs %v after Shutdown", k.options.StopTimeout)
	}
	if end.err == nil {
		exit := i.proc.Exit()
		end.detail = fmt.Sprintf("%s after %v", exit, time.Since(began).Round(time.Millisecond))
		if exit.Code != 0 {
			end.err = warned("after Shutdown it %s and not with code 0", i.obituary())
		}
		if _, err := os.Lstat(i.shake.address); err == nil && i.shake.network == "unix" {
			end.socket = i.shake.address
		}
	}
	if ctx.Err() == nil {
		k.ended = end
	}
	return end, nil
}

func shutdownEnds(ctx context.Context, k *kit) (string, error) {
	end, err := k.stop(ctx)
	if err != nil {
		return "", err
	}
	return end.detail, end.err
}

func socketRemoved(ctx context.Context, k *kit) (string, error) {
	end, err := k.stop(ctx)
	if err != nil {
		return "", err
	}
	if end.detail == "" {
		return "", &blocked{"stop/shutdown", end.err}
	}
	if end.socket != "" {
		return "", warned("the socket is still there after the process has ended")
	}
	return "", nil
}

func shutdownUnderLoad(ctx context.Context, k *kit) (string, error) {
	if end, err := k.stop(ctx); err != nil {
		return "", err
	} else if end.detail == "" {
		return "", &blocked{"stop/shutdown", end.err}
	}
	i, err := k.fresh(ctx, k.asTheHost())
	if err != nil {
		return "", err
	}
	defer i.kill()
	l, err := k.loadOn(ctx, i)
	if err != nil {
		return "", err
	}
	before, during := newTally(), newTally()
	enough := make(chan struct{})
	asked := make(chan struct{})
	var once sync.Once
	var working sync.WaitGroup
	for range workers {
		working.Go(func() {
			for {
				calling, cancel := k.call(ctx)
				err := l.one(calling)
				cancel()
				select {
				case <-asked:
					during.add(err)
				default:
					before.add(err)
				}
				if before.total() >= 10*workers {
					once.Do(func() { close(enough) })
				}
				if status.Code(err) == codes.Unavailable || ctx.Err() != nil || during.total() > 100_000 {
					return
				}
			}
		})
	}
	workersDone := make(chan struct{})
	go func() { working.Wait(); close(workersDone) }()
	select {
	case <-enough:
	case <-workersDone:
		return "", failed("the calls before Shutdown failed: %v", before.lost())
	}
	close(asked)
	began := time.Now()
	stopErr := k.askToStop(ctx, i)
	ended := stopErr == nil && i.awaitEnd(ctx, k.options.StopTimeout)
	took := time.Since(began)
	if !ended {
		i.kill() // which ends the calls
	}
	<-workersDone
	switch {
	case stopErr != nil:
		return "", stopErr
	case !ended:
		return "", failed("with calls in flight it still runs %v after Shutdown", k.options.StopTimeout)
	}
	if err := unclean(during, before); err != nil {
		return "", failed("of the calls in flight at Shutdown, %v", err)
	}
	return fmt.Sprintf("%d calls in flight ended, the process after %v", workers, took.Round(time.Millisecond)), nil
}

// unclean is about calls that ended with a code that does not say to come again, and which none got before.
func unclean(during, before *tally) error {
	for code, err := range during.first {
		switch code {
		case codes.DeadlineExceeded, codes.Internal, codes.Unknown:
			if before.counts[code] == 0 {
				return fmt.Errorf("%d got %s", during.counts[code], describeError(err))
			}
		}
	}
	return nil
}

func sigtermEnds(ctx context.Context, k *kit) (string, error) {
	i, err := k.fresh(ctx, k.asTheHost())
	if err != nil {
		return "", err
	}
	defer i.kill()
	i.expected = true
	began := time.Now()
	stopping, cancel := context.WithTimeout(ctx, k.options.StopTimeout)
	defer cancel()
	if ending := i.proc.Stop(stopping, nil); ending != process.Terminated {
		return "", failed("after SIGTERM it still ran for %v: it %s", k.options.StopTimeout, ending)
	}
	return fmt.Sprintf("%s after %v", i.proc.Exit(), time.Since(began).Round(time.Millisecond)), nil
}

// survivalTime is how long what is left of a plugin whose first process was killed has to notice.
const survivalTime = 5 * time.Second

func deathLeavesNothing(ctx context.Context, k *kit) (string, error) {
	o := k.asTheHost()
	o.keepGroup = true
	i, err := k.fresh(ctx, o)
	if err != nil {
		return "", err
	}
	pid := i.proc.PID()
	defer func() {
		unix.Kill(-pid, unix.SIGKILL) //nolint:errcheck // what is left of the group, if anything
		i.kill()
	}()
	family, err := i.relatives()
	if err != nil {
		return "", err
	}
	i.expected = true
	if err := unix.Kill(pid, unix.SIGKILL); err != nil { // as the kernel does when the host is gone
		return "", err
	}
	if !i.awaitEnd(ctx, k.options.CallTimeout) {
		return "", failed("process %d is still there after SIGKILL", pid)
	}
	for deadline := time.Now().Add(survivalTime); ; {
		left, err := i.relatives()
		if err != nil {
			return "", err
		}
		if len(left) == 0 {
			return fmt.Sprintf("processes: %d, none left", len(family)), nil
		}
		if time.Now().After(deadline) {
			names := make([]string, len(left))
			for n, proc := range left {
				command, _ := proc.CmdLine() // it may just have ended
				names[n] = fmt.Sprintf("%d (%s)", proc.PID, shorten(strings.Join(command, " ")))
			}
			return "", failed("%v after its first process was killed, there are still: %s", survivalTime, strings.Join(names, ", "))
		}
		select {
		case <-time.After(20 * time.Millisecond):
		case <-ctx.Done():
			return "", ctx.Err()
		}
	}
}
