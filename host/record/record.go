package record

import (
	"bytes"
	"errors"
	"fmt"
	"strings"
	"time"

	"github.com/klauspost/compress/zstd"
	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agenthost/agenthost/proto/fields"
)

// Record is a task that the host has accepted, instead of an answer to its CreateTask.
type Record struct {
	// Plugin is the plugin that the task goes to.
	Plugin string
	// Accepted is when the host accepted it, to the millisecond.
	Accepted time.Time
	// Request is the CreateTaskRequest, without the secrets of a Flyte 2 connection: those come with every poll.
	Request []byte
	// Host names the only host that can make the job good, by its state directory, and Intent what that host knows it by. Both
	// are empty where any host can.
	Host, Intent string
	// End is the Resource of a task that has ended already; nil otherwise.
	End []byte
	// Trace refers to the trace of the call that it was accepted in (host/tracing); nil where there is none.
	Trace []byte
}

// Numbers of fields in what is sealed. They are never given to another field.
const (
	fieldPlugin fields.Number = iota + 1
	fieldAccepted
	fieldRequest
	fieldHost
	fieldIntent
	fieldEnd
	fieldTrace
)

// family begins every envelope of any host, and is followed by the version of its format.
const family = "\xffagenthost"

// formats are the versions that this host knows: 1 and 4 are of jobs that are pinned (host/gateway.envelope), 2 is a record, 3 a seal.
const formats = "\x01\x02\x03\x04"

// mark begins a record.
var mark = []byte(family + "\x02")

// Is says whether bytes are a record, by their beginning.
func Is(meta []byte) bool { return bytes.HasPrefix(meta, mark) }

// Newer says whether bytes are an envelope of a format that this host does not know.
func Newer(meta []byte) bool {
	rest, ok := bytes.CutPrefix(meta, []byte(family))
	return ok && len(rest) > 0 && rest[0] > 0 && !strings.Contains(formats, string(rest[:1]))
}

// Envelope says whether a plugin's own bytes could be taken for an envelope, of this host or another.
func Envelope(meta []byte) bool { return bytes.HasPrefix(meta, []byte(family)) }

// Both may be used by several goroutines at a time. Records are small: large windows would only take memory.
var (
	compressor   = newCompressor()
	decompressor = newDecompressor()
)

const (
	window = 128 << 10
	// maxOpened is how large a record may be when it is opened, in bytes.
	maxOpened = 64 << 20
)

func newCompressor() *zstd.Encoder {
	e, err := zstd.NewWriter(nil, zstd.WithEncoderConcurrency(1), zstd.WithWindowSize(window), zstd.WithLowerEncoderMem(true),
		zstd.WithEncoderLevel(zstd.SpeedBetterCompression), zstd.WithEncoderCRC(false))
	if err != nil {
		panic(err) // the options are constants
	}
	e.EncodeAll(nil, nil) // what it makes at its first use is made now, whoever uses it first
	return e
}

func newDecompressor() *zstd.Decoder {
	d, err := zstd.NewReader(nil, zstd.WithDecoderConcurrency(2), zstd.WithDecoderLowmem(true), zstd.WithDecoderMaxMemory(maxOpened))
	if err != nil {
		panic(err) // the options are constants
	}
	return d
}

// Seal makes the envelope that Flyte gets.
func (r Record) Seal(keys *Keys) []byte {
	var plain []byte
	plain = fields.Append(plain, fieldPlugin, r.Plugin)
	plain = fields.AppendVarint(plain, fieldAccepted, uint64(r.Accepted.UnixMilli()))
	if r.Request != nil {
		plain = fields.Append(plain, fieldRequest, r.Request)
	}
	if r.Host != "" {
		plain = fields.Append(plain, fieldHost, r.Host)
		plain = fields.Append(plain, fieldIntent, r.Intent)
	}
	if r.End != nil {
		plain = fields.Append(plain, fieldEnd, r.End)
	}
	if r.Trace != nil {
		plain = fields.Append(plain, fieldTrace, r.Trace)
	}
	return keys.encrypt(mark, compressor.EncodeAll(plain, nil))
}

// Open opens an envelope for which Is holds. The error is ErrForeign, or wraps ErrBroken.
func Open(keys *Keys, sealed []byte) (Record, error) {
	packed, err := keys.decrypt(mark, sealed)
	if err != nil {
		return Record{}, err
	}
	plain, err := decompressor.DecodeAll(packed, nil)
	if err != nil {
		return Record{}, fmt.Errorf("%w: %w", ErrBroken, err)
	}
	var r Record
	var accepted uint64
	err = fields.Each(plain, func(number fields.Number, value fields.Value) error {
		switch number {
		case fieldPlugin:
			value.Text(&r.Plugin)
		case fieldAccepted:
			if value.Kind == protowire.VarintType {
				accepted = value.Varint
			}
		case fieldRequest:
			r.Request = value.Bytes
		case fieldHost:
			value.Text(&r.Host)
		case fieldIntent:
			value.Text(&r.Intent)
		case fieldEnd:
			r.End = value.Bytes
		case fieldTrace:
			r.Trace = value.Bytes
		}
		return nil
	})
	if err != nil {
		return Record{}, errors.Join(ErrBroken, err)
	}
	r.Accepted = time.UnixMilli(int64(accepted))
	return r, nil
}
