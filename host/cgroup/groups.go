package cgroup

import (
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strconv"
	"strings"
	"sync"
	"syscall"
	"time"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/containerd/cgroups/v3/cgroup2"
	"github.com/opencontainers/runtime-spec/specs-go"
	"golang.org/x/sys/unix"

	"github.com/agenthost/agenthost/host/internal/privatedir"
)

// The controllers that limit something.
const (
	memory = "memory"
	pids   = "pids"
	cpu    = "cpu"
)

const (
	// prefix leads the name of a host's cgroup, and of nobody else's: what a dead host left is swept with all processes in it.
	prefix = "agenthost-host-"
	// leaf is the cgroup of the host's own process where it cannot stay above those of its plugins: version 2 lets no process stay
	// in a cgroup whose controllers are divided among those below.
	leaf = "agenthost-self"
)

// Groups are a host's cgroups: one for each process of a plugin, below one of the host's own, below the cgroup that the host was
// started in. It makes them where this is delegated to the host, and says what is missing.
type Groups struct {
	name string
	v1   map[string]string // the directory above the host's own, by controller
	v2   string            // the same for version 2; empty: there is none
	lack map[string]string // why a controller limits nothing; under "", why there are no cgroups at all

	mu    sync.Mutex
	locks []*privatedir.Lock
	made  int
}

// Open finds what this process may make below its own cgroups, and makes one named for id, which is no other host's. What dead
// hosts left there it kills and removes. It always returns Groups: where nothing is delegated, those that do nothing.
func Open(id string) *Groups {
	g := &Groups{name: prefix + id, v1: map[string]string{}, lack: map[string]string{}}
	own, err := ownCgroups()
	if err != nil {
		g.lack[""] = err.Error()
		return g
	}
	var lacks []string
	if err := starts2(); err != nil && own.v2 != "" {
		lacks = append(lacks, fmt.Sprintf("%s: %v", own.v2, err))
		own.without(own.v2)
	}
	for _, path := range own.all() {
		if err := g.claim(path); err != nil {
			lacks = append(lacks, err.Error())
			own.without(path)
		}
	}
	g.v1, g.v2 = own.v1, own.v2
	why := strings.Join(lacks, "; ")
	if g.v2 == "" && len(g.v1) == 0 {
		g.lack[""] = why
	}
	for _, controller := range []string{memory, pids, cpu} {
		if g.v1[controller] == "" {
			g.lack[controller] = g.enable(controller, why)
		}
	}
	return g
}

// starts2 says why this process cannot start another one in a cgroup of version 2, which only clone3 does.
func starts2() error {
	const none = 0 // a call without arguments, which the kernel itself refuses with EINVAL
	if _, _, err := unix.RawSyscall(unix.SYS_CLONE3, none, none, none); err == unix.ENOSYS || err == unix.EPERM {
		return fmt.Errorf("no process can begin in it, because a filter of system calls keeps clone3 from this one (systemd: RestrictNamespaces=): %w", err)
	}
	return nil
}

// claim makes the host's own cgroup at a path, and removes what is left of dead hosts beside it.
func (g *Groups) claim(above string) error {
	if err := delegated(above); err != nil {
		return fmt.Errorf("%s: %w", above, err)
	}
	unlock, err := lockAbove(above)
	if err != nil {
		return err
	}
	defer unlock()
	path := filepath.Join(above, g.name)
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	lock, err := privatedir.TryLock(path)
	if err != nil {
		return errors.Join(err, os.Remove(path))
	}
	g.locks = append(g.locks, lock)
	entries, err := os.ReadDir(above)
	if err != nil {
		return err
	}
	for _, entry := range entries {
		if name := entry.Name(); entry.IsDir() && strings.HasPrefix(name, prefix) && name != g.name {
			sweep(filepath.Join(above, name))
		}
	}
	return nil
}

