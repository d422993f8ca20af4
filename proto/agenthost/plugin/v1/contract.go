package pluginv1

// The constants of the plugin contract that are not messages. Every SDK repeats them; the host and the Go SDK read
// them here.
const (
	// MagicCookieKey and MagicCookieValue are the environment variable by which a plugin sees that a host started it.
	// Without it a plugin prints a hint for people and exits: it is not a program to run by hand.
	MagicCookieKey   = "AGENTHOST_PLUGIN"
	MagicCookieValue = "flyte-agent-plugin"

	// ProtocolVersion is the application protocol version of the handshake line: `1|ProtocolVersion|unix|…`.
	ProtocolVersion = 1

	// HealthService is the grpc.health.v1 service name that must be SERVING before the host sends work.
	HealthService = "plugin"

	// IdempotencyKeyHeader is the metadata key under which CreateTask and ExecuteTaskSync carry a name for the task
	// attempt: the same for every repetition of a call for one attempt (execution, node, task, retry attempt), another
	// for every other attempt. 64 lower-case hex digits. Absent where the request has no task execution id.
	IdempotencyKeyHeader = "agenthost-idempotency-key"

	// NotTakenTrailer is the trailer with which a plugin that is stopping marks a call that it has not begun: whatever the
	// call, it may be made again, on the plugin's next process. Its value is "1".
	NotTakenTrailer = "agenthost-not-taken"

	// CapabilityIdempotentCreate is the capability by which a plugin declares, for all its task categories or for single
	// ones, that CreateTask calls with one idempotency key make one job.
	CapabilityIdempotentCreate = "idempotent_create"
)
