// Package verify is the conformance kit for plugins: it starts a plugin in any language the way the host does, and the
// ways it never would, and says of each thing that the contract asks for whether the plugin does it.
//
//	subject, err := verify.ReadSpec("plugins/hello/verify.yaml")
//	report, err := verify.Run(ctx, subject, verify.Options{})
//	report.Table(os.Stdout)
//
// It sees a plugin from outside only: its command line, its pipes, its socket, its process. Each Check has a stable
// name, a reason and advice. Checks that find their ground missing, such as calls on a plugin that does not start, are
// skipped with a pointer to the check that says why, so that one fault is told once.
package verify
