package gateway

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
)

// envelope is a resource_meta with where it was made. Flyte keeps it as it keeps any other, so that a poll finds its way
// after both Flyte and the host have restarted, and through any replica of the host.
//
// On the wire it is the mark; the plugin's name, the generation and the meta, each behind its length as a varint; and a
// CRC-32C of all that. What is no envelope, to the bit, is a plugin's own meta.
type envelope struct {
	plugin, generation string
	meta               []byte
}

// envelopeMark begins an envelope; its last byte is the version of the format. Nothing that plugins are known to use as
// a resource_meta begins so: 0xff is not UTF-8, so not JSON; as a protobuf tag it has a wire type that does not exist;
// pickles begin with 0x80, or in their oldest protocol with ASCII.
var envelopeMark = []byte("\xffagenthost\x01")

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// sealed says whether bytes could be taken for an envelope.
func sealed(meta []byte) bool { return bytes.HasPrefix(meta, envelopeMark) }

func (e envelope) seal() []byte {
	out := make([]byte, 0, len(envelopeMark)+len(e.plugin)+len(e.generation)+len(e.meta)+3*binary.MaxVarintLen32+crc32.Size)
	out = append(out, envelopeMark...)
	for _, part := range [][]byte{[]byte(e.plugin), []byte(e.generation), e.meta} {
		out = binary.AppendUvarint(out, uint64(len(part)))
		out = append(out, part...)
	}
	return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
}

// open reads an envelope, if it is one: what seal would not write is none. The meta in it refers to the bytes given.
func open(bytesOfMeta []byte) (e envelope, ok bool) {
	if !sealed(bytesOfMeta) {
		return envelope{}, false
	}
	rest := bytesOfMeta[len(envelopeMark):]
	var parts [3][]byte
	for i := range parts {
		length, n := binary.Uvarint(rest)
		if n <= 0 || length > uint64(len(rest)-n) {
			return envelope{}, false
		}
		parts[i], rest = rest[n:n+int(length)], rest[n+int(length):]
	}
	e = envelope{plugin: string(parts[0]), generation: string(parts[1]), meta: parts[2]}
	if !bytes.Equal(e.seal(), bytesOfMeta) {
		return envelope{}, false
	}
	return e, true
}
