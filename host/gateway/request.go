package gateway

import (
	"errors"
	"slices"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/plugin"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// The fields that the host reads, by their numbers in flyteidl.admin, which are the same in flyteidl2.connector.
const (
	createInputs       = 1 // CreateTaskRequest
	createTemplate     = 2
	createOutputPrefix = 3
	createMetadata     = 4

	createdMeta = 1 // CreateTaskResponse

	headerTemplate = 1 // CreateRequestHeader
	headerMetadata = 3

	syncHeader = 1 // ExecuteTaskSyncRequest; one or the other
	syncInputs = 2

	jobTaskType        = 1 // GetTask, DeleteTask, GetTaskMetrics and GetTaskLogs requests alike; deprecated
	jobMeta            = 2
	getTaskCategory    = 3 // GetTaskRequest and DeleteTaskRequest
	getOutputPrefix    = 4 // GetTaskRequest
	logsTaskCategory   = 5
	metricTaskCategory = 7

	templateType    = 2 // core.TaskTemplate
	templateVersion = 7

	categoryName    = 1 // TaskCategory
	categoryVersion = 2

	metadataExecutionID = 1 // TaskExecutionMetadata
)

var (
	errMalformed  = errors.New("it is not a protobuf message of this method")
	errNoCategory = errors.New("it names no task category")
	errNoHeader   = errors.New("it has no header")
)

// call is what the host reads of a request: enough to route it.
type requestInfo struct {
	category plugin.Category
	// hasTaskType says that the request carries the deprecated task_type.
	hasTaskType bool
	// inputBytes is the size of the inputs where the request carries them.
	inputBytes int
	// attempt names the task attempt that the request creates a job for: empty where it creates none or does not say.
	attempt string
	// project and domain are those of the execution, where the request says so.
	project, domain string
	// outputPrefix is where the job's outputs go, where the request says so.
	outputPrefix string
	// meta is the resource_meta of a job that exists. It refers to the request.
	meta []byte
}

// readCreate reads a CreateTaskRequest.
func readCreate(message []byte) (requestInfo, error) {
	info, err := readTask(message, createTemplate, createMetadata)
	if err == nil {
		err = eachField(message, func(number protowire.Number, value field) error {
			switch number {
			case createInputs:
				info.inputBytes += len(value.bytes)
			case createOutputPrefix:
				value.text(&info.outputPrefix)
			}
			return nil
		})
	}
	return info, err
}

// readSync reads the first ExecuteTaskSyncRequest of a stream, which must be the header.
func readSync(message []byte) (requestInfo, error) {
	var header []byte // parts of a message merge by being put together
	err := eachField(message, func(number protowire.Number, value field) error {
		switch {
		case value.kind != protowire.BytesType:
		case number == syncHeader && header == nil:
			header = value.bytes
		case number == syncHeader:
			header = slices.Concat(header, value.bytes)
		case number == syncInputs:
			header = nil
		}
		return nil
	})
	switch {
	case err != nil:
		return requestInfo{}, err
	case header == nil:
		return requestInfo{}, errors.New("the first message of a sync call must be its header")
	}
	return readTask(header, headerTemplate, headerMetadata)
}

func readTask(message []byte, templateField, metadataField protowire.Number) (requestInfo, error) {
	var info requestInfo
	var attempt core.TaskExecutionIdentifier
	err := eachField(message, func(number protowire.Number, value field) error {
		switch number {
		case templateField:
			return eachField(value.bytes, func(number protowire.Number, value field) error {
				switch number {
				case templateType:
					value.text(&info.category.Name)
				case templateVersion:
					value.int32(&info.category.Version)
				}
				return nil
			})
		case metadataField:
			return eachField(value.bytes, func(number protowire.Number, value field) error {
				if number != metadataExecutionID || value.kind != protowire.BytesType {
					return nil
				}
				if err := (proto.UnmarshalOptions{Merge: true, DiscardUnknown: true}).Unmarshal(value.bytes, &attempt); err != nil {
					return errMalformed
				}
				info.attempt = pluginv1.IdempotencyKey(&attempt)
				execution := attempt.GetNodeExecutionId().GetExecutionId()
				info.project, info.domain = execution.GetProject(), execution.GetDomain()
				return nil
			})
		}
		return nil
	})
	if err == nil && info.category.Name == "" {
		err = errNoCategory
	}
	return info, err
}

// readPoll reads a GetTaskRequest, which has an output prefix besides what readJob reads.
func readPoll(message []byte) (requestInfo, error) {
	info, err := readJob(getTaskCategory)(message)
	if err == nil {
		err = eachField(message, func(number protowire.Number, value field) error {
			if number == getOutputPrefix {
				value.text(&info.outputPrefix)
			}
			return nil
		})
	}
	return info, err
}

// readJob returns the reader of a request about a job that exists, whose category stands in field categoryField. Flyte
// before categories sent task_type alone; Flyte 2 sends the category alone.
func readJob(categoryField protowire.Number) func(message []byte) (requestInfo, error) {
	return func(message []byte) (requestInfo, error) {
		var info requestInfo
		var taskType string
		err := eachField(message, func(number protowire.Number, value field) error {
			switch number {
			case jobTaskType:
				info.hasTaskType = value.text(&taskType) || info.hasTaskType
			case jobMeta:
				if value.kind == protowire.BytesType {
					info.meta = value.bytes
				}
			case categoryField:
				return eachField(value.bytes, func(number protowire.Number, value field) error {
					switch number {
					case categoryName:
						value.text(&info.category.Name)
					case categoryVersion:
						value.int32(&info.category.Version)
					}
					return nil
				})
			}
			return nil
		})
		if info.category.Name == "" {
			info.category.Name = taskType
		}
		if err == nil && info.category.Name == "" {
			err = errNoCategory
		}
		return info, err
	}
}

// withTaskType returns the message with the deprecated task_type set.
func withTaskType(message []byte, taskType string) []byte {
	out := make([]byte, 0, len(message)+len(taskType)+4)
	out = protowire.AppendTag(out, jobTaskType, protowire.BytesType)
	out = protowire.AppendString(out, taskType)
	return append(out, message...)
}

// withBytes returns the message with a bytes field set, and all else as it is.
func withBytes(message []byte, number protowire.Number, value []byte) ([]byte, error) {
	_, rest, err := takeField(message, number)
	if err != nil {
		return nil, err
	}
	rest = protowire.AppendTag(slices.Clip(rest), number, protowire.BytesType)
	return protowire.AppendBytes(rest, value), nil
}

// field is the value of one field. A value of another kind than the schema's is an unknown field to protobuf: it sets
// nothing here either.
type field struct {
	kind   protowire.Type
	varint uint64
	bytes  []byte
}

// text sets s to a string field.
func (f field) text(s *string) bool {
	if f.kind == protowire.BytesType {
		*s = string(f.bytes)
	}
	return f.kind == protowire.BytesType
}

// int32 sets n to an int32 or enum field.
func (f field) int32(n *int32) bool {
	if f.kind == protowire.VarintType {
		*n = int32(f.varint)
	}
	return f.kind == protowire.VarintType
}

// eachField calls visit for every field of a message that is a varint or length-delimited, in the order of the wire.
// Later values of one field override earlier ones, and a message may come in parts: visitors merge, as protobuf does.
func eachField(message []byte, visit func(protowire.Number, field) error) error {
	for len(message) > 0 {
		number, kind, tagLength := protowire.ConsumeTag(message)
		if tagLength < 0 {
			return errMalformed
		}
		valueLength := protowire.ConsumeFieldValue(number, kind, message[tagLength:])
		if valueLength < 0 {
			return errMalformed
		}
		value := field{kind: kind}
		switch kind {
		case protowire.VarintType:
			value.varint, _ = protowire.ConsumeVarint(message[tagLength:])
		case protowire.BytesType:
			value.bytes, _ = protowire.ConsumeBytes(message[tagLength:])
		}
		if err := visit(number, value); err != nil {
			return err
		}
		message = message[tagLength+valueLength:]
	}
	return nil
}

// eachRaw calls visit for every field of a message with the bytes of its tag and value.
func eachRaw(message []byte, visit func(number protowire.Number, kind protowire.Type, raw []byte)) error {
	for len(message) > 0 {
		number, kind, length := protowire.ConsumeField(message)
		if length < 0 {
			return errMalformed
		}
		visit(number, kind, message[:length])
		message = message[length:]
	}
	return nil
}
