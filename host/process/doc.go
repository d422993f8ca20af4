// Package process is one operating system process that can be relied on: what it prints cannot hurt its parent, it dies
// with its parent, it can always be stopped, and it leaves nothing behind. It knows nothing of Flyte, and of go-plugin
// only the interface by which that launches things: *Process is a runner.Runner, for ClientConfig.RunnerFunc.
//
//	root, err := process.OpenRunRoot("/run/user/1000/agenthost")    // private, swept of what dead hosts left
//	dir, err := root.Make()                                         // one for each process
//	p := process.New(process.Config{Name: "duckdb", Command: []string{"/plugins/duckdb"}, Env: env})
//	err = p.Start(ctx)
//	…
//	ending := p.Stop(ctx, askPolitely)                              // ask, SIGTERM, SIGKILL: always ends
//	dir.Remove()
//	remade, err := root.Keep()                                      // every minute: cleaners of /tmp do no harm
//
// # What comes out of it
//
// The package owns both pipes, reads them for as long as they live, and never lets a slow reader block the process.
// go-plugin gets clean copies: on Stdout() the handshake line and nothing else; on Stderr() lines of JSON that its
// parser cannot trip over (an unchecked type assertion in it would end the host), each shorter than its buffer. What
// the process prints on stdout besides the handshake becomes such lines too. A flood is thinned and the lines left out
// are counted.
//
// # What it takes with it
//
// The process leads a process group of its own, which is killed whole as soon as the leader ends. Children that left the
// group (setsid) are found by the private directory that their environment names, or, in a program that adopts orphans
// (AdoptOrphans), because they have become its own children, whatever they cleared.
//
// If the host dies, the kernel kills the leader (PR_SET_PDEATHSIG). The kernel offers nothing like that for the leader's
// own children: they normally notice their closed pipes, and whatever is left is found by its private directory, and killed,
// when the next host on the same base directory starts. In a container whose first process is the host, the kernel ends all
// of them.
package process