// lockWait bounds the wait for other hosts that start in the same cgroup, each of which looks for dead ones.
const lockWait = 10 * time.Second

// lockAbove keeps other hosts from taking one that has made its cgroup and not locked it yet for dead.
func lockAbove(path string) (unlock func(), err error) {
	for deadline := time.Now().Add(lockWait); ; time.Sleep(5 * time.Millisecond) {
		lock, err := privatedir.TryLock(path)
		if err == nil {
			return func() { lock.Close() }, nil
		}
		if !errors.Is(err, privatedir.ErrHeld) || time.Now().After(deadline) {
			return nil, fmt.Errorf("cannot lock the cgroup %s: %w", path, err)
		}
	}
}

// sweep removes a host's cgroup, with all processes in it, where the host is dead.
func sweep(path string) {
	lock, err := privatedir.TryLock(path)
	if err != nil {
		return // its host lives, or it is not ours to judge
	}
	defer lock.Close()
	remove(path)
}

// remove kills what is in a cgroup and below, and removes them. What cannot be removed stays for the next host.
func remove(path string) {
	entries, err := os.ReadDir(path)
	if err != nil {
		return
	}
	for _, entry := range entries {
		if entry.IsDir() {
			remove(filepath.Join(path, entry.Name()))
		}
	}
	kill(path)
	removeDirectory(path)
}

// delegated says whether a cgroup is this process's to divide.
func delegated(path string) error {
	if err := unix.Access(path, unix.W_OK); err != nil {
		return errors.New("it is not delegated to this process (systemd: Delegate=yes)")
	}
	for _, file := range []string{"cgroup.procs", "tasks"} { // version 1 has tasks, into which a thread comes back from a plugin's
		if err := unix.Access(filepath.Join(path, file), unix.W_OK); err != nil && !errors.Is(err, unix.ENOENT) {
			return errors.New("no process can be moved there")
		}
	}
	if _, err := os.Stat("/run/systemd/system"); err == nil && !systemdDelegates(path) {
		return errors.New("it is systemd's, which does not delegate it (Delegate=yes)")
	}
	return nil
}

// systemdDelegates reads the mark that systemd puts on a cgroup that it leaves to a service, for everybody or for root.
func systemdDelegates(path string) bool {
	for _, name := range []string{"user.delegate", "trusted.delegate"} {
		mark := make([]byte, 1)
		if n, err := unix.Getxattr(path, name, mark); err == nil && n == 1 && mark[0] == '1' {
			return true
		}
	}
	return false
}

// enable lets version 2 divide a controller among the cgroups of plugins; else it says why not.
func (g *Groups) enable(controller, why string) (lack string) {
	if g.v2 == "" {
		return why
	}
	has, err := os.ReadFile(filepath.Join(g.v2, "cgroup.controllers"))
	if err != nil {
		return err.Error()
	}
	if !slices.Contains(strings.Fields(string(has)), controller) {
		return strings.TrimPrefix(fmt.Sprintf("%s; %s has no controller %s", why, g.v2, controller), "; ")
	}
	err = divide(g.v2, controller)
	if errors.Is(err, unix.EBUSY) {
		err = errors.Join(moveAside(g.v2), divide(g.v2, controller))
	}
	if err == nil {
		err = divide(filepath.Join(g.v2, g.name), controller)
	}
	if err != nil {
		return fmt.Sprintf("%s cannot divide its controller %s (are other processes in it?): %v", g.v2, controller, err)
	}
	return ""
}

func divide(path, controller string) error {
	return write(path, "cgroup.subtree_control", "+"+controller)
}

// moveAside moves this process into a cgroup of its own below the one that it is in.
func moveAside(above string) error {
	path := filepath.Join(above, leaf)
	if err := os.Mkdir(path, 0o755); err != nil && !errors.Is(err, os.ErrExist) {
		return err
	}
	return write(path, "cgroup.procs", strconv.Itoa(os.Getpid()))
}

