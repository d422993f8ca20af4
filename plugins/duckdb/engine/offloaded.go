package engine

import (
	"context"

	"github.com/flyteorg/flyte/flyteidl/gen/pb-go/flyteidl/core"
	"google.golang.org/protobuf/proto"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
)

// inline is a literal as it was before Flyte put it, or a part of it, into storage: FlytePropeller writes literals of some
// megabytes (its literal-offloading-config) to an object of their own, as a core.Literal, and hands on its uri and size. flytekit
// reads them wherever one stands, also as the elements of a list.
func (l *loader) inline(ctx context.Context, name string, literal *core.Literal) (*core.Literal, error) {
	if !isOffloaded(literal) {
		return literal, nil
	}
	whole, err := l.whole(ctx, literal, 0)
	if err != nil {
		return nil, ofInput(name, err)
	}
	l.report.Note("read input %q, which Flyte had put into storage", name)
	return whole, nil
}

// isOffloaded tells whether a literal, or a part of it, lies in storage.
func isOffloaded(literal *core.Literal) bool {
	switch v := literal.GetValue().(type) {
	case *core.Literal_OffloadedMetadata:
		return true
	case *core.Literal_Collection:
		for _, element := range v.Collection.GetLiterals() {
			if isOffloaded(element) {
				return true
			}
		}
	case *core.Literal_Map:
		for _, element := range v.Map.GetLiterals() {
			if isOffloaded(element) {
				return true
			}
		}
	case *core.Literal_Scalar:
		return isOffloaded(v.Scalar.GetUnion().GetValue())
	}
	return false
}

// maxObjects is how many objects may lead from one to the next. Flyte's do not lead on at all.
const maxObjects = 16

// whole reads what of a literal lies in storage. The literal itself is left as it is. Through is how many objects led to it.
func (l *loader) whole(ctx context.Context, literal *core.Literal, through int) (*core.Literal, error) {
	if !isOffloaded(literal) {
		return literal, nil
	}
	switch v := literal.GetValue().(type) {
	case *core.Literal_OffloadedMetadata:
		read, err := l.read(ctx, v.OffloadedMetadata, literal.GetHash())
		if err != nil {
			return nil, err
		}
		if through++; through > maxObjects {
			return nil, fault.Final("%s is reached through %d others, which Flyte does not write: does one of them name itself?", v.OffloadedMetadata.GetUri(), maxObjects)
		}
		return l.whole(ctx, read, through)
	case *core.Literal_Collection:
		list := &core.LiteralCollection{}
		for _, element := range v.Collection.GetLiterals() {
			read, err := l.whole(ctx, element, through)
			if err != nil {
				return nil, err
			}
			list.Literals = append(list.Literals, read)
		}
		return &core.Literal{Value: &core.Literal_Collection{Collection: list}}, nil
	case *core.Literal_Map:
		entries := &core.LiteralMap{Literals: map[string]*core.Literal{}}
		for key, element := range v.Map.GetLiterals() {
			read, err := l.whole(ctx, element, through)
			if err != nil {
				return nil, err
			}
			entries.Literals[key] = read
		}
		return &core.Literal{Value: &core.Literal_Map{Map: entries}}, nil
	}
	inner := literal.GetScalar().GetUnion()
	read, err := l.whole(ctx, inner.GetValue(), through)
	if err != nil {
		return nil, err
	}
	return union(read, inner.GetType()), nil
}

// read gets a literal from where Flyte has put it, by the rules of all inputs. The object must be the one that was written: of
// the size that Flyte tells, and with the literal's own hash where it has one.
func (l *loader) read(ctx context.Context, from *core.LiteralOffloadedMetadata, hash string) (*core.Literal, error) {
	uri := from.GetUri()
	if err := l.permitInput(uri); err != nil {
		return nil, err
	}
	left := l.engine.limits.Offloaded - l.offloaded
	if size := from.GetSizeBytes(); size > uint64(left) {
		return nil, l.tooLarge(uri)
	}
	data, err := l.engine.storage.Read(ctx, uri, left)
	if err != nil {
		return nil, err
	}
	if int64(len(data)) > left {
		return nil, l.tooLarge(uri)
	}
	l.offloaded += max(int64(len(data)), 1)
	if size := from.GetSizeBytes(); size != 0 && size != uint64(len(data)) {
		return nil, fault.Final("%s has %d bytes, and Flyte wrote a value of %d bytes there: it was changed since", uri, len(data), size)
	}
	read := &core.Literal{}
	if err := proto.Unmarshal(data, read); err != nil {
		return nil, fault.Final("%s is not the value that Flyte wrote there: it is no literal: %w", uri, err)
	}
	if read.GetValue() == nil {
		return nil, fault.Final("%s is not the value that Flyte wrote there: it is a literal without a value", uri)
	}
	if hash != "" && read.GetHash() != "" && read.GetHash() != hash {
		return nil, fault.Final("%s has a value with the hash %s, and Flyte wrote one with %s there: it was changed since", uri, read.GetHash(), hash)
	}
	return read, nil
}

func (l *loader) tooLarge(uri string) error {
	return fault.Final("%s: the values that Flyte has put into storage may have %s together (the plugin's config key offloaded_limit); pass it as a StructuredDataset or a file",
		uri, Size(l.engine.limits.Offloaded))
}
