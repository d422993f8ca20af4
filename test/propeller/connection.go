package propeller

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/encoding/protojson"
	"google.golang.org/protobuf/types/known/structpb"

	"github.com/agenthost/agenthost/proto/agentclient"
)

// connectionOf makes Flyte 2's Connection, on the wire, of what a template's custom struct says under the names of its fields. It
// names secrets; what is sent are their values. The errors are Flyte's, and cost an attempt before any call is made.
func connectionOf(ctx context.Context, opts *Options, custom *structpb.Struct, labels map[string]string) ([]byte, error) {
	taskType, secrets, configs, err := readConnection(custom)
	if err != nil {
		return nil, fmt.Errorf("failed to unmarshal connection from task template custom: %w", err)
	}
	for name, key := range secrets {
		id := fmt.Sprintf("u__org__%s__domain__%s__project__%s__key__%s", labels["organization"], labels["domain"], labels["project"], key)
		value, err := opts.Secret(ctx, id)
		if err != nil {
			return nil, status.Errorf(codes.Internal, "Failed to get secret value with error: %v", err)
		}
		secrets[name] = value
	}
	connection := agentclient.Connection{TaskType: taskType, Secrets: secrets, Configs: configs}
	return connection.Marshal(), nil
}

func readConnection(custom *structpb.Struct) (taskType string, secrets, configs map[string]string, err error) {
	if custom == nil {
		return "", nil, nil, errors.New("nil Struct Object passed")
	}
	text, err := protojson.Marshal(custom)
	if err != nil {
		return "", nil, nil, err
	}
	var fields map[string]json.RawMessage
	if err := json.Unmarshal(text, &fields); err != nil {
		return "", nil, nil, err
	}
	for _, name := range []string{"task_type", "taskType"} {
		if field, ok := fields[name]; ok {
			if err := json.Unmarshal(field, &taskType); err != nil {
				return "", nil, nil, err
			}
		}
	}
	if secrets, err = readStrings(fields["secrets"]); err == nil {
		configs, err = readStrings(fields["configs"])
	}
	return taskType, secrets, configs, err
}

// readStrings goes by way of raw messages because Flyte does: the difference is in the error.
func readStrings(field json.RawMessage) (map[string]string, error) {
	if field == nil {
		return nil, nil
	}
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(field, &raw); err != nil {
		return nil, err
	}
	values := map[string]string{}
	for key, value := range raw {
		var text string
		if err := json.Unmarshal(value, &text); err != nil {
			return nil, err
		}
		values[key] = text
	}
	return values, nil
}

// noSecrets is the executor's own secret manager.
func noSecrets(_ context.Context, key string) (string, error) {
	return "", fmt.Errorf("secrets are not supported by the executor's no-op secret manager, cannot resolve %q", key)
}
