package gateway

import (
	"bytes"
	"encoding/binary"
	"hash/crc32"
	"time"

	"github.com/agenthost/agenthost/host/record"
)

// envelope is a resource_meta with where it was made. Flyte keeps it as it keeps any other, so that a poll finds its way
// after both Flyte and the host have restarted, and through any replica of the host.
//
// On the wire it is the mark; the plugin's name, the generation and the meta, each behind its length as a varint; and a
// signature of all that with the keys that replicas share. What is no envelope, to the bit, is a plugin's own meta.
//
// Anybody can make up an envelope, and a host without keys, or of before signatures, makes it without one. Only one that is signed
// pins its job; see Gateway.pinOf.
type envelope struct {
	plugin, generation string
	meta               []byte
	// genuine says that a host with these keys has made it.
	genuine bool
}

// Marks begin envelopes; their last byte is the version of the format. Nothing that plugins are known to use as
// a resource_meta begins so: 0xff is not UTF-8, so not JSON; as a protobuf tag it has a wire type that does not exist;
// pickles begin with 0x80, or in their oldest protocol with ASCII.
var (
	envelopeMark = []byte("\xffagenthost\x01") // it ends with a CRC-32C
	signedMark   = []byte("\xffagenthost\x04") // it ends with a signature
)

var castagnoli = crc32.MakeTable(crc32.Castagnoli)

// seal makes what Flyte gets. It is signed where there are keys.
func (e envelope) seal(keys *record.Keys) []byte {
	if keys == nil {
		out := e.appendTo(envelopeMark, crc32.Size)
		return binary.BigEndian.AppendUint32(out, crc32.Checksum(out, castagnoli))
	}
	out := e.appendTo(signedMark, record.SignatureSize)
	return append(out, keys.Sign(out)...)
}

// appendTo is the envelope up to what ends it.
func (e envelope) appendTo(mark []byte, ending int) []byte {
	out := make([]byte, 0, len(mark)+len(e.plugin)+len(e.generation)+len(e.meta)+3*binary.MaxVarintLen32+ending)
	out = append(out, mark...)
	for _, part := range [][]byte{[]byte(e.plugin), []byte(e.generation), e.meta} {
		out = binary.AppendUvarint(out, uint64(len(part)))
		out = append(out, part...)
	}
	return out
}

// open reads an envelope, if it is one: what seal would not write is none. The meta in it refers to the bytes given.
func open(bytesOfMeta []byte, keys *record.Keys) (e envelope, ok bool) {
	mark, ending := envelopeMark, crc32.Size
	if bytes.HasPrefix(bytesOfMeta, signedMark) {
		mark, ending = signedMark, record.SignatureSize
	}
	if !bytes.HasPrefix(bytesOfMeta, mark) {
		return envelope{}, false
	}
	rest := bytesOfMeta[len(mark):]
	var parts [3][]byte
	for i := range parts {
		length, n := binary.Uvarint(rest)
		if n <= 0 || length > uint64(len(rest)-n) {
			return envelope{}, false
		}
		parts[i], rest = rest[n:n+int(length)], rest[n+int(length):]
	}
	e = envelope{plugin: string(parts[0]), generation: string(parts[1]), meta: parts[2]}
	body := bytesOfMeta[:len(bytesOfMeta)-len(rest)]
	if len(rest) != ending || !bytes.Equal(e.appendTo(mark, 0), body) {
		return envelope{}, false
	}
	if ending == crc32.Size {
		return e, binary.BigEndian.Uint32(rest) == crc32.Checksum(body, castagnoli)
	}
	e.genuine = keys != nil && keys.Verify(body, rest)
	return e, true
}

// pinOf is what of an envelope counts for the way of a call. A genuine one says which plugin and generation made the job. Another may
// have been made up by the caller: it never chooses a generation, and chooses a plugin only where no host could have signed for
// all, as without create.keys, or until a day that the configuration names.
func (g *Gateway) pinOf(e envelope) envelope {
	pin, ignored := g.pinFor(e)
	if ignored {
		if leftOut, ok := g.unsigned.Allow(); ok {
			g.log.Warn("a job is not pinned, because its envelope was signed by no host with these create.keys: it was made up, or by a host of before signatures "+
				"(see create.unsigned_pins_until)", "plugin", e.plugin, "generation", e.generation, "left_out", leftOut)
		}
	}
	return pin
}

// pinFor is pinOf without a word in the log; ignored says that nothing of the envelope counts.
func (g *Gateway) pinFor(e envelope) (pin envelope, ignored bool) {
	if e.genuine {
		return e, false
	}
	creation := g.creation.Load()
	shared := g.keys() != nil && !creation.Local
	if shared && !time.Now().Before(creation.UnsignedPinsUntil) {
		return envelope{}, true
	}
	return envelope{plugin: e.plugin}, false
}

// isSigned says whether an envelope is signed, by whomever.
func isSigned(sealed []byte) bool { return bytes.HasPrefix(sealed, signedMark) }

// unsignedInterval and unsignedBurst bound how often the log tells of such envelopes.
const (
	unsignedInterval = time.Minute
	unsignedBurst    = 5
)
