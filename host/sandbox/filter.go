package sandbox

import (
	"slices"
	"unsafe"

	"github.com/elastic/go-seccomp-bpf"
	"github.com/elastic/go-seccomp-bpf/arch"
	"golang.org/x/net/bpf"
	"golang.org/x/sys/unix"
)

// deniedCalls are the system calls that fail with EPERM: what reaches into other processes or the machine, and what has been the way
// into the kernel most often; as container engines' default profiles have it. Everything else that was known when this was written is
// allowed, so that no runtime is surprised; what is newer does not exist (ENOSYS), for which libraries have a way out.
var deniedCalls = []string{
	// Other processes.
	"ptrace", "process_vm_readv", "process_vm_writev", "process_madvise", "process_mrelease", "pidfd_getfd", "kcmp", "migrate_pages",
	// Namespaces, mounts and roots.
	"unshare", "setns", "chroot", "pivot_root", "mount", "umount", "umount2", "mount_setattr", "move_mount", "open_tree", "open_tree_attr",
	"fsopen", "fsconfig", "fsmount", "fspick", "statmount", "listmount", "open_by_handle_at", "name_to_handle_at",
	// The kernel's inside.
	"bpf", "perf_event_open", "userfaultfd", "io_uring_setup", "io_uring_enter", "io_uring_register", "kexec_load", "kexec_file_load",
	"init_module", "finit_module", "delete_module", "create_module", "query_module", "get_kernel_syms", "lookup_dcookie", "fanotify_init",
	"add_key", "request_key", "keyctl", "vmsplice",
	// The machine.
	"reboot", "swapon", "swapoff", "acct", "quotactl", "quotactl_fd", "sethostname", "setdomainname", "settimeofday", "clock_settime",
	"clock_settime64", "clock_adjtime", "clock_adjtime64", "adjtimex", "stime", "syslog", "iopl", "ioperm", "vhangup", "nfsservctl",
	"_sysctl", "sysfs", "uselib", "ustat", "vm86", "vm86old", "modify_ldt", "lsm_set_self_attr",
}

// namespaces are the flags of clone that make a namespace.
const namespaces = unix.CLONE_NEWNS | unix.CLONE_NEWUTS | unix.CLONE_NEWIPC | unix.CLONE_NEWUSER | unix.CLONE_NEWPID | unix.CLONE_NEWNET |
	unix.CLONE_NEWCGROUP | unix.CLONE_NEWTIME

// none holds where an argument is none of the values.
func none(argument uint32, values ...uint64) seccomp.ArgumentConditions {
	var all seccomp.ArgumentConditions
	for _, value := range values {
		all = append(all, seccomp.Condition{Argument: argument, Operation: seccomp.NotEqual, Value: value})
	}
	return all
}

// deniedArguments are system calls that fail with EPERM for some arguments.
var deniedArguments = []seccomp.NameWithConditions{
	{Name: "clone", Conditions: seccomp.ArgumentConditions{{Argument: 0, Operation: seccomp.BitsSet, Value: namespaces}}},
	{Name: "personality", Conditions: none(0, 0, 8, 0x20000, 0x20008, 0xffffffff)},
	// The host's limits and priority are not for a process of the same user to set.
	{Name: "prlimit64", Conditions: append(none(0, 0), none(2, 0)...)},
	{Name: "setpriority", Conditions: none(1, 0)},
	{Name: "ioprio_set", Conditions: none(1, 0)},
	{Name: "sched_setscheduler", Conditions: none(0, 0)},
	{Name: "sched_setparam", Conditions: none(0, 0)},
	{Name: "sched_setattr", Conditions: none(0, 0)},
}

// families are the sockets that there are: no raw packets, no cryptography in the kernel, no virtual machines' and others.
var families = none(0, unix.AF_UNIX, unix.AF_INET, unix.AF_INET6, unix.AF_NETLINK)

