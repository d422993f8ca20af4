// Command deploying follows docs/deploying.md, command by command, and holds what they print to what the page shows:
//
//	go run ./test/deploying machine     on a machine of its own, with a systemd of its own (machine.go)
//	go run ./test/deploying compose     in a container engine, with docker compose (compose.go)
//	go run ./test/deploying commands SECTION    prints a section's commands, for who follows it elsewhere
//
// With BUILT=1 `make` is not run: programs and images are as they are.
//
// A command after # is root's, on the machine that is deployed to; one after $ is that of whoever has the repository. Beside what the page
// says each tries what it promises: what a restart, a crash and an upgrade cost. The working directory is the repository's root.
package main

import (
	"context"
	"fmt"
	"log"
	"os"
	"os/signal"
	"syscall"
)

func main() {
	log.SetFlags(0)
	ctx, stop := signal.NotifyContext(context.Background(), os.Interrupt, syscall.SIGTERM)
	err := run(ctx, os.Args[1:])
	stop()
	if err != nil {
		log.Fatal("deploying: ", err)
	}
}

// follows has what follows each section of the page that has commands.
var follows = map[string]string{
	"On a cluster":      "make cluster-test",
	"On a machine":      "go run ./test/deploying machine",
	"In docker compose": "go run ./test/deploying compose",
}

func run(ctx context.Context, args []string) error {
	switch {
	case len(args) == 1 && args[0] == "machine":
		return onAMachine(ctx)
	case len(args) == 1 && args[0] == "compose":
		return inCompose(ctx)
	case len(args) == 2 && args[0] == "commands":
		steps, err := stepsOf(args[1])
		for _, s := range steps {
			fmt.Println(s.command)
		}
		return err
	case len(args) == 3 && args[0] == callerMarker:
		return call(ctx, args[1], args[2])
	}
	return fmt.Errorf("it is `deploying machine`, `deploying compose` or `deploying commands SECTION`, not %q", args)
}
