package agent

import (
	"encoding/json"
	"fmt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/encoding/protojson"
)

// OutputTypes are the types of outputs by name. They can be a field of an async agent's metadata.
type OutputTypes map[string]*core.LiteralType

// MarshalJSON writes the types in protobuf's JSON.
func (o OutputTypes) MarshalJSON() ([]byte, error) {
	raw := make(map[string]json.RawMessage, len(o))
	for name, literalType := range o {
		data, err := protojson.Marshal(literalType)
		if err != nil {
			return nil, fmt.Errorf("the type of output %q: %w", name, err)
		}
		raw[name] = data
	}
	return json.Marshal(raw)
}

// UnmarshalJSON reads what MarshalJSON wrote, also where a newer version wrote more.
func (o *OutputTypes) UnmarshalJSON(data []byte) error {
	var raw map[string]json.RawMessage
	if err := json.Unmarshal(data, &raw); err != nil {
		return err
	}
	types := make(OutputTypes, len(raw))
	for name, data := range raw {
		literalType := &core.LiteralType{}
		if err := (protojson.UnmarshalOptions{DiscardUnknown: true}).Unmarshal(data, literalType); err != nil {
			return fmt.Errorf("the type of output %q: %w", name, err)
		}
		types[name] = literalType
	}
	*o = types
	return nil
}
