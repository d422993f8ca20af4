package gateway

import (
	"bytes"
	"errors"
	"slices"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/plugin"
	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
	"github.com/agenthost/agenthost/proto/fields"
)

// The fields that the host reads, by their numbers in flyteidl.admin, which are the same in flyteidl2.connector.
const (
	createInputs       = 1 // CreateTaskRequest
	createTemplate     = 2
	createOutputPrefix = 3
	createMetadata     = 4

	createdMeta = 1 // CreateTaskResponse

	headerTemplate     = 1 // CreateRequestHeader
	headerOutputPrefix = 2
	headerMetadata     = 3

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
	errNoCategory = errors.New("it names no task category")
	errNoHeader   = errors.New("it has no header")
)

// requestInfo is what the host reads of a request: enough to route it.
type requestInfo struct {
	category plugin.Category
	// hasCategory and hasTaskType say which of the two names the category in a request about a job that exists: the field
	// for it, the deprecated task_type, or both.
	hasCategory, hasTaskType bool
	// taskType is the deprecated task_type.
	taskType string
	// inputBytes is the size of the inputs where the request carries them.
	inputBytes int
	// attempt names the task attempt that the request creates a job for: empty where it creates none or does not say.
	attempt string
	// retry is the attempt's number, from 0.
	retry uint32
	// project, domain and execution are those of the execution, where the request says so.
	project, domain, execution string
	// node is the node's id in its workflow, for people: it does not tell nodes apart.
	node string
	// outputPrefix is where the job's outputs go, where the request says so.
	outputPrefix string
	// meta is the resource_meta of a job that exists. It refers to the request.
	meta []byte
}

// readCreate reads a CreateTaskRequest.
func readCreate(message []byte) (requestInfo, error) {
	info, err := readTask(message, createTemplate, createOutputPrefix, createMetadata)
	if err == nil {
		err = fields.Each(message, func(number fields.Number, value fields.Value) error {
			if number == createInputs {
				info.inputBytes += len(value.Bytes)
			}
			return nil
		})
	}
	return info, err
}

// readSync reads the first ExecuteTaskSyncRequest of a stream, which must be the header.
func readSync(message []byte) (requestInfo, error) {
	var header []byte // parts of a message merge by being put together
	err := fields.Each(message, func(number fields.Number, value fields.Value) error {
		switch {
		case value.Kind != protowire.BytesType:
		case number == syncHeader && header == nil:
			header = value.Bytes
		case number == syncHeader:
			header = slices.Concat(header, value.Bytes)
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
	return readTask(header, headerTemplate, headerOutputPrefix, headerMetadata)
}

func readTask(message []byte, templateField, prefixField, metadataField fields.Number) (requestInfo, error) {
	var info requestInfo
	var attempt core.TaskExecutionIdentifier
	err := fields.Each(message, func(number fields.Number, value fields.Value) error {
		switch number {
		case templateField:
			return fields.Each(value.Bytes, func(number fields.Number, value fields.Value) error {
				switch number {
				case templateType:
					value.Text(&info.category.Name)
				case templateVersion:
					value.Int32(&info.category.Version)
				}
				return nil
			})
		case prefixField:
			value.Text(&info.outputPrefix)
		case metadataField:
			return fields.Each(value.Bytes, func(number fields.Number, value fields.Value) error {
				if number != metadataExecutionID || value.Kind != protowire.BytesType {
					return nil
				}
				if err := (proto.UnmarshalOptions{Merge: true, DiscardUnknown: true}).Unmarshal(value.Bytes, &attempt); err != nil {
					return fields.ErrMalformed
				}
				return nil
			})
		}
		return nil
	})
	info.attempt = pluginv1.IdempotencyKey(&attempt, info.outputPrefix)
	execution := attempt.GetNodeExecutionId().GetExecutionId()
	info.project, info.domain, info.execution = execution.GetProject(), execution.GetDomain(), execution.GetName()
	info.retry, info.node = attempt.GetRetryAttempt(), attempt.GetNodeExecutionId().GetNodeId()
	if err == nil && info.category.Name == "" {
		err = errNoCategory
	}
	return info, err
}

// readPoll reads a GetTaskRequest, which has an output prefix besides what readJob reads.
func readPoll(message []byte) (requestInfo, error) {
	info, err := readJob(getTaskCategory)(message)
	if err == nil {
		err = fields.Each(message, func(number fields.Number, value fields.Value) error {
			if number == getOutputPrefix {
				value.Text(&info.outputPrefix)
			}
			return nil
		})
	}
	return info, err
}

// readJob returns the reader of a request about a job that exists, whose category stands in field categoryField. Flyte
// before categories sent task_type alone; Flyte 2 sends the category alone.
func readJob(categoryField fields.Number) func(message []byte) (requestInfo, error) {
	return func(message []byte) (requestInfo, error) {
		var info requestInfo
		err := fields.Each(message, func(number fields.Number, value fields.Value) error {
			switch number {
			case jobTaskType:
				value.Text(&info.taskType)
			case jobMeta:
				if value.Kind == protowire.BytesType {
					info.meta = value.Bytes
				}
			case categoryField:
				return fields.Each(value.Bytes, func(number fields.Number, value fields.Value) error {
					switch number {
					case categoryName:
						value.Text(&info.category.Name)
					case categoryVersion:
						value.Int32(&info.category.Version)
					}
					return nil
				})
			}
			return nil
		})
		info.hasCategory, info.hasTaskType = info.category.Name != "", info.taskType != ""
		if !info.hasCategory {
			info.category.Name = info.taskType
		}
		if err == nil && info.category.Name == "" {
			err = errNoCategory
		}
		return info, err
	}
}

// withCategory returns the message with the task category set in a field.
func withCategory(message []byte, field fields.Number, category plugin.Category) []byte {
	value := fields.Append(nil, categoryName, category.Name)
	if category.Version != 0 {
		value = fields.AppendVarint(value, categoryVersion, uint64(int64(category.Version)))
	}
	return fields.Append(bytes.Clone(message), field, value) // what the field holds already merges with it
}

// withTaskType returns the message with the deprecated task_type set.
func withTaskType(message []byte, taskType string) []byte {
	out := make([]byte, 0, len(message)+len(taskType)+4)
	out = fields.Append(out, jobTaskType, taskType)
	return append(out, message...)
}
