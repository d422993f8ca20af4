package cgroup

import (
	"fmt"
	"path/filepath"
	"slices"
	"strings"

	"github.com/containerd/cgroups/v3/cgroup1"
	"github.com/prometheus/procfs"
)

// places are the directories of the cgroups that this process is in: of version 1 by controller, and of version 2.
type places struct {
	v1 map[string]string
	v2 string
}

func ownCgroups() (*places, error) {
	self, err := procfs.Self()
	if err != nil {
		return nil, err
	}
	cgroups, err := self.Cgroups()
	if err != nil {
		return nil, fmt.Errorf("cannot read the host's cgroups: %w", err)
	}
	mounts, err := procfs.GetMounts()
	if err != nil {
		return nil, fmt.Errorf("cannot read where cgroups are mounted: %w", err)
	}
	own := &places{v1: map[string]string{}}
	for _, c := range cgroups {
		for _, mount := range mounts {
			switch {
			case c.HierarchyID == 0 && mount.FSType == "cgroup2" && own.v2 == "":
				own.v2, _ = inside(mount, c.Path)
				if filepath.Base(own.v2) == leaf { // where the host before this one moved to, which has started this one
					own.v2 = filepath.Dir(own.v2)
				}
			case c.HierarchyID != 0 && mount.FSType == "cgroup":
				for _, controller := range []string{memory, pids, cpu} {
					_, has := mount.SuperOptions[controller]
					if path, ok := inside(mount, c.Path); ok && has && slices.Contains(c.Controllers, controller) && own.v1[controller] == "" {
						own.v1[controller] = path
					}
				}
			}
		}
	}
	if own.v2 == "" && len(own.v1) == 0 {
		return nil, fmt.Errorf("no cgroups are mounted here")
	}
	return own, nil
}

// inside is the directory of a cgroup below a mount.
func inside(mount *procfs.MountInfo, path string) (string, bool) {
	rel, err := filepath.Rel(mount.Root, path)
	if err != nil || !filepath.IsLocal(rel) {
		return "", false
	}
	return filepath.Join(mount.MountPoint, rel), true
}

// all are the directories, each once.
func (p *places) all() []string {
	var all []string
	for _, path := range p.v1 {
		all = append(all, path)
	}
	if p.v2 != "" {
		all = append(all, p.v2)
	}
	slices.Sort(all)
	return slices.Compact(all)
}

// without forgets a directory.
func (p *places) without(path string) {
	for controller, of := range p.v1 {
		if of == path {
			delete(p.v1, controller)
		}
	}
	if p.v2 == path {
		p.v2 = ""
	}
}

// hierarchy1 is the library's controller, and the path by which it knows a directory of version 1. It wants a controller's
// hierarchy to be where its name is, as it is everywhere.
func hierarchy1(controller, above string) (subsystem cgroup1.Subsystem, path string, err error) {
	root, rel, found := strings.Cut(above+"/", "/"+controller+"/")
	if !found {
		return nil, "", fmt.Errorf("%s is not where the controller %s should be", above, controller)
	}
	switch controller {
	case memory:
		subsystem = cgroup1.NewMemory(root, cgroup1.OptionalSwap())
	case pids:
		subsystem = cgroup1.NewPids(root)
	default:
		subsystem = cgroup1.NewCpu(root)
	}
	return subsystem, "/" + rel, nil
}
