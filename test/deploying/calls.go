package main

import (
	"bufio"
	"context"
	"errors"
	"fmt"
	"io"
	"os"
	"os/exec"
	"strings"
	"sync"
	"sync/atomic"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/service"
	"google.golang.org/grpc"
	"google.golang.org/grpc/credentials/insecure"
)

// callerMarker is the first argument of this program where it is the caller of a host: address and what it waits for follow.
const callerMarker = "deploying-caller"

// callLimit is how long a call may wait for a host that is away.
const callLimit = time.Minute

// callers is how many connections are being made at once.
const callers = 4

// call makes connections to a host with one call each, without end, until its input ends; then it prints how many were made and how many failed, and
// the last reason. Flyte's calls wait for a connection where it is told to (waitForReady); "wait" does so, "now" does not.
func call(ctx context.Context, address, how string) error {
	var made, failed atomic.Int64
	var last atomic.Value
	done := make(chan struct{})
	var all sync.WaitGroup
	for range callers {
		all.Go(func() {
			for {
				select {
				case <-done:
					return
				default:
				}
				if made.Add(1) == callers {
					fmt.Println("calling")
				}
				if err := callOnce(ctx, address, how == "wait"); err != nil {
					failed.Add(1)
					last.Store(err.Error())
				}
			}
		})
	}
	_, _ = io.Copy(io.Discard, os.Stdin) // until whoever started this one closes it, however
	close(done)
	all.Wait()
	fmt.Println(made.Load(), failed.Load(), last.Load())
	return nil
}

func callOnce(ctx context.Context, address string, waits bool) error {
	ctx, cancel := context.WithTimeout(ctx, callLimit)
	defer cancel()
	conn, err := grpc.NewClient(address, grpc.WithTransportCredentials(insecure.NewCredentials()))
	if err != nil {
		return err
	}
	defer conn.Close()
	_, err = service.NewAgentMetadataServiceClient(conn).ListAgents(ctx, &admin.ListAgentsRequest{}, grpc.WaitForReady(waits))
	return err
}

// calling has a host called, from within a place, while something is done to it, and says why any call failed.
func calling(p *place, how string, do func() error) error {
	self, err := os.Executable()
	if err != nil {
		return err
	}
	// By its descriptor: the place has file systems of its own.
	program, err := os.Open(self)
	if err != nil {
		return err
	}
	defer program.Close()
	cmd := exec.Command(p.shell[0], append(p.shell[1:], "-c", `exec /proc/self/fd/3 "$@"`, "sh", callerMarker, "127.0.0.1:8000", how)...)
	cmd.ExtraFiles, cmd.Stderr = []*os.File{program}, os.Stderr
	in, err := cmd.StdinPipe()
	if err != nil {
		return err
	}
	out, err := cmd.StdoutPipe()
	if err != nil {
		return err
	}
	if err := cmd.Start(); err != nil {
		return err
	}
	defer func() { _ = cmd.Wait() }() // it says what it has to say on its output
	defer in.Close()
	said := bufio.NewReader(out)
	if line, err := said.ReadString('\n'); line != "calling\n" {
		return errors.Join(fmt.Errorf("the caller says %q", line), err)
	}
	if err := do(); err != nil {
		return err
	}
	in.Close() // which ends it
	line, err := said.ReadString('\n')
	if err != nil {
		return fmt.Errorf("the caller ended: %w", err)
	}
	var made, failed int
	if _, err := fmt.Sscanf(line, "%d %d", &made, &failed); err != nil {
		return fmt.Errorf("the caller says %q: %w", line, err)
	}
	if failed > 0 {
		return fmt.Errorf("%d of %d calls failed, the last: %s", failed, made, strings.TrimSpace(line))
	}
	return nil
}
