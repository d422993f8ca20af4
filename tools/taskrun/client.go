package taskrun

import (
	"context"
	"errors"
	"fmt"
	"slices"
	"strings"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/proto/agentclient"
	"github.com/agenthost/agenthost/proto/nearest"
)

// sync makes the one call of a sync agent. As FlytePropeller does, it reads the header; unlike it, also outputs that come
// as a part of their own.
func (r *run) sync(ctx context.Context, request *admin.CreateTaskRequest) (*admin.Resource, error) {
	var resource *admin.Resource
	for part, err := range r.client.Sync(ctx, request) {
		if err != nil {
			return nil, err
		}
		if header := part.GetHeader(); header != nil {
			resource = header.GetResource()
		} else if outputs := part.GetOutputs(); outputs != nil && resource != nil {
			resource.Outputs = outputs
		}
	}
	if resource == nil {
		return nil, errors.New("the agent ended the call without an answer")
	}
	return resource, nil
}

// Find says which agent serves a task category, and whether it is a sync one: the exact version, or else the highest.
func Find(agents []*admin.Agent, name string, version int32) (category *admin.TaskCategory, isSync bool, err error) {
	var known []string
	for _, agent := range agents {
		served := agent.GetSupportedTaskCategories()
		if len(served) == 0 {
			for _, taskType := range agent.GetSupportedTaskTypes() {
				served = append(served, &admin.TaskCategory{Name: taskType})
			}
		}
		for _, c := range served {
			known = append(known, c.GetName())
			if c.GetName() != name {
				continue
			}
			if category == nil || category.GetVersion() != version && (c.GetVersion() == version || c.GetVersion() > category.GetVersion()) {
				category, isSync = c, agent.GetIsSync()
			}
		}
	}
	if category != nil {
		return &admin.TaskCategory{Name: name, Version: version}, isSync, nil
	}
	slices.Sort(known)
	known = slices.Compact(known)
	if len(known) == 0 {
		return nil, false, fmt.Errorf("no agent serves task type %q: none serves any", name)
	}
	message := fmt.Sprintf("no agent serves task type %q; there are %s", name, strings.Join(known, ", "))
	if meant := nearest.Name(name, known); meant != "" {
		message += fmt.Sprintf("; did you mean %s?", meant)
	}
	return nil, false, errors.New(message)
}

// TaskTypes lists the task types that are served, for completion.
func TaskTypes(ctx context.Context, conn grpc.ClientConnInterface, flyte agentclient.Flyte) ([]string, error) {
	agents, err := agentclient.Client{Conn: conn, Flyte: flyte}.List(ctx)
	if err != nil {
		return nil, err
	}
	var names []string
	for _, agent := range agents {
		for _, c := range agent.GetSupportedTaskCategories() {
			names = append(names, c.GetName())
		}
	}
	slices.Sort(names)
	return slices.Compact(names), nil
}

// transient says that asking again may help.
func transient(err error) bool {
	switch status.Code(byOurClock(err)) {
	case codes.Unavailable, codes.DeadlineExceeded, codes.ResourceExhausted, codes.Aborted:
		return true
	}
	return false
}

// byOurClock is an RPC's error as it would be if our clock had been first: the server's ends a call at the same moment, and its library may
// have other words for that.
func byOurClock(err error) error {
	s, ok := status.FromError(err)
	if !ok {
		return err
	}
	reset := s.Code() == codes.DeadlineExceeded && strings.HasPrefix(s.Message(), "stream terminated by RST_STREAM")
	tonics := s.Code() == codes.Canceled && s.Message() == "Timeout expired" // findings/tonic-expired-call-is-cancelled.sh
	if reset || tonics {
		return status.FromContextError(context.DeadlineExceeded).Err()
	}
	return err
}

// plain is an RPC's error as a person wants it: the message, led by the code.
func plain(err error) error {
	s, ok := status.FromError(byOurClock(err))
	if !ok || s.Code() == codes.OK {
		return err
	}
	return &rpcError{s}
}

type rpcError struct{ status *status.Status }

func (e *rpcError) Error() string              { return fmt.Sprintf("%s: %s", e.status.Code(), e.status.Message()) }
func (e *rpcError) GRPCStatus() *status.Status { return e.status }
