// Package jobs is what the host remembers of jobs, so that Flyte does not suffer for what happens to plugins: the last
// status of each (Statuses), and the answers to their creation (Creates). And, for people, the calls about each task (Tasks),
// and how many jobs run (Running).
//
// It is memory in the everyday sense. It is bounded, it may forget, it dies with the process, and no other replica of the
// host shares it: whatever is built on it has to be right without it, and only better with it.
package jobs

import (
	"crypto/sha256"
	"encoding/binary"
)

// ID stands for what identifies a job, or the attempt that a job is made for. It is a digest: identifiers of plugins may
// be long, and are nobody's business.
type ID [sha256.Size]byte

// Identify makes an ID of parts. The same parts in the same order make the same ID, and no others do.
func Identify(parts ...string) ID {
	var room [512]byte
	return sha256.Sum256(join(room[:0], parts))
}

func join(joined []byte, parts []string) []byte {
	for _, part := range parts {
		joined = binary.AppendUvarint(joined, uint64(len(part)))
		joined = append(joined, part...)
	}
	return joined
}

// Meta stands for a resource_meta in IDs, of which each job has several: a long one is read once for all of them. The zero value is
// that of none.
type Meta [sha256.Size]byte

// MetaOf is what stands for a resource_meta.
func MetaOf(resourceMeta []byte) Meta { return sha256.Sum256(resourceMeta) }

// ID is that of a resource_meta and what else tells jobs with the same one apart.
func (m Meta) ID(parts ...string) ID {
	var room [512]byte
	return sha256.Sum256(append(join(room[:0], parts), m[:]...))
}
