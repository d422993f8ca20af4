package gateway

import (
	"bytes"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/admin"
	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/host/guarantee"
	"github.com/agenthost/agenthost/proto/fields"
)

// Flyte 2's SDK pickles what it has no type for, such as bytes, Decimal, set and Any. Up to 10 KiB of that is a binary literal
// without a tag, as bytes are, and only the declared type tells the two apart. Agents read values, and none of them would.
const (
	// pickledType is the tag of the structure of such a type's variants.
	pickledType = "FlytePickle"
	// pickleTag is the tag that the binary gets. Flyte 2's own SDK reads it with and without.
	pickleTag = "pickle"
)

// tagPickles has an agent see which of a task's inputs are pickles.
func (g *Gateway) tagPickles(c *routedCall) {
	if !c.method.creates || c.method.generation != flyte2 || !g.enabled.Has(guarantee.BothFlytes) {
		return
	}
	message := c.request.bytes()
	if !bytes.Contains(message, []byte(pickledType)) { // as of almost all: it need not be decoded
		return
	}
	if tagged, ok := withPickleTags(message); ok {
		c.request.set(tagged)
		g.record(c, guarantee.BothFlytes) // G12
	}
}

// withPickleTags is a CreateTaskRequest with a tag on each input that is a pickle; ok is false where there is none, or where the
// request cannot be read, which is for the agent to say.
func withPickleTags(message []byte) (tagged []byte, ok bool) {
	var request admin.CreateTaskRequest
	if err := proto.Unmarshal(message, &request); err != nil {
		return nil, false
	}
	declared := request.GetTemplate().GetInterface().GetInputs().GetVariables()
	for name, input := range request.GetInputs().GetLiterals() {
		if tagPickle(input, declared[name].GetType()) {
			ok = true
		}
	}
	if !ok {
		return nil, false
	}
	inputs, err := proto.Marshal(request.GetInputs())
	if err != nil {
		return nil, false
	}
	tagged, err = fields.Set(message, createInputs, inputs)
	return tagged, err == nil
}

// tagPickle tags the pickles in a literal of a type, and says whether there are any.
func tagPickle(l *core.Literal, declared *core.LiteralType) (found bool) {
	switch value := l.GetValue().(type) {
	case *core.Literal_Collection:
		for _, element := range value.Collection.GetLiterals() {
			found = tagPickle(element, declared.GetCollectionType()) || found
		}
	case *core.Literal_Map:
		for _, element := range value.Map.GetLiterals() {
			found = tagPickle(element, declared.GetMapValueType()) || found
		}
	case *core.Literal_Scalar:
		if union := value.Scalar.GetUnion(); union != nil {
			return tagPickle(union.GetValue(), union.GetType())
		}
		if binary := value.Scalar.GetBinary(); binary != nil && binary.GetTag() == "" && isPickled(declared) {
			binary.Tag = pickleTag
			return true
		}
	}
	return found
}

// isPickled says whether values of a type are pickles.
func isPickled(t *core.LiteralType) bool {
	if t.GetStructure().GetTag() == pickledType {
		return true
	}
	for _, variant := range t.GetUnionType().GetVariants() {
		if isPickled(variant) {
			return true
		}
	}
	return false
}
