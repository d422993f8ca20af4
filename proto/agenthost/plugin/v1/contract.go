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
	// attempt: the same for every repetition of a call for one attempt (execution, node, task, retry attempt, output
	// prefix), another for every other attempt. 64 lower-case hex digits. Absent where the request has no task execution id.
	IdempotencyKeyHeader = "agenthost-idempotency-key"

	// NotTakenTrailer is the trailer with which a plugin that is stopping marks a call that it has not begun: whatever the
	// call, it may be made again, on the plugin's next process. Its value is "1".
	NotTakenTrailer = "agenthost-not-taken"

	// FindOnlyHeader is the metadata key with which CreateTask makes nothing: it answers with the resource_meta of the job
	// that was made for the attempt, NOT_FOUND where none was, or ABORTED where the attempt was abandoned. Its value is "1".
	// Only a plugin that declares CapabilityFindByKey gets it.
	FindOnlyHeader = "agenthost-find-only"

	// AbandonHeader is the metadata key with which CreateTask gives an attempt up: a job that was made for it is deleted, and
	// none is ever made for it from then on, because CreateTask and find answer ABORTED. Its value is "1". Only a plugin that
	// declares CapabilityFindByKey gets it.
	AbandonHeader = "agenthost-abandon"

	// CapabilityFindByKey is the capability by which a plugin declares that it finds the job of an attempt by the idempotency
	// key, and gives attempts up (FindOnlyHeader and AbandonHeader): in any of its processes, on any machine, for as long as
	// Flyte may ask.
	CapabilityFindByKey = "find_by_key"

	// CapabilityKeepUnclaimed is the capability by which a plugin declares that its jobs are nobody's to delete but Flyte's: the
	// host leaves one alone whose CreateTask was answered when nobody waited for it any more.
	CapabilityKeepUnclaimed = "keep_unclaimed"

	// CapabilityRereadsSecrets is the capability by which a plugin declares that it reads the file of a secret whenever it needs the
	// secret: a new value from a store is written to the file of the running process, and takes no new process.
	CapabilityRereadsSecrets = "rereads_secrets"

	// CapabilityIdempotentCreate is the capability by which a plugin declares, for all its task categories or for single
	// ones, that CreateTask calls with one idempotency key make one job.
	CapabilityIdempotentCreate = "idempotent_create"
)
