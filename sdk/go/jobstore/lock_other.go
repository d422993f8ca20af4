//go:build !unix

package jobstore

import (
	"errors"
	"os"
)

func exclusively(*os.File) error { return errors.ErrUnsupported }
