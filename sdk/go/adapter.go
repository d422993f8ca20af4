package agent

import (
	"bytes"
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"reflect"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// asyncHandler is an AsyncAgent with its metadata as bytes, so that agents of all types fit in one table.
type asyncHandler interface {
	create(ctx context.Context, task *Task) ([]byte, error)
	// finds says that the agent is a Finder; find and abandon are for such agents.
	finds() bool
	find(ctx context.Context, task *Task) ([]byte, error)
	abandon(ctx context.Context, task *Task) error
	get(ctx context.Context, job Job[[]byte]) (*Resource, error)
	delete(ctx context.Context, job Job[[]byte]) error
	logs(ctx context.Context, job Job[[]byte], query LogQuery, out *LogStream) error
	metrics(ctx context.Context, job Job[[]byte], query MetricsQuery) ([]*core.ExecutionMetricResult, error)
}

type asyncAdapter[M any] struct{ impl AsyncAgent[M] }

func (a asyncAdapter[M]) create(ctx context.Context, task *Task) ([]byte, error) {
	return a.encode(a.impl.Create(ctx, task))
}

func (a asyncAdapter[M]) finds() bool {
	_, ok := a.impl.(Finder[M])
	return ok
}

func (a asyncAdapter[M]) find(ctx context.Context, task *Task) ([]byte, error) {
	finder, ok := a.impl.(Finder[M])
	if !ok {
		return nil, errNoFinder
	}
	return a.encode(finder.Find(ctx, task))
}

func (a asyncAdapter[M]) abandon(ctx context.Context, task *Task) error {
	finder, ok := a.impl.(Finder[M])
	if !ok {
		return errNoFinder
	}
	return finder.Abandon(ctx, task)
}

// errNoFinder is for callers who ask what the agent did not declare.
var errNoFinder = status.Error(codes.Unimplemented, "it does not find jobs by their key")

func (a asyncAdapter[M]) encode(meta M, err error) ([]byte, error) {
	if err != nil {
		return nil, err
	}
	if codec, ok := a.impl.(MetaCodec[M]); ok {
		return codec.EncodeMeta(meta)
	}
	encoded, err := json.Marshal(meta)
	switch {
	case err != nil:
		return nil, fmt.Errorf("it returned a %T, which JSON cannot hold: %w; metadata has ids and places, by which any process finds the job", meta, err)
	case string(encoded) == "null":
		return nil, errors.New("it returned nil, by which no poll finds the job: return its metadata, or an error")
	}
	return encoded, nil
}

func (a asyncAdapter[M]) get(ctx context.Context, job Job[[]byte]) (*Resource, error) {
	typed, err := a.typed(job)
	if err != nil {
		return nil, err
	}
	return a.impl.Get(ctx, typed)
}

func (a asyncAdapter[M]) delete(ctx context.Context, job Job[[]byte]) error {
	typed, err := a.typed(job)
	if err != nil {
		return err
	}
	return a.impl.Delete(ctx, typed)
}

func (a asyncAdapter[M]) logs(ctx context.Context, job Job[[]byte], query LogQuery, out *LogStream) error {
	logger, ok := a.impl.(Logger[M])
	if !ok {
		return status.Error(codes.Unimplemented, "it has no logs")
	}
	typed, err := a.typed(job)
	if err != nil {
		return err
	}
	return logger.Logs(ctx, typed, query, out)
}

func (a asyncAdapter[M]) metrics(ctx context.Context, job Job[[]byte], query MetricsQuery) ([]*core.ExecutionMetricResult, error) {
	measurer, ok := a.impl.(Measurer[M])
	if !ok {
		return nil, status.Error(codes.Unimplemented, "it has no metrics")
	}
	typed, err := a.typed(job)
	if err != nil {
		return nil, err
	}
	return measurer.Metrics(ctx, typed, query)
}

// typed reads the metadata that Create wrote, perhaps in an older or newer version of the plugin.
func (a asyncAdapter[M]) typed(job Job[[]byte]) (Job[M], error) {
	typed := Job[M]{Category: job.Category, OutputPrefix: job.OutputPrefix, Connection: job.Connection}
	var err error
	if codec, ok := a.impl.(MetaCodec[M]); ok {
		typed.Meta, err = codec.DecodeMeta(job.Meta)
	} else {
		err = decodeJSONMeta(job.Meta, &typed.Meta)
	}
	if err != nil {
		return typed, InvalidArgument("resource_meta is not a job that this agent made: %w", err)
	}
	return typed, nil
}

func decodeJSONMeta[M any](data []byte, meta *M) error {
	text := bytes.TrimSpace(data)
	if len(text) == 0 {
		return errors.New("it is empty, not JSON")
	}
	if string(text) == "null" && reflect.TypeFor[M]().Kind() == reflect.Struct {
		return errors.New("it is null, not a JSON object")
	}
	if err := json.Unmarshal(data, meta); err != nil {
		return errors.New(describeJSONError(err))
	}
	return nil
}
