package plugin

import (
	"errors"
	"slices"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/host/secret"
)

// Fault says whose fault it is that a plugin does not start, and so what helps.
type Fault int

const (
	// FaultOfProgram is the plugin's: it dies, or does not do what the contract asks. Trying again may help, and another program.
	FaultOfProgram Fault = iota
	// FaultOfConfiguration is the configuration's, or that of the files it names: only others help.
	FaultOfConfiguration
	// FaultOfService is that of something which the plugin needs, and which runs elsewhere: it is away, or refuses a credential that only it
	// can judge. The configuration may be right.
	FaultOfService
)

// String is the fault in words.
func (f Fault) String() string {
	switch f {
	case FaultOfConfiguration:
		return "the configuration is at fault"
	case FaultOfService:
		return "what it needs is away, or refuses it"
	case FaultOfProgram:
	}
	return "the plugin is at fault"
}

// FaultOf is whose fault an error is by which a plugin does not run.
func FaultOf(err error) Fault {
	if failed := (*StartError)(nil); errors.As(err, &failed) {
		return failed.Fault
	}
	return FaultOfProgram
}

// The exit codes of BSD's sysexits.h by which a program says, before it serves, that it is not its own fault: EX_UNAVAILABLE,
// EX_TEMPFAIL, EX_NOPERM.
var exitsOfService = []int{69, 75, 77}

// faultAt is whose fault it is that a start failed at a step. exited is whether its process had ended, and code how.
func faultAt(step string, err error, remote, exited bool, code int) Fault {
	if known := (*failure)(nil); errors.As(err, &known) && known.away {
		return FaultOfService
	}
	switch {
	case secret.OfStore(err), artifact.OfRegistry(err):
		return FaultOfService
	case step == StepPull, step == StepPrepare, step == StepLaunch:
		return FaultOfConfiguration
	case remote:
		return faultElsewhere(step, err)
	case exited && slices.Contains(exitsOfService, code):
		return FaultOfService
	case exited:
		return FaultOfProgram
	}
	if known := (*failure)(nil); step == StepConfigure && errors.As(err, &known) && known.refuses {
		return FaultOfConfiguration
	}
	switch step {
	case StepDescribe, StepConfigure, StepList: // it serves, and says so itself
		if ofService(status.Code(err)) {
			return FaultOfService
		}
	}
	return FaultOfProgram
}

// faultElsewhere is faultAt for an agent that the host does not start: unless what answers is no agent, it is beyond the configuration.
func faultElsewhere(step string, err error) Fault {
	if step != StepList {
		return FaultOfService
	}
	switch code := status.Code(err); {
	case ofService(code), code == codes.Internal, code == codes.Unknown && !errors.As(err, new(*failure)):
		return FaultOfService
	}
	return FaultOfConfiguration
}

// ofService says that a plugin refuses a call because of something else: which it may name by a code, and which it does where it waits in
// vain.
func ofService(code codes.Code) bool {
	return code == codes.Unavailable || code == codes.DeadlineExceeded || code == codes.Unauthenticated || code == codes.PermissionDenied
}
