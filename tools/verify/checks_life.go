package verify

import (
	"context"
	"encoding/json"
	"fmt"
	"maps"
	"slices"
	"strings"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/santhosh-tekuri/jsonschema/v6"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	pluginv1 "github.com/agenthost/agenthost/proto/agenthost/plugin/v1"
)

// lifeChecks are about what comes between the handshake and the first task.
func lifeChecks() []*Check {
	return []*Check{
		{
			Name:   "health/serving",
			Reason: "the host sends no task before the plugin's health service says that it is ready",
			Advice: `serve grpc.health.v1.Health, and set the service "plugin" to SERVING`,
			run: func(ctx context.Context, k *kit) (string, error) {
				_, err := k.at(ctx, serving)
				return "", err
			},
		},
		{
			Name:   "describe/answers",
			Reason: "name and version are what operators see when they ask which build runs",
			Advice: "serve agenthost.plugin.v1.PluginService/Describe with a name and a version; it must not depend on configuration",
			run:    describes,
		},
		{
			Name:   "describe/schema",
			Reason: "people and editors learn from the schema what the plugin's configuration may hold",
			Advice: "answer with a JSON Schema (draft 2020-12) of the config: block, of type object, or with none if the plugin takes no configuration",
			run:    schemaIsValid,
		},
		{
			Name:   "configure/accepts",
			Reason: "the host hands over the config: block, also an empty one, and refuses a plugin that finds it wrong",
			Advice: "accept this configuration, or give verify one that is right with --config",
			run: func(ctx context.Context, k *kit) (string, error) {
				if _, err := k.at(ctx, ready); err != nil {
					return "", err
				}
				if k.takesNoConfig {
					return "it serves no Configure, and there is nothing to configure", nil
				}
				return fmt.Sprintf("%d keys", len(k.subject.Config)), nil
			},
		},
		{
			Name:   "configure/unknown-key",
			Reason: "a misspelt key that is silently ignored is found out in production",
			Advice: "answer with errors that name each key that you do not know",
			run: func(ctx context.Context, k *kit) (string, error) {
				block := maps.Clone(k.subject.Config)
				if block == nil {
					block = map[string]any{}
				}
				block[unknownKey] = 1
				return k.refusesConfig(ctx, block, unknownKey)
			},
		},
		{
			Name:   "configure/wrong-type",
			Reason: "a value of the wrong type must be told beside its key when the host starts, not when a task fails",
			Advice: "check the block against your schema, and answer with errors that name the keys",
			run:    refusesWrongType,
		},
		{
			Name:   "configure/malformed",
			Reason: "whatever arrives, the answer must be an error and not the end of the process",
			Advice: "answer text that is no JSON object with errors, or with INVALID_ARGUMENT",
			run:    refusesMalformed,
		},
	}
}

const unknownKey = "agenthost_verify_unknown_key"

// described is what the plugin says of itself; a nil one that it does not say.
func (k *kit) described(ctx context.Context) (*pluginv1.DescribeResponse, error) {
	if k.describeAnswer != nil {
		return k.describeAnswer, nil
	}
	i, err := k.at(ctx, serving)
	if err != nil {
		return nil, err
	}
	ctx, cancel := k.call(ctx)
	defer cancel()
	answer, err := pluginv1.NewPluginServiceClient(i.conn).Describe(ctx, &pluginv1.DescribeRequest{})
	if status.Code(err) == codes.Unimplemented {
		return nil, skipped("it serves no Describe, which is optional")
	}
	if err != nil {
		return nil, &blocked{"describe/answers", failed("Describe failed: %s", describeError(err))}
	}
	k.describeAnswer = answer
	return answer, nil
}

func describes(ctx context.Context, k *kit) (string, error) {
	answer, err := k.described(ctx)
	if err != nil {
		return "", err
	}
	if answer.GetName() == "" || answer.GetVersion() == "" {
		return "", failed("it says name %q, version %q: neither may be empty", answer.GetName(), answer.GetVersion())
	}
	said := answer.GetName() + " " + answer.GetVersion()
	if len(answer.GetCapabilities()) > 0 {
		said += ", " + strings.Join(answer.GetCapabilities(), ", ")
	}
	for _, promised := range answer.GetCategoryCapabilities() {
		category := &admin.TaskCategory{Name: promised.GetName(), Version: promised.GetVersion()}
		said += fmt.Sprintf(", %s for %s", strings.Join(promised.GetCapabilities(), ", "), categoryName(category))
	}
	if sdk := answer.GetSdk(); sdk.GetName() != "" {
		said += ", built with " + strings.TrimSpace(sdk.GetName()+" "+sdk.GetVersion())
	}
	return said, nil
}

