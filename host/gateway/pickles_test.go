package gateway

import (
	"os"
	"testing"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/encoding/protowire"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/proto/fields"
)

// pickled is a CreateTaskRequest of Flyte 2, with inputs as flyte 2.12.1 writes them: data (bytes), maybe (Optional[bytes]), many
// (list[bytes]), named (dict[str, bytes]), price (Decimal), and a text.
func pickled(t *testing.T) []byte {
	t.Helper()
	message, err := os.ReadFile("testdata/flyte2-pickles.binpb")
	if err != nil {
		t.Fatal(err)
	}
	return message
}

func TestNoAgentTakesAPickleOfFlyte2ForBytes(t *testing.T) {
	agent := startAgent(t, answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job")}))
	f := startGateway(t, agent, asyncAgent("x"))
	sent := pickled(t)
	if _, err := f.callRaw(soon(t), async2+"CreateTask", sent); err != nil {
		t.Fatal(err)
	}
	var before, after admin.CreateTaskRequest
	got := agent.only(t).frames[0]
	if err := proto.Unmarshal(sent, &before); err != nil {
		t.Fatal(err)
	}
	if err := proto.Unmarshal(got, &after); err != nil {
		t.Fatal(err)
	}
	inputs := after.GetInputs().GetLiterals()
	for name, binary := range map[string]*core.Binary{
		"data":  inputs["data"].GetScalar().GetBinary(),
		"maybe": inputs["maybe"].GetScalar().GetUnion().GetValue().GetScalar().GetBinary(),
		"many":  inputs["many"].GetCollection().GetLiterals()[0].GetScalar().GetBinary(),
		"named": inputs["named"].GetMap().GetLiterals()["k"].GetScalar().GetBinary(),
		"price": inputs["price"].GetScalar().GetBinary(),
	} {
		if binary.GetTag() != "pickle" {
			t.Errorf("%s reached the agent with tag %q", name, binary.GetTag())
		}
		binary.Tag = "" // all else is as it was
	}
	if !proto.Equal(&before, &after) {
		t.Errorf("sent %v\nthe agent got %v", &before, &after)
	}
	if n := f.recorded(t, guarantee.BothFlytes); n != 1 {
		t.Errorf("G12 was recorded %d times", n)
	}
}

func TestBytesThatAreNoPicklesAreLeftAlone(t *testing.T) {
	binary := &core.Literal{Value: &core.Literal_Scalar{Scalar: &core.Scalar{Value: &core.Scalar_Binary{Binary: &core.Binary{Value: []byte("FlytePickle")}}}}}
	plain, err := proto.Marshal(&admin.CreateTaskRequest{
		Template: &core.TaskTemplate{Type: "x", Interface: &core.TypedInterface{Inputs: &core.VariableMap{Variables: map[string]*core.Variable{
			"data": {Type: &core.LiteralType{Type: &core.LiteralType_Simple{Simple: core.SimpleType_BINARY}}},
		}}}},
		Inputs: &core.LiteralMap{Literals: map[string]*core.Literal{"data": binary, "undeclared": binary}},
	})
	if err != nil {
		t.Fatal(err)
	}
	for service, message := range map[string][]byte{async1: pickled(t), async2: plain} {
		agent := startAgent(t, answering(&admin.CreateTaskResponse{ResourceMeta: []byte("job")}))
		f := startGateway(t, agent, asyncAgent("x"))
		if _, err := f.callRaw(soon(t), service+"CreateTask", message); err != nil {
			t.Fatal(err)
		}
		if got := agent.only(t).frames[0]; string(got) != string(message) {
			t.Errorf("%s: the agent got another request", service)
		}
	}
}

func TestAPickledRequestKeepsWhatOnlyFlyte2Has(t *testing.T) {
	message := pickled(t)
	const connection = 5
	tagged, ok := withPickleTags(message)
	if !ok {
		t.Fatal("nothing is tagged")
	}
	found := false
	if err := fields.Each(tagged, func(number fields.Number, value fields.Value) error {
		found = found || number == connection && value.Kind == protowire.BytesType
		return nil
	}); err != nil || !found {
		t.Errorf("the connection is gone (%v)", err)
	}
}
