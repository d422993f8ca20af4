// Package pluginv1 is the contract between the host and its plugins: the constants of the handshake and of metadata, the
// PluginService messages, and what both sides must compute alike.
package pluginv1

import (
	"crypto/sha256"
	"encoding/binary"
	"encoding/hex"
	"strconv"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
)

// IdempotencyKey names a task attempt: the value of IdempotencyKeyHeader for the attempt with this execution id and output
// prefix. It is 64 lower-case hex digits, the SHA-256 of ten fields, each written as its length in bytes (unsigned, 32
// bits, big-endian) followed by its UTF-8 bytes:
//
//	execution project, domain, name; node id; task project, domain, name, version; retry attempt in decimal; output prefix
//
// The output prefix tells apart what the id does not: Flyte sends a node's id within its workflow, so the tasks of a
// subworkflow that an execution uses twice, or repeats, have equal ids.
//
// The lengths keep fields apart: project "a", domain "bc" and project "ab", domain "c" get different keys. An id
// without an execution name identifies nothing; for it, as for nil, the key is "".
func IdempotencyKey(id *core.TaskExecutionIdentifier, outputPrefix string) string {
	return hashed(id, outputPrefix)
}

// FormerIdempotencyKey is what IdempotencyKey was before it had the output prefix: the SHA-256 of the other nine fields.
// A job that is found by it is the attempt's only if it has the attempt's output prefix.
func FormerIdempotencyKey(id *core.TaskExecutionIdentifier) string {
	return hashed(id)
}

func hashed(id *core.TaskExecutionIdentifier, more ...string) string {
	node := id.GetNodeExecutionId()
	execution, task := node.GetExecutionId(), id.GetTaskId()
	if execution.GetName() == "" {
		return ""
	}
	hash := sha256.New()
	for _, field := range append([]string{
		execution.GetProject(), execution.GetDomain(), execution.GetName(),
		node.GetNodeId(),
		task.GetProject(), task.GetDomain(), task.GetName(), task.GetVersion(),
		strconv.FormatUint(uint64(id.GetRetryAttempt()), 10),
	}, more...) {
		var length [4]byte
		binary.BigEndian.PutUint32(length[:], uint32(len(field)))
		hash.Write(length[:])
		hash.Write([]byte(field))
	}
	return hex.EncodeToString(hash.Sum(nil))
}
