package sandbox

import (
	"errors"
	"fmt"
	"io/fs"
	"os"
	"path/filepath"
	"slices"
	"strings"

	"github.com/landlock-lsm/go-landlock/landlock"
	llsyscall "github.com/landlock-lsm/go-landlock/landlock/syscall"
)

// system is what programs of any kind read: the system's own programs and libraries, its configuration, what the kernel says of
// the process and of the processors, and how names are resolved.
var system = []string{
	"/usr", "/bin", "/sbin", "/lib", "/lib32", "/lib64", "/libx32", "/opt", "/etc", "/nix/store", "/gnu/store", "/var/lib/ca-certificates",
	"/proc", "/sys/fs/cgroup", "/sys/devices/system", "/sys/kernel/mm", "/dev/fd",
}

// devices are read and written.
var devices = []string{"/dev/null", "/dev/zero", "/dev/full", "/dev/random", "/dev/urandom"}

// sharedMemory is where the C library keeps POSIX semaphores and shared memory. It is nobody's to list: the names are random.
const sharedMemory = "/dev/shm"

// systemPrivate are the secrets of the system itself.
var systemPrivate = []string{
	"/etc/shadow", "/etc/shadow-", "/etc/gshadow", "/etc/gshadow-", "/etc/sudoers", "/etc/sudoers.d", "/etc/ssh", "/etc/ssl/private",
	"/etc/pki/tls/private", "/etc/kubernetes", "/etc/security/opasswd", "/etc/krb5.keytab", "/etc/docker", "/etc/rancher",
}

// fileRules are the policy's files and folders in Landlock's terms.
func (p Policy) fileRules(abi int) ([]landlock.Rule, error) {
	var rules []landlock.Rule
	for _, path := range p.Write {
		rule, err := writeRule(path, abi)
		if err != nil {
			return nil, fmt.Errorf("%s, which it may write, cannot be used: %w", path, err)
		}
		rules = append(rules, rule)
	}
	if _, err := os.Stat(sharedMemory); err == nil && p.SharedMemory {
		rights := landlock.AccessFSSet(llsyscall.AccessFSReadFile | llsyscall.AccessFSWriteFile | llsyscall.AccessFSMakeReg | llsyscall.AccessFSRemoveFile)
		if abi >= abiTruncate {
			rights |= llsyscall.AccessFSTruncate
		}
		rules = append(rules, landlock.PathAccess(rights, sharedMemory))
	}
	for _, device := range devices {
		if _, err := os.Stat(device); err == nil {
			rules = append(rules, landlock.RWFiles(device).IgnoreIfMissing())
		}
	}
	private, systems := realPaths(p.Private), realPaths(systemPrivate)
	c := carver{private: private}
	for _, path := range p.Program {
		c.grant(path, true)
	}
	for _, path := range p.Read {
		// A secret of the system's may be named, but is not given with a folder above it.
		c.private = slices.Concat(private, slices.DeleteFunc(slices.Clone(systems), func(secret string) bool { return within(path, secret) }))
		c.grant(path, false)
	}
	c.private = slices.Concat(private, systems)
	for _, path := range system {
		c.grant(path, false)
	}
	if resolver, err := filepath.EvalSymlinks("/etc/resolv.conf"); err == nil && !strings.HasPrefix(resolver, "/etc/") {
		c.grant(filepath.Dir(resolver), false) // which its keeper replaces
	}
	return append(rules, c.rules...), nil
}

func writeRule(path string, abi int) (landlock.Rule, error) {
	info, err := os.Stat(path)
	if err != nil {
		var pathError *fs.PathError
		if errors.As(err, &pathError) {
			err = pathError.Err
		}
		return nil, err
	}
	rule := landlock.RWFiles(path)
	if info.IsDir() {
		rule = landlock.RWDirs(path)
		if abi >= abiRefer {
			rule = rule.WithRefer()
		}
	}
	if abi >= abiIoctl {
		rule = rule.WithIoctlDev()
	}
	if abi >= abiUnix {
		rule = rule.WithResolveUnix()
	}
	return rule, nil
}

// carver makes rules that grant folders without what is private in them.
type carver struct {
	private []string
	rules   []landlock.Rule
}

// grant grants a file or folder to be read. own says that it is granted also where it lies in something private.
func (c *carver) grant(path string, own bool) {
	path, err := filepath.EvalSymlinks(path)
	if err != nil {
		return // nothing is there
	}
	info, err := os.Lstat(path)
	switch {
	case err != nil:
	case !own && c.isPrivate(path):
	case !info.IsDir():
		c.rules = append(c.rules, landlock.ROFiles(path).IgnoreIfMissing())
	case !c.holdsPrivate(path):
		c.rules = append(c.rules, landlock.RODirs(path).IgnoreIfMissing())
	default:
		c.carve(path)
	}
}

// carve grants the entries of a folder that holds something private, and the listing of it.
func (c *carver) carve(folder string) {
	entries, err := os.ReadDir(folder)
	if err != nil {
		return
	}
	c.rules = append(c.rules, landlock.PathAccess(llsyscall.AccessFSReadDir, folder).IgnoreIfMissing())
	for _, entry := range entries {
		path := filepath.Join(folder, entry.Name())
		if c.isPrivate(path) {
			continue
		}
		if entry.Type()&fs.ModeSymlink != 0 {
			target, err := filepath.EvalSymlinks(path)
			if info, statErr := os.Stat(path); err != nil || statErr != nil || info.IsDir() || c.isPrivate(target) {
				continue // a folder is granted where it lies
			}
		}
		c.grant(path, false)
	}
}

func (c *carver) isPrivate(path string) bool {
	for _, private := range c.private {
		if within(path, private) {
			return true
		}
	}
	return false
}

func (c *carver) holdsPrivate(folder string) bool {
	for _, private := range c.private {
		if within(private, folder) {
			return true
		}
	}
	return false
}

// within says that path is folder or lies below it. Both are clean.
func within(path, folder string) bool {
	return path == folder || folder == "/" || strings.HasPrefix(path, folder+"/")
}

// realPaths gives the paths as they are named and as they are.
func realPaths(paths []string) []string {
	var all []string
	for _, path := range paths {
		all = append(all, filepath.Clean(path))
		if target, err := filepath.EvalSymlinks(path); err == nil && target != path {
			all = append(all, target)
		}
	}
	return all
}
