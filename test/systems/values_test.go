package systems

import (
	"encoding/json"
	"fmt"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"github.com/vmihailenco/msgpack/v5"
	"google.golang.org/protobuf/encoding/protojson"
)

// shown is a literal map as text. A dict is one of JSON, whichever of the two ways that Flyte has for it it comes in.
func shown(literals *core.LiteralMap) string {
	values := map[string]any{}
	for name, literal := range literals.GetLiterals() {
		values[name] = json.RawMessage(protojson.MarshalOptions{}.Format(literal))
		scalar := literal.GetScalar()
		if binary := scalar.GetBinary(); binary.GetTag() == "msgpack" {
			var dict any
			if err := msgpack.Unmarshal(binary.GetValue(), &dict); err != nil {
				dict = fmt.Sprintf("no msgpack: %v", err)
			}
			values[name] = dict
		} else if generic := scalar.GetGeneric(); generic != nil {
			values[name] = generic.AsMap()
		}
	}
	text, err := json.Marshal(values)
	if err != nil {
		return err.Error()
	}
	return string(text)
}
