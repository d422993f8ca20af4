// Package sandbox keeps a program to what it needs. It applies a [Policy] in the child, after the fork and before the program runs:
//
//	launch, err := sandbox.Start(cmd, policy)   // instead of cmd.Start
//	granted, err := launch.Wait()               // the program runs, under what this machine grants of the policy
//
// Go can run nothing of ours between fork and exec, so the child is this very program once more (/proc/self/exe), which an init of
// this package turns into a launcher before anything else of it is initialised: it reads the policy from an inherited pipe, restricts
// itself, and becomes the program by exec. It keeps the process id, the group, and the parent-death signal; nothing of it stays in
// memory. What it could apply, or why the program could not be started, comes back on another pipe, which the exec closes.
//
// Whatever links this package can therefore start sandboxed programs, a test too.
//
// # What is applied
//
// In this order: limits (no core dumps), the user, no capabilities (root keeps those over files), no_new_privs, Landlock (files, TCP
// ports, signals and abstract sockets, as far as the kernel has them), the parent-death signal (which a change of the user clears), and
// seccomp's filter (filter.go).
//
// # What Landlock cannot say
//
// Rules only add. To leave the host's own files out of a folder that may be read, such as /etc, the launcher grants the folder's
// entries one by one, without those (carve.go). What is put into such a folder later can be listed, but not read, until the next
// start.
//
// The package knows nothing of plugins, and imports little: what it imports is initialised before each launch.
package sandbox
