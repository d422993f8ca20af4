package pollconn

import (
	"bytes"
	"encoding/base64"
	"strconv"
	"strings"
	"time"

	"golang.org/x/net/http2/hpack"
	"google.golang.org/grpc/metadata"
)

const (
	// maxMetadata bounds a request's metadata, in bytes, so that all headers fit into one frame.
	maxMetadata = 8 << 10
	// binarySuffix is that of the names of metadata with any bytes in it.
	binarySuffix = "-bin"
)

// headers encodes those of requests, for one connection: the server remembers what it was sent.
type headers struct {
	fixed   [7]hpack.HeaderField // what every request has
	block   *bytes.Buffer        // one request's
	encoder *hpack.Encoder       // writes to block
	// brief is fixed as the server knows it, a byte a header; empty until it does.
	brief []byte
	sent  bool // fixed was, once
}

func newHeaders(options Options) headers {
	block := &bytes.Buffer{}
	return headers{block: block, encoder: hpack.NewEncoder(block), fixed: [...]hpack.HeaderField{
		{Name: ":method", Value: "POST"},
		{Name: ":scheme", Value: options.Scheme},
		{Name: ":path", Value: options.Method},
		{Name: ":authority", Value: options.Authority},
		{Name: "te", Value: "trailers"},
		{Name: "content-type", Value: "application/grpc"},
		{Name: "user-agent", Value: "agenthost"},
	}}
}

// resize follows the server, which remembers so many bytes of headers at most.
func (h *headers) resize(most uint32) {
	h.encoder.SetMaxDynamicTableSizeLimit(most)
	h.brief, h.sent = nil, false
}

// of encodes the headers of a request that has time until its deadline; the zero one: any time. They are good until the next.
func (h *headers) of(deadline time.Time, crossing metadata.MD) []byte {
	h.block.Reset()
	if h.brief != nil {
		h.block.Write(h.brief)
	} else {
		h.encodeFixed()
	}
	if !deadline.IsZero() {
		h.once("grpc-timeout", timeout(time.Until(deadline)))
	}
	for name, values := range crossing {
		for _, value := range values {
			if strings.HasSuffix(name, binarySuffix) {
				value = base64.RawStdEncoding.EncodeToString([]byte(value))
			}
			h.once(name, value)
		}
	}
	return h.block.Bytes()
}

// encodeFixed encodes what every request has. The first time the server enters it into its table; the second time it comes
// out as it will from then on, since nothing else is entered.
func (h *headers) encodeFixed() {
	for _, field := range h.fixed {
		_ = h.encoder.WriteField(field)
	}
	if h.sent {
		h.brief = bytes.Clone(h.block.Bytes())
	}
	h.sent = true
}

// once writes a header that is another in the next request, and is not entered.
func (h *headers) once(name, value string) {
	_ = h.encoder.WriteField(hpack.HeaderField{Name: strings.ToLower(name), Value: value, Sensitive: true})
}

// timeout is how long a server has, in gRPC's way: eight digits at most, and a unit.
func timeout(left time.Duration) string {
	const most = 99_999_999
	left = max(left, time.Microsecond)
	for _, unit := range []struct {
		length time.Duration
		name   string
	}{{time.Microsecond, "u"}, {time.Millisecond, "m"}, {time.Second, "S"}, {time.Minute, "M"}} {
		if n := (left-1)/unit.length + 1; n <= most { // rounded up: it is the caller who ends it in time
			return strconv.FormatInt(int64(n), 10) + unit.name
		}
	}
	return strconv.Itoa(most) + "M"
}

// sizeOf is what metadata takes at most, in bytes.
func sizeOf(crossing metadata.MD) int {
	size := 0
	for name, values := range crossing {
		for _, value := range values {
			size += len(name) + base64.RawStdEncoding.EncodedLen(len(value)) + 8
		}
	}
	return size
}
