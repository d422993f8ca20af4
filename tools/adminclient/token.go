package adminclient

import (
	"io"
	"net"
	"os"
	"path/filepath"
	"strconv"
	"strings"

	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/admin"
)

// tokenIn reads the token that a host on this machine has written for its user to a file, which it names; empty: there is none.
//
// What answers may be no host, but want to learn a token. So it gets that of its own port only, on this machine, from a file that only this user,
// or root, can have written.
func tokenIn(address, path string) string {
	if !filepath.IsAbs(path) {
		return ""
	}
	_, port, err := net.SplitHostPort(address)
	number, portErr := strconv.Atoi(port)
	if err != nil || portErr != nil || filepath.Base(path) != admin.TokenFileName(number) {
		return ""
	}
	file, err := os.OpenFile(path, os.O_RDONLY|unix.O_NOFOLLOW|unix.O_NONBLOCK|unix.O_CLOEXEC, 0)
	if err != nil {
		return ""
	}
	defer file.Close()
	if !isPrivate(file) {
		return ""
	}
	token, err := io.ReadAll(io.LimitReader(file, 4<<10))
	if err != nil {
		return ""
	}
	return strings.TrimSpace(string(token))
}

// isPrivate says that a file is a regular one of this user's own, which nobody else may read. Root reads those of others, too.
func isPrivate(file *os.File) bool {
	var info unix.Stat_t
	if err := unix.Fstat(int(file.Fd()), &info); err != nil {
		return false
	}
	user := os.Geteuid()
	return info.Mode&unix.S_IFMT == unix.S_IFREG && info.Mode&0o077 == 0 && (user == 0 || int(info.Uid) == user)
}
