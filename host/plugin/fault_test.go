package plugin

import (
	"context"
	"errors"
	"fmt"
	"testing"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/host/secret"
)

func TestWhoseFaultAFailedStartIs(t *testing.T) {
	said := func(code codes.Code) error {
		return failedCall(context.Background(), "Configure", status.Error(code, "so"))
	}
	_, unread := secret.Read(context.Background(), "file:///no/such/file")
	for name, c := range map[string]struct {
		step           string
		err            error
		remote, exited bool
		code           int
		want           Fault
	}{
		"a missing program":               {step: StepLaunch, err: errors.New("no such file"), want: FaultOfConfiguration},
		"a secret's file is missing":      {step: StepPrepare, err: fmt.Errorf("secret: %w", unread), want: FaultOfConfiguration},
		"a registry that is away":         {step: StepPull, err: &artifact.Error{Err: errors.New("connection refused")}, want: FaultOfService},
		"no image":                        {step: StepPull, err: errors.New("no reference"), want: FaultOfConfiguration},
		"it dies":                         {step: StepHandshake, err: errors.New("ended"), exited: true, code: 1, want: FaultOfProgram},
		"it dies, for a service":          {step: StepHandshake, err: errors.New("ended"), exited: true, code: 69, want: FaultOfService},
		"it is refused, and dies":         {step: StepHealth, err: errors.New("ended"), exited: true, code: 77, want: FaultOfService},
		"it dies while it is configured":  {step: StepConfigure, err: said(codes.Unavailable), exited: true, code: 2, want: FaultOfProgram},
		"a credential is refused":         {step: StepConfigure, err: said(codes.Unauthenticated), want: FaultOfService},
		"it may not":                      {step: StepConfigure, err: said(codes.PermissionDenied), want: FaultOfService},
		"its service is away":             {step: StepConfigure, err: said(codes.Unavailable), want: FaultOfService},
		"it waits for its service":        {step: StepConfigure, err: said(codes.DeadlineExceeded), want: FaultOfService},
		"it is broken":                    {step: StepConfigure, err: said(codes.Internal), want: FaultOfProgram},
		"it refuses its configuration":    {step: StepConfigure, err: &failure{err: errors.New("x"), refuses: true}, want: FaultOfConfiguration},
		"elsewhere, and away":             {step: StepConnect, err: errors.New("connection refused"), remote: true, want: FaultOfService},
		"elsewhere, and not healthy":      {step: StepHealth, err: errors.New("NOT_SERVING"), remote: true, want: FaultOfService},
		"elsewhere, and no agent":         {step: StepList, err: advise(errors.New("it does not serve ListAgents"), ""), remote: true, want: FaultOfConfiguration},
		"elsewhere, and it refuses":       {step: StepList, err: said(codes.PermissionDenied), remote: true, want: FaultOfService},
		"elsewhere, without certificates": {step: StepPrepare, err: errors.New("no such file"), remote: true, want: FaultOfConfiguration},
	} {
		if got := faultAt(c.step, c.err, c.remote, c.exited, c.code); got != c.want {
			t.Errorf("%s: %v, want: %v", name, got, c.want)
		}
	}
}
