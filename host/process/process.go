// Package process is one operating system process. It knows nothing of Flyte or of plugins' services.
package process

// Usage is what a process group takes at one moment.
type Usage struct {
	// RSS is the resident memory in bytes.
	RSS uint64
	// CPUSeconds is the time on a processor since the start, user and system.
	CPUSeconds float64
	// Processes is the number of processes in the group.
	Processes int
}

// RunRoot is a host's private directory, with one subdirectory for each process it runs.
type RunRoot struct{}

// OpenRunRoot makes a private directory below base.
func OpenRunRoot(base string) (*RunRoot, error) { return &RunRoot{}, nil }

// Close removes the directory and all in it.
func (r *RunRoot) Close() error { return nil }