// protocols are those of sockets: the numbers of AF_NETLINK, among which those of TCP, UDP and ICMP are, and ICMPv6. Of others the rules
// for ports say nothing; Go and other runtimes then take TCP.
var protocols = none(2, 0, 1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12, 13, 14, 15, 16, 17, 18, 19, 20, 21, 22, unix.IPPROTO_ICMPV6)

// fastOpen is a flag of calls that send, at the given argument, by which they connect: there is connect for that, which the rules for
// ports are about.
func fastOpen(argument uint32) seccomp.ArgumentConditions {
	return seccomp.ArgumentConditions{{Argument: argument, Operation: seccomp.BitsSet, Value: unix.MSG_FASTOPEN}}
}

// errno is the answer to a call.
func errno(number unix.Errno) seccomp.Action { return seccomp.ActionErrno | seccomp.Action(number) }

// program is the filter: what to answer to a call.
func program() ([]bpf.RawInstruction, error) {
	native, err := arch.GetInfo("")
	if err != nil {
		return nil, err
	}
	known := func(name string) bool { _, has := native.SyscallNames[name]; return has }
	policy := seccomp.Policy{DefaultAction: seccomp.ActionAllow, Syscalls: []seccomp.SyscallGroup{
		{
			Names:  slices.DeleteFunc(slices.Clone(deniedCalls), func(name string) bool { return !known(name) }),
			Action: seccomp.ActionErrno, // EPERM
			NamesWithCondtions: slices.DeleteFunc(slices.Clone(deniedArguments), func(call seccomp.NameWithConditions) bool {
				return !known(call.Name)
			}),
		},
		// One group has all that is asked about a call: the next would take the call's last argument for the call's number.
		{Action: errno(unix.EAFNOSUPPORT), NamesWithCondtions: []seccomp.NameWithConditions{
			{Name: "socket", Conditions: families}, {Name: "socket", Conditions: protocols}, {Name: "socketpair", Conditions: families},
		}},
		// As where the kernel has no fast open: libraries then connect.
		{Action: errno(unix.EOPNOTSUPP), NamesWithCondtions: []seccomp.NameWithConditions{
			{Name: "sendto", Conditions: fastOpen(3)}, {Name: "sendmsg", Conditions: fastOpen(2)}, {Name: "sendmmsg", Conditions: fastOpen(3)},
		}},
		// Its flags are in memory, where no filter sees them; libraries then take clone.
		{Action: errno(unix.ENOSYS), Names: []string{"clone3"}},
	}}
	body, err := policy.Assemble()
	if err != nil {
		return nil, err
	}
	newest := 0
	for _, number := range native.SyscallNames {
		newest = max(newest, number)
	}
	// Calls by the numbers of another architecture, such as 32-bit ones, would pass the policy by.
	head := []bpf.Instruction{
		bpf.LoadAbsolute{Off: 4, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpEqual, Val: uint32(native.ID), SkipTrue: 1},
		bpf.RetConstant{Val: uint32(errno(unix.ENOSYS))},
		bpf.LoadAbsolute{Off: 0, Size: 4},
		bpf.JumpIf{Cond: bpf.JumpGreaterThan, Val: uint32(newest), SkipFalse: 1},
		bpf.RetConstant{Val: uint32(errno(unix.ENOSYS))},
	}
	return bpf.Assemble(append(head, body...))
}

// loadFilter puts the filter on this thread.
func loadFilter() error {
	instructions, err := program()
	if err != nil {
		return err
	}
	raw := make([]unix.SockFilter, len(instructions))
	for i, in := range instructions {
		raw[i] = unix.SockFilter{Code: in.Op, Jt: in.Jt, Jf: in.Jf, K: in.K}
	}
	filter := unix.SockFprog{Len: uint16(len(raw)), Filter: &raw[0]}
	if _, _, number := unix.RawSyscall(unix.SYS_SECCOMP, unix.SECCOMP_SET_MODE_FILTER, 0, uintptr(unsafe.Pointer(&filter))); number != 0 {
		return number
	}
	return nil
}
