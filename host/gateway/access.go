package gateway

import (
	"context"
	"errors"
	"strings"

	"google.golang.org/grpc"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	"github.com/agenthost/agenthost/host/access"
	"github.com/agenthost/agenthost/host/record"
	"github.com/agenthost/agenthost/proto/fields"
)

// Who may call is package access's to say. What its rules ask of a call is read here: the operation, the task type, and the
// project and domain, which a CreateTask says, while polls and deletions bring the seal that the host has put around their
// resource_meta (record.Seal). Inside of the host, and for plugins, there are no seals.

// needs is what a caller must be allowed to do.
func (m method) needs() access.Operation {
	switch {
	case m.creates || m.sync:
		return access.Run
	case m.deletes:
		return access.Delete
	}
	return access.Poll
}

// authorize says whether the caller may make the call. place is what his resource_meta is sealed with; nil without a seal.
func (g *Gateway) authorize(c *routedCall, place *record.Seal) error {
	task := access.Task{Type: c.info.category.Name, Project: c.info.project, Domain: c.info.domain}
	if c.method.creates && g.access.Seals() && g.keys() == nil {
		return status.Error(codes.Unavailable, "the host has no keys to seal the task's project with, which access.rules need: see create.keys")
	}
	if !c.judged {
		return nil
	}
	if c.method.needs() == access.Run {
		return c.caller.May(c.method.needs(), task)
	}
	if c.info.hasCategory && c.info.hasTaskType && c.info.taskType != task.Type {
		return status.Errorf(codes.InvalidArgument, "this %s names two task types, %q and %q, of which an agent could take either", c.method.name, task.Type, c.info.taskType)
	}
	switch {
	case place != nil && place.TaskType != task.Type:
		return status.Errorf(codes.PermissionDenied, "this %s is for task type %q, and its job is of another", c.method.name, task.Type)
	case place != nil:
		task.Project, task.Domain = place.Project, place.Domain
	case errors.Is(c.unreadable, errChanged):
		return status.Errorf(codes.PermissionDenied, "this %s cannot be allowed: %v", c.method.name, c.unreadable)
	case c.unreadable != nil: // nothing of the job is told or done
		return c.caller.MaySomewhere(c.method.needs(), task.Type)
	default:
		task.Unplaced = !placedByRecord(c.record, &task)
	}
	return c.caller.May(c.method.needs(), task)
}

// placedByRecord takes project and domain from a task's record, which nobody but hosts can make.
func placedByRecord(r *record.Record, task *access.Task) bool {
	if r == nil || r.Request == nil {
		return false
	}
	info, err := readCreate(r.Request)
	if err != nil || info.category.Name != task.Type {
		return false
	}
	task.Project, task.Domain = info.project, info.domain
	return true
}

// errChanged says that somebody has made up or changed a seal.
var errChanged = errors.New("its resource_meta has been changed since a host sealed it")

// unseal takes the seal off a request's resource_meta. place is nil where there is none, or it cannot be read.
func (g *Gateway) unseal(info *requestInfo) (place *record.Seal, err error) {
	if !record.IsSealed(info.meta) {
		return nil, nil
	}
	keys := g.keys()
	if keys == nil {
		return nil, errors.New("this host has no create.keys, with which its resource_meta was sealed")
	}
	opened, err := record.Unseal(keys, info.meta)
	switch {
	case errors.Is(err, record.ErrBroken):
		return nil, errChanged
	case err != nil:
		return nil, errors.New("its resource_meta was sealed by a host with other create.keys")
	}
	info.meta = opened.Meta
	return &opened, nil
}

// seal puts the place of a task around the resource_meta that its caller gets, where rules need it.
func (g *Gateway) seal(c *routedCall, answer *frame) error {
	if !g.access.Seals() {
		return nil
	}
	keys := g.keys()
	if keys == nil { // authorize saw them
		return status.Error(codes.Unavailable, "the keys that the task's project is sealed with have gone")
	}
	message := answer.bytes()
	meta, _, err := fields.Take(message, createdMeta)
	if err == nil {
		sealed := record.Seal{TaskType: c.info.category.Name, Project: c.info.project, Domain: c.info.domain, Meta: meta}.Seal(keys)
		message, err = fields.Set(message, createdMeta, sealed)
	}
	if err != nil {
		return noAnswer(c, err)
	}
	answer.set(message)
	return nil
}

// callerOf is who makes a call. An error is an answer to him.
func (g *Gateway) callerOf(ctx context.Context) (access.Caller, error) {
	caller, err := g.access.Caller(ctx)
	if caller.Judged() {
		noteOf(ctx).caller = caller
	}
	return caller, err
}

// lister is who asks what there is, if he may.
func (g *Gateway) lister(ctx context.Context) (access.Caller, error) {
	caller, err := g.callerOf(ctx)
	if err == nil {
		err = caller.MayList()
	}
	return caller, err
}

// reflecting has reflection, which tells what there is, ask who is calling.
func (g *Gateway) reflecting(service any, stream grpc.ServerStream, info *grpc.StreamServerInfo, handler grpc.StreamHandler) error {
	if strings.HasPrefix(info.FullMethod, "/grpc.reflection.") {
		if _, err := g.lister(stream.Context()); err != nil {
			return err
		}
	}
	return handler(service, stream)
}

// errSecondTask is why a sync call ends whose later messages name another task than the first, by which it was judged.
var errSecondTask = status.Error(codes.InvalidArgument, "a message after the first of this ExecuteTaskSync has a header: one call is for one task")

// secondTask says whether a later message of a call names a task.
func secondTask(m method, later *frame) bool {
	if !m.sync {
		return false
	}
	named := false
	err := fields.Each(later.bytes(), func(number fields.Number, _ fields.Value) error {
		named = named || number == syncHeader
		return nil
	})
	return named || err != nil
}
