package literal_test

import (
	"fmt"
	"time"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"

	"github.com/agenthost/agenthost/sdk/go/literal"
)

// A literal is read as the type that is asked for. What does not fit is told with its place.
func ExampleDecode() {
	list, err := literal.Encode([]any{1, 2, "three"}, nil)
	fmt.Println(err)

	values, err := literal.Decode[[]any](list)
	fmt.Println(values, err)
	_, err = literal.Decode[[]int](list)
	fmt.Println(err)
	// Output:
	// <nil>
	// [1 2 three] <nil>
	// at [2]: a string cannot be read as int
}

// A dataclass of flytekit's is a struct with json tags.
func ExampleDecodeInto() {
	type span struct {
		From  int    `json:"from"`
		To    int    `json:"to"`
		Label string `json:"label"`
	}
	sent, err := literal.Encode(map[string]any{"from": 3, "to": 5, "label": "lunch"}, literal.Simple(core.SimpleType_STRUCT))
	fmt.Println(sent.GetScalar().GetBinary().GetTag(), err)

	var lunch span
	fmt.Println(literal.DecodeInto(sent, &lunch), lunch)
	// Output:
	// msgpack <nil>
	// <nil> {3 5 lunch}
}

// A value becomes a literal of the declared type; without one, of the type that is natural for it.
func ExampleEncode() {
	natural, _ := literal.Encode(3, nil)
	declared, _ := literal.Encode(3, literal.Simple(core.SimpleType_FLOAT))
	fmt.Println(natural.GetScalar().GetPrimitive().GetInteger(), declared.GetScalar().GetPrimitive().GetFloatValue())

	_, err := literal.Encode([]any{time.Minute, "soon"}, literal.ListOf(literal.Simple(core.SimpleType_DURATION)))
	fmt.Println(err)
	// Output:
	// 3 3
	// at [1]: a Go string cannot be written as duration
}

// A union's literal names the variant that the value is of.
func ExampleOptional() {
	maybe := literal.Optional(literal.Simple(core.SimpleType_STRING))
	for _, value := range []any{"here", nil} {
		sent, err := literal.Encode(value, maybe)
		got, _ := literal.Decode[any](sent)
		fmt.Println(literal.TypeName(sent.GetScalar().GetUnion().GetType()), got, literal.IsNone(sent), err)
	}
	// Output:
	// string here false <nil>
	// none <nil> true <nil>
}
