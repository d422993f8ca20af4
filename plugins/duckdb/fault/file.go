package fault

import (
	"errors"
	"slices"
	"syscall"
)

// passing are the errors of files that may be gone at the next try: the disk is full or ill, too many files are open, a file
// system on the network does not answer. What is missing, forbidden or impossible stays so until somebody changes it.
var passing = []syscall.Errno{
	syscall.EIO, syscall.ENOSPC, syscall.EDQUOT, syscall.EMFILE, syscall.ENFILE, syscall.ENOMEM, syscall.ENOBUFS, syscall.EAGAIN, syscall.EINTR,
	syscall.EBUSY, syscall.ETXTBSY, syscall.ENOLCK, syscall.EDEADLK, syscall.ESTALE, syscall.ETIMEDOUT, syscall.EREMOTEIO, syscall.EHOSTDOWN,
	syscall.EHOSTUNREACH, syscall.ENETDOWN, syscall.ENETUNREACH, syscall.ECONNREFUSED, syscall.ECONNRESET, syscall.ECONNABORTED, syscall.ENOTCONN,
	syscall.EPIPE,
}

// Passes tells whether an operation on a file that failed so may go well another time. An error that is none of the operating
// system's, such as a file that ends early, may.
func Passes(err error) bool {
	errno, known := errors.AsType[syscall.Errno](err)
	return !known || slices.Contains(passing, errno)
}

// File is the failure of an operation on a file, whose error %w in the format names.
func File(format string, args ...any) error {
	var e *Error
	errors.As(build(false, format, args), &e)
	e.Retryable = Passes(e.cause)
	return e
}