func write(path, file, value string) error {
	return os.WriteFile(filepath.Join(path, file), []byte(value), 0o644)
}

// Lacking says why a plugin can not have some limits; empty where it can.
func (g *Groups) Lacking(l Limits) []string {
	var lacking []string
	for _, controller := range l.controllers() {
		why := "the host makes no cgroups"
		if g != nil {
			why = g.lack[controller]
		}
		if why != "" {
			lacking = append(lacking, fmt.Sprintf("sandbox.%s is not limited: %s", controller, why))
		}
	}
	return lacking
}

// String says what there is and what is missing, for people.
func (g *Groups) String() string {
	if why := g.lack[""]; why != "" {
		return "none: " + why
	}
	var has, lacks []string
	for _, controller := range []string{memory, pids, cpu} {
		switch {
		case g.v1[controller] != "":
			has = append(has, controller+" (version 1)")
		case g.lack[controller] == "":
			has = append(has, controller)
		default:
			lacks = append(lacks, fmt.Sprintf("no %s: %s", controller, g.lack[controller]))
		}
	}
	if g.v2 != "" {
		has = append(has, "kill")
	}
	return strings.Join(append([]string{strings.Join(has, ", ")}, lacks...), "; ")
}

// Complete says that everything can be limited.
func (g *Groups) Complete() bool {
	return !slices.ContainsFunc(slices.Collect(maps.Values(g.lack)), func(why string) bool { return why != "" })
}

// Close removes the host's cgroups, with whatever is in them.
func (g *Groups) Close() {
	g.mu.Lock()
	defer g.mu.Unlock()
	for _, above := range (&places{g.v1, g.v2}).all() {
		remove(filepath.Join(above, g.name))
	}
	for _, lock := range g.locks {
		lock.Close()
	}
	g.locks = nil
}

// Limits are what a process and what descends from it may take together; zero: no limit.
type Limits struct {
	// Memory is in bytes.
	Memory uint64
	// Pids is processes and threads.
	Pids int
	// CPU is processors, such as 1.5.
	CPU float64
}

func (l Limits) controllers() []string {
	var all []string
	for controller, limited := range map[string]bool{memory: l.Memory > 0, pids: l.Pids > 0, cpu: l.CPU > 0} {
		if limited {
			all = append(all, controller)
		}
	}
	slices.Sort(all)
	return all
}

// cpuPeriod is the time in microseconds within which a share of the processors is taken.
const cpuPeriod = uint64(100_000)

// quota is at least what the kernel takes.
func (l Limits) quota() int64 { return max(int64(l.CPU*float64(cpuPeriod)), 1000) }

func (l Limits) resources1(swap bool) *specs.LinuxResources {
	r := &specs.LinuxResources{}
	if l.Memory > 0 {
		limit := int64(l.Memory)
		r.Memory = &specs.LinuxMemory{Limit: &limit}
		if swap {
			r.Memory.Swap = &limit // of both together
		}
	}
	if l.Pids > 0 {
		limit := int64(l.Pids)
		r.Pids = &specs.LinuxPids{Limit: &limit}
	}
	if l.CPU > 0 {
		quota, period := l.quota(), cpuPeriod
		r.CPU = &specs.LinuxCPU{Quota: &quota, Period: &period}
	}
	return r
}

func (l Limits) resources2(swap bool) *cgroup2.Resources {
	r := &cgroup2.Resources{}
	if l.Memory > 0 {
		limit, none := int64(l.Memory), int64(0)
		r.Memory = &cgroup2.Memory{Max: &limit}
		if swap {
			r.Memory.Swap = &none
		}
	}
	if l.Pids > 0 {
		r.Pids = &cgroup2.Pids{Max: int64(l.Pids)}
	}
	if l.CPU > 0 {
		quota, period := l.quota(), cpuPeriod
		r.CPU = &cgroup2.CPU{Max: cgroup2.NewCPUMax(&quota, &period)}
	}
	return r
}

