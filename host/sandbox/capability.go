package sandbox

import "golang.org/x/sys/unix"

// capabilitySet is the effective capabilities of a thread, as the kernel takes and gives them.
type capabilitySet [2]unix.CapUserData

func capabilities() (set capabilitySet, err error) {
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	err = unix.Capget(&header, &set[0])
	return set, err
}

func (s capabilitySet) has(number int) bool { return s[number/32].Effective&(1<<(number%32)) != 0 }

// filesOnly are the capabilities that root keeps: without them its user could not use files of other users, as volumes often
// have. Landlock bounds which.
var filesOnly = []int{unix.CAP_CHOWN, unix.CAP_DAC_OVERRIDE, unix.CAP_FOWNER}

// dropCapabilities leaves this thread none but those of keep that it has, for good: with no_new_privs an exec gives nothing back.
func dropCapabilities(keep []int) error {
	held, err := capabilities()
	if err != nil {
		return err
	}
	var left capabilitySet
	for _, number := range keep {
		bit := uint32(1) << (number % 32)
		left[number/32].Effective |= held[number/32].Permitted & bit
		left[number/32].Permitted |= held[number/32].Permitted & bit
	}
	header := unix.CapUserHeader{Version: unix.LINUX_CAPABILITY_VERSION_3}
	if err := unix.Capset(&header, &left[0]); err != nil {
		return err
	}
	return unix.Prctl(unix.PR_CAP_AMBIENT, unix.PR_CAP_AMBIENT_CLEAR_ALL, 0, 0, 0)
}
