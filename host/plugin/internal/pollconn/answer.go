package pollconn

import (
	"encoding/base64"
	"encoding/binary"
	"net/url"
	"strconv"
	"strings"

	"golang.org/x/net/http2/hpack"
	spb "google.golang.org/genproto/googleapis/rpc/status"
	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/metadata"
	"google.golang.org/grpc/status"
	"google.golang.org/protobuf/proto"
)

// answer is what has come of one so far.
type answer struct {
	unsupported bool // it is not as gRPC has it, or does not come: the call has to be made another way
	answered    bool // its headers have come
	header      metadata.MD
	trailer     metadata.MD

	head    []byte // of the message: its prefix, as long as that is not complete
	message []byte
	left    int // how much of the message is missing

	admission Admission // that a large message needs; nil: none
	most      int       // how large it may be
	grant     int       // how much more than a window of it is to come
	tooLarge  int       // how large it is, where that is too much

	code    string
	text    string
	details string
}

// field takes a header. last says that it is one of the answer's last.
func (a *answer) field(f hpack.HeaderField, last bool) {
	switch f.Name {
	case ":status":
		a.unsupported = a.unsupported || f.Value != "200"
		return
	case "grpc-status":
		a.code = f.Value
		return
	case "grpc-message":
		a.text = f.Value
		return
	case "grpc-encoding", "grpc-message-type", "grpc-timeout", "te", "user-agent":
		return
	case "content-type":
		a.unsupported = a.unsupported || !strings.HasPrefix(f.Value, "application/grpc")
	case "grpc-status-details-bin":
		a.details = f.Value
	default:
		a.unsupported = a.unsupported || strings.HasPrefix(f.Name, ":")
	}
	into := &a.header
	if last {
		into = &a.trailer
	}
	a.keep(into, f.Name, f.Value)
}

func (a *answer) keep(into *metadata.MD, name, value string) {
	if strings.HasSuffix(name, binarySuffix) {
		decoded, err := fromBase64(value)
		a.unsupported = a.unsupported || err != nil
		value = decoded
	}
	if *into == nil {
		*into = metadata.MD{}
	}
	(*into)[name] = append((*into)[name], value)
}

// headersEnd says that a block of headers is complete. Only the last may be a second one.
func (a *answer) headersEnd(last bool) {
	a.unsupported = a.unsupported || a.answered && !last
	a.answered = true
}

// part takes a part of the message.
func (a *answer) part(data []byte) {
	if missing := prefix - len(a.head); missing > 0 {
		taken := min(missing, len(data))
		a.head = append(a.head, data[:taken]...)
		data = data[taken:]
		if len(a.head) < prefix {
			return
		}
		a.left = int(binary.BigEndian.Uint32(a.head[1:]))
		a.unsupported = a.unsupported || a.head[0] != 0 // compressed, which nobody asked for
		switch {
		case a.left > a.most:
			a.tooLarge = a.left
			return
		case a.left <= streamWindow-prefix:
		case a.admission != nil && !a.admission.Now(a.left):
			a.unsupported = true
			return
		default:
			a.grant = a.left
		}
		a.message = make([]byte, 0, a.left)
	}
	a.unsupported = a.unsupported || !a.answered || len(data) > a.left
	a.left -= len(data)
	a.message = append(a.message, data...)
}

// result is the call's error, if it has one.
func (a *answer) result() error {
	code, err := strconv.ParseUint(a.code, 10, 32)
	switch {
	case a.tooLarge > 0: // in grpc-go's words
		return status.Errorf(codes.ResourceExhausted, "grpc: received message larger than max (%d vs. %d)", a.tooLarge, a.most)
	case a.unsupported || err != nil:
		return ErrNotTaken
	case code != uint64(codes.OK):
		return a.failure(codes.Code(code))
	case len(a.head) < prefix || a.left > 0:
		return ErrNotTaken
	}
	return nil
}

// failure is a status that is not OK, as the server gave it.
func (a *answer) failure(code codes.Code) error {
	if a.details == "" {
		text, err := url.PathUnescape(a.text)
		if err != nil {
			text = a.text
		}
		return status.Error(code, text)
	}
	whole := &spb.Status{}
	encoded, err := fromBase64(a.details)
	if err == nil {
		err = proto.Unmarshal([]byte(encoded), whole)
	}
	if err != nil || whole.GetCode() != int32(code) {
		return ErrNotTaken
	}
	return status.ErrorProto(whole)
}

// fromBase64 decodes, with padding or without: servers may do either.
func fromBase64(text string) (string, error) {
	decoded, err := base64.RawStdEncoding.DecodeString(strings.TrimRight(text, "="))
	return string(decoded), err
}