// schema is the plugin's config schema; nil where it has none.
func (k *kit) schema(ctx context.Context) (compiled *jsonschema.Schema, err error) {
	answer, err := k.described(ctx)
	if err != nil {
		return nil, err
	}
	if answer.GetConfigSchema() == "" {
		return nil, skipped("it has no config schema: it takes no configuration")
	}
	parsed, err := jsonschema.UnmarshalJSON(strings.NewReader(answer.GetConfigSchema()))
	if err != nil {
		return nil, &blocked{"describe/schema", failed("its config schema is not JSON: %v", err)}
	}
	compiler := jsonschema.NewCompiler()
	compiler.DefaultDraft(jsonschema.Draft2020)
	if err = compiler.AddResource("plugin:config", parsed); err == nil {
		compiled, err = compiler.Compile("plugin:config")
	}
	if err != nil {
		return nil, &blocked{"describe/schema", failed("its config schema is no JSON Schema: %s", shorten(err.Error()))}
	}
	return compiled, nil
}

func schemaIsValid(ctx context.Context, k *kit) (string, error) {
	schema, err := k.schema(ctx)
	if err != nil {
		return "", err
	}
	if schema.Validate([]any{}) == nil {
		return "", failed("its config schema takes a list: a config: block is an object")
	}
	encoded, err := json.Marshal(k.subject.Config)
	if err != nil {
		return "", err
	}
	block, err := jsonschema.UnmarshalJSON(strings.NewReader(string(encoded)))
	if err != nil {
		return "", err
	}
	if len(k.subject.Config) > 0 {
		if err := schema.Validate(block); err != nil {
			return "", failed("its config schema refuses the sample configuration: %s", shorten(err.Error()))
		}
	}
	return fmt.Sprintf("%d keys", len(schema.Properties)), nil
}

// unconfigured is a process of its own that has not been configured: it is once in the life of each.
func (k *kit) unconfigured(ctx context.Context) (*instance, error) {
	if _, err := k.at(ctx, serving); err != nil {
		return nil, err
	}
	i, err := k.launch(ctx, k.asTheHost())
	if err != nil {
		return nil, err
	}
	if _, err := k.bring(ctx, i, serving); err != nil {
		i.kill()
		return nil, err
	}
	return i, nil
}

// refusesConfig hands over a block that must be refused with an error that names a key.
func (k *kit) refusesConfig(ctx context.Context, block map[string]any, key string) (string, error) {
	if _, err := k.at(ctx, ready); err != nil {
		return "", err // one that refuses what is right shows nothing by refusing what is wrong
	}
	i, err := k.unconfigured(ctx)
	if err != nil {
		return "", err
	}
	defer i.kill()
	encoded, err := json.Marshal(block)
	if err != nil {
		return "", err
	}
	errs, err := k.sendConfig(ctx, i, string(encoded))
	switch {
	case status.Code(err) == codes.Unimplemented:
		return "", skipped("it serves no Configure: the host itself refuses a config: block for it")
	case i.awaitEndAfter(err):
		return "", failed("the process %s", i.obituary())
	case err != nil:
		return "", failed("it fails with %s instead of naming the key", describeError(err))
	case len(errs) == 0:
		return "", failed("it accepts %s", shorten(string(encoded)))
	case k.describeAnswer != nil && k.describeAnswer.GetConfigSchema() == "":
		return shorten(describeConfigErrors(errs)), nil // it takes no configuration: the block as a whole is wrong
	case !slices.ContainsFunc(errs, func(e *pluginv1.ConfigError) bool {
		return e.GetKey() == key || strings.HasPrefix(e.GetKey(), key+".") || strings.HasPrefix(e.GetKey(), key+"[") || strings.Contains(e.GetMessage(), key)
	}):
		return "", failed("it refuses the block, but no error names %s: %s", key, shorten(describeConfigErrors(errs)))
	}
	return shorten(describeConfigErrors(errs)), nil
}

// refusesWrongType takes a key of the schema and gives it a value of a type that it must not have.
func refusesWrongType(ctx context.Context, k *kit) (string, error) {
	schema, err := k.schema(ctx)
	if err != nil {
		return "", err
	}
	for _, key := range sortedKeys(schema.Properties) {
		for _, wrong := range []any{[]any{"agenthost verify"}, map[string]any{"agenthost": "verify"}, true} {
			if schema.Properties[key].Validate(wrong) == nil {
				continue
			}
			block := maps.Clone(k.subject.Config)
			if block == nil {
				block = map[string]any{}
			}
			block[key] = wrong
			return k.refusesConfig(ctx, block, key)
		}
	}
	return "", skipped("its schema takes anything for every key")
}

func refusesMalformed(ctx context.Context, k *kit) (string, error) {
	for _, text := range []string{`{"unfinished`, `[1, 2]`} {
		i, err := k.unconfigured(ctx)
		if err != nil {
			return "", err
		}
		errs, err := k.sendConfig(ctx, i, text)
		died := i.awaitEndAfter(err)
		obituary := i.obituary()
		i.kill()
		switch {
		case status.Code(err) == codes.Unimplemented:
			return "", skipped("it serves no Configure")
		case died:
			return "", failed("after %s as its configuration the process %s", text, obituary)
		case err == nil && len(errs) == 0:
			return "", failed("it accepts %s as its configuration", text)
		}
	}
	return "", nil
}

// awaitEndAfter says that the process has ended after a call that went wrong, giving it a moment.
func (i *instance) awaitEndAfter(err error) bool {
	if err != nil && status.Code(err) == codes.Unavailable {
		return i.awaitEnd(context.Background(), exitGrace)
	}
	return i.ended()
}
