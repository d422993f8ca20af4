package outcome_test

import (
	"testing"

	"github.com/databricks/databricks-sdk-go/service/jobs"

	"github.com/agenthost/agenthost/plugins/databricks/outcome"
)

// Whether a run that ended with a termination code may end otherwise when it is made again, and why: all codes that Databricks
// documents. A code that says nothing leaves it to the termination's type.
func TestEveryTerminationCodeHasTheRightEnd(t *testing.T) {
	const byType outcome.Kind = -1
	for code, c := range map[jobs.TerminationCodeCode]struct {
		kind outcome.Kind
		why  string
	}{
		jobs.TerminationCodeCodeBudgetPolicyLimitExceeded:   {byType, "a budget's period ends, or is raised"},
		jobs.TerminationCodeCodeCanceled:                    {outcome.Cancelled, "somebody cancelled it"},
		jobs.TerminationCodeCodeCloudFailure:                {outcome.Retryable, "the cloud gets well"},
		jobs.TerminationCodeCodeClusterError:                {byType, "the cloud's, Databricks' or the configuration's fault"},
		jobs.TerminationCodeCodeClusterRequestLimitExceeded: {outcome.Retryable, "others' requests end"},
		jobs.TerminationCodeCodeDisabled:                    {outcome.Failed, "nobody turns it on meanwhile"},
		jobs.TerminationCodeCodeDriverError:                 {byType, "Databricks' or the code's fault"},
		jobs.TerminationCodeCodeFeatureDisabled:             {byType, "nobody turns it on meanwhile"},
		jobs.TerminationCodeCodeInternalError:               {outcome.Retryable, "Databricks gets well"},
		jobs.TerminationCodeCodeInvalidClusterRequest:       {byType, "the configuration stays what it is"},
		jobs.TerminationCodeCodeInvalidRunConfiguration:     {byType, "the same"},
		jobs.TerminationCodeCodeLibraryInstallationError:    {byType, "the library or its index is at fault"},
		jobs.TerminationCodeCodeMaxConcurrentRunsExceeded:   {outcome.Retryable, "other runs end"},
		jobs.TerminationCodeCodeMaxJobQueueSizeExceeded:     {outcome.Retryable, "other runs end"},
		jobs.TerminationCodeCodeMaxSparkContextsExceeded:    {outcome.Retryable, "other contexts end"},
		jobs.TerminationCodeCodeRepositoryCheckoutFailed:    {outcome.Retryable, "the repository's server gets well"},
		jobs.TerminationCodeCodeResourceNotFound:            {byType, "there is none"},
		jobs.TerminationCodeCodeRunExecutionError:           {outcome.Failed, "the code stays what it is"},
		jobs.TerminationCodeCodeSkipped:                     {outcome.Failed, "it was not to run"},
		jobs.TerminationCodeCodeStorageAccessError:          {byType, "the credential's or the cloud's fault"},
		jobs.TerminationCodeCodeSuccess:                     {outcome.Succeeded, "it went well"},
		jobs.TerminationCodeCodeSuccessWithFailures:         {outcome.Succeeded, "what failed did not matter"},
		jobs.TerminationCodeCodeUnauthorizedError:           {byType, "nobody grants anything meanwhile"},
		jobs.TerminationCodeCodeUserCanceled:                {outcome.Cancelled, "somebody cancelled it"},
		jobs.TerminationCodeCodeWorkspaceRunLimitExceeded:   {outcome.Retryable, "other runs end"},
	} {
		for fault, ofType := range map[jobs.TerminationTypeType]outcome.Kind{
			jobs.TerminationTypeTypeClientError: outcome.Failed, jobs.TerminationTypeTypeInternalError: outcome.Retryable,
			jobs.TerminationTypeTypeCloudFailure: outcome.Retryable, jobs.TerminationTypeTypeSuccess: outcome.Succeeded,
		} {
			want := c.kind
			if want == byType {
				want = ofType
			}
			run := &jobs.Run{Status: &jobs.RunStatus{State: "TERMINATED", TerminationDetails: &jobs.TerminationDetails{Code: code, Type: fault}}}
			if got := outcome.Of(run).Kind; got != want {
				t.Errorf("%s of type %s is %d, want %d: %s", code, fault, got, want, c.why)
			}
		}
	}
}
