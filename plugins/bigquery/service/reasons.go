package service

// What BigQuery's reasons mean, after the error table in its documentation. A reason that is in neither list is final: the
// same job would meet it again.
var (
	// passing are gone in a moment: the same call may be made again.
	passing = set("backendError", "internalError", "jobBackendError", "jobInternalError", "jobRateLimitExceeded", "rateLimitExceeded")
	// lasting may be gone when the task is tried again: quotas are refilled, tables come back.
	lasting = set("quotaExceeded", "tableUnavailable", "backendUnavailable")
	// ofSystem are not for the task's author to mend.
	ofSystem = set("accessDenied", "billingNotEnabled", "blocked", "notImplemented", "proxyAuthenticationRequired")
)

// Stopped is the reason of a job that somebody cancelled.
const Stopped = "stopped"

// Retryable says whether a job that failed for this reason may succeed when it is tried again.
func Retryable(reason string) bool { return passing[reason] || lasting[reason] }

// SystemFault says whether the reason is one that the task's author cannot mend.
func SystemFault(reason string) bool { return Retryable(reason) || ofSystem[reason] }

func set(reasons ...string) map[string]bool {
	made := make(map[string]bool, len(reasons))
	for _, reason := range reasons {
		made[reason] = true
	}
	return made
}