// Make makes the cgroup of one process. Of the limits those that Lacking names have no effect. Nil: there are no cgroups.
func (g *Groups) Make(name string, limits Limits) (*Group, error) {
	if g == nil || g.v2 == "" && len(g.v1) == 0 {
		return nil, nil
	}
	for _, controller := range limits.controllers() {
		if g.lack[controller] != "" {
			limits = limits.without(controller)
		}
	}
	g.mu.Lock()
	g.made++
	group := &Group{limits: limits, name: filepath.Join(g.name, fmt.Sprintf("%s-%d", name, g.made)), v1: map[string]string{}}
	g.mu.Unlock()
	if err := group.make(g); err != nil {
		group.Remove()
		return nil, fmt.Errorf("cannot make the cgroup of %s: %w", name, err)
	}
	return group, nil
}

func (l Limits) without(controller string) Limits {
	switch controller {
	case memory:
		l.Memory = 0
	case pids:
		l.Pids = 0
	case cpu:
		l.CPU = 0
	}
	return l
}

// Group is the cgroup of one process and what descends from it: a directory in each hierarchy that it needs. Its methods may be
// called on nil, which does nothing.
type Group struct {
	name   string
	limits Limits
	v1     map[string]string // the host's own directories, of the controllers that count here
	group1 cgroup1.Cgroup    // nil: none
	v2     string            // the directory; empty: none
	fd2    *os.File          // it, open
}

// make needs no more than what limits something, and one to find the processes again: a cgroup of the processors is a
// share of its own beside all others, and not to be had for nothing.
func (g *Group) make(groups *Groups) error {
	need := g.limits.controllers()
	if groups.v2 == "" && len(need) == 0 {
		need = slices.Sorted(maps.Keys(groups.v1))[:1]
		if groups.v1[pids] != "" {
			need = []string{pids}
		}
	}
	for _, controller := range need {
		if above := groups.v1[controller]; above != "" {
			g.v1[controller] = above
		}
	}
	if groups.v2 != "" {
		if err := g.make2(groups.v2); err != nil {
			return err
		}
	}
	if len(g.v1) == 0 {
		return nil
	}
	return g.make1()
}

func (g *Group) make2(above string) error {
	path := filepath.Join(above, g.name)
	if err := os.Mkdir(path, 0o755); err != nil {
		return err
	}
	g.v2 = path
	limits := g.limits
	for controller := range g.v1 {
		limits = limits.without(controller)
	}
	manager, err := cgroup2.Load("/"+g.name, cgroup2.WithMountpoint(above))
	if err != nil {
		return err
	}
	_, swaps := os.Stat(filepath.Join(path, "memory.swap.max"))
	if err := manager.Update(limits.resources2(swaps == nil)); err != nil {
		return err
	}
	if limits.Memory > 0 { // the process as a whole is out of memory, not some part of it
		if err := write(path, "memory.oom.group", "1"); err != nil && !errors.Is(err, os.ErrNotExist) {
			return err
		}
	}
	g.fd2, err = os.Open(path)
	return err
}

func (g *Group) make1() error {
	paths := map[cgroup1.Name]string{}
	var subsystems []cgroup1.Subsystem
	for _, controller := range slices.Sorted(maps.Keys(g.v1)) {
		subsystem, path, err := hierarchy1(controller, g.v1[controller])
		if err != nil {
			return err
		}
		subsystems, paths[subsystem.Name()] = append(subsystems, subsystem), filepath.Join(path, g.name)
	}
	_, swaps := os.Stat(filepath.Join(g.v1[memory], "memory.memsw.limit_in_bytes"))
	group, err := cgroup1.New(func(name cgroup1.Name) (string, error) { return paths[name], nil },
		g.limits.resources1(swaps == nil), cgroup1.WithHierarchy(func() ([]cgroup1.Subsystem, error) { return subsystems, nil }))
	if err == nil {
		g.group1 = group
	}
	return err
}

