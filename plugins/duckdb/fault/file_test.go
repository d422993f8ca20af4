package fault_test

import (
	"errors"
	"io"
	"os"
	"syscall"
	"testing"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
)

// Why the errors of an operating system pass that do. All others stay: nobody makes a file, grants a right or shortens a name
// because a task is tried again.
var whyItPasses = map[syscall.Errno]string{
	syscall.EIO: "a disk or a network file system had a bad moment", syscall.ENOSPC: "somebody makes room", syscall.EDQUOT: "somebody makes room",
	syscall.EMFILE: "other queries close their files", syscall.ENFILE: "other processes close their files", syscall.ENOMEM: "others let go of memory",
	syscall.ENOBUFS: "others let go of memory", syscall.EAGAIN: "it says so itself", syscall.EINTR: "the next call is not interrupted",
	syscall.EBUSY: "others let go of it", syscall.ETXTBSY: "the program ends", syscall.ENOLCK: "others let go of locks", syscall.EDEADLK: "others let go of locks",
	syscall.ESTALE: "the file is opened anew", syscall.ETIMEDOUT: "the network gets well", syscall.EREMOTEIO: "the server gets well",
	syscall.EHOSTDOWN: "the server gets well", syscall.EHOSTUNREACH: "the network gets well", syscall.ENETDOWN: "the network gets well",
	syscall.ENETUNREACH: "the network gets well", syscall.ECONNREFUSED: "the server gets well", syscall.ECONNRESET: "the server gets well",
	syscall.ECONNABORTED: "the server gets well", syscall.ENOTCONN: "the server gets well", syscall.EPIPE: "the server gets well",
}

func TestEveryErrorOfAFileHasTheRightEnd(t *testing.T) {
	const last = syscall.Errno(133) // EHWPOISON
	for errno := syscall.Errno(1); errno <= last; errno++ {
		why, passes := whyItPasses[errno]
		err := fault.File("cannot read it: %w", &os.PathError{Op: "open", Path: "/x", Err: errno})
		if fault.IsRetryable(err) != passes || !errors.Is(err, errno) {
			t.Errorf("%d (%v): %v, want passes %v: %s", errno, errno, err, passes, why)
		}
	}
	for _, err := range []error{io.ErrUnexpectedEOF, io.ErrShortWrite} {
		if !fault.IsRetryable(fault.File("cannot read it: %w", err)) {
			t.Errorf("%v stays", err)
		}
	}
}