// Enter has what this thread starts until leave begin in the cgroup: the goroutine must be locked to it. In version 2 the
// descriptor does that, in version 1 the thread goes there itself.
func (g *Group) Enter(attributes *syscall.SysProcAttr) (leave func() error, err error) {
	if g == nil {
		return func() error { return nil }, nil
	}
	if g.fd2 != nil {
		attributes.UseCgroupFD, attributes.CgroupFD = true, int(g.fd2.Fd())
	}
	leave = func() error {
		var failed []error
		for _, above := range g.v1 {
			failed = append(failed, write(above, "tasks", strconv.Itoa(unix.Gettid())))
		}
		return errors.Join(failed...)
	}
	if g.group1 == nil {
		return leave, nil
	}
	if err := g.group1.AddTask(cgroup1.Process{Pid: unix.Gettid()}); err != nil {
		return nil, errors.Join(fmt.Errorf("cannot enter the cgroup: %w", err), leave())
	}
	return leave, nil
}

// Has says that a process is in the cgroup.
func (g *Group) Has(pid int) bool {
	if g == nil {
		return false
	}
	lines, err := os.ReadFile(fmt.Sprintf("/proc/%d/cgroup", pid))
	return err == nil && slices.ContainsFunc(strings.Split(string(lines), "\n"), func(line string) bool {
		return strings.HasSuffix(line, "/"+g.name) || strings.Contains(line, "/"+g.name+"/")
	})
}

// Kill kills all that is in the cgroup, which stays as it is otherwise.
func (g *Group) Kill() {
	for _, path := range g.paths() {
		kill(path)
	}
}

func (g *Group) paths() []string {
	if g == nil {
		return nil
	}
	var all []string
	for _, above := range g.v1 {
		all = append(all, filepath.Join(above, g.name))
	}
	if g.v2 != "" {
		all = append(all, g.v2)
	}
	return all
}

// killTries is how often what is in a cgroup is killed before it is given up. Where no fork is possible any more, twice is enough.
const killTries = 50

// kill kills all in a cgroup, of either version, and returns when there is nothing, or when it comes faster than it can be killed.
func kill(path string) {
	if write2(path, "cgroup.kill", "1") == nil {
		return
	}
	_ = write2(path, "pids.max", "0") // no forks from here on; a hierarchy without this controller has to do without
	for range killTries {
		found := false
		content, _ := os.ReadFile(filepath.Join(path, "cgroup.procs")) // none: there is nothing
		for field := range strings.FieldsSeq(string(content)) {
			pid, err := strconv.Atoi(field)
			if err != nil || pid == os.Getpid() || pid == 0 { // a thread that is on its way through, or another namespace's
				continue
			}
			found = unix.Kill(pid, unix.SIGKILL) == nil || found
		}
		if !found {
			return
		}
		time.Sleep(time.Millisecond)
	}
}

// write2 writes where the file is there already, as all of a cgroup's are.
func write2(path, file, value string) error {
	f, err := os.OpenFile(filepath.Join(path, file), os.O_WRONLY, 0)
	if err != nil {
		return err
	}
	_, err = f.WriteString(value)
	return errors.Join(err, f.Close())
}

// removeTries bounds the wait for the last process to be gone after its end.
const removeTries = 50

// Remove removes the cgroup. What cannot be removed yet is removed with the host's own.
func (g *Group) Remove() {
	if g == nil {
		return
	}
	if g.fd2 != nil {
		g.fd2.Close()
	}
	for _, path := range g.paths() {
		removeDirectory(path)
	}
}

func removeDirectory(path string) {
	for range removeTries {
		if err := os.Remove(path); !errors.Is(err, unix.EBUSY) {
			return
		}
		time.Sleep(2 * time.Millisecond)
	}
}
