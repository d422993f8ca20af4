package badplugin

import (
	"bufio"
	"context"
	"encoding/json"
	"errors"
	"io/fs"
	"os"
	"sync"

	"google.golang.org/grpc"
	"google.golang.org/grpc/encoding"
	_ "google.golang.org/grpc/encoding/proto" // the codec that is recorded around
	"google.golang.org/grpc/mem"
	"google.golang.org/grpc/metadata"
)

// Record is one message that a plugin received.
type Record struct {
	// Method is the gRPC method, such as "/flyteidl.service.AsyncAgentService/GetTask".
	Method string
	// Metadata is what came with the call.
	Metadata map[string][]string
	// Frame is the message, byte for byte.
	Frame []byte
}

// ReadRecords reads what the plugin whose flag -record named path has received so far, in order. A file that is not
// there yet has no records.
func ReadRecords(path string) ([]Record, error) {
	file, err := os.Open(path)
	if errors.Is(err, fs.ErrNotExist) {
		return nil, nil
	}
	if err != nil {
		return nil, err
	}
	defer file.Close()
	var records []Record
	lines := bufio.NewReader(file)
	for {
		line, err := lines.ReadBytes('\n')
		if err != nil {
			return records, nil // the end, or a record that is just being written
		}
		var record Record
		if err := json.Unmarshal(line, &record); err != nil {
			return nil, err
		}
		records = append(records, record)
	}
}

// recorder is a codec that keeps the bytes of each message until the interceptor, which knows the method, takes them.
type recorder struct {
	encoding.CodecV2
	file *os.File

	mu     sync.Mutex
	frames map[any][]byte
}

func newRecorder(path string) *recorder {
	r := &recorder{CodecV2: encoding.GetCodecV2("proto"), frames: map[any][]byte{}}
	if path != "" {
		file, err := os.OpenFile(path, os.O_WRONLY|os.O_CREATE|os.O_APPEND, 0o600)
		if err != nil {
			panic(err)
		}
		r.file = file
	}
	return r
}

func (r *recorder) Unmarshal(data mem.BufferSlice, message any) error {
	if r.file != nil {
		r.mu.Lock()
		r.frames[message] = data.Materialize()
		r.mu.Unlock()
	}
	return r.CodecV2.Unmarshal(data, message)
}

func (r *recorder) unary(ctx context.Context, message any, info *grpc.UnaryServerInfo, next grpc.UnaryHandler) (any, error) {
	r.take(ctx, info.FullMethod, message)
	return next(ctx, message)
}

func (r *recorder) stream(server any, stream grpc.ServerStream, info *grpc.StreamServerInfo, next grpc.StreamHandler) error {
	return next(server, &recordedStream{ServerStream: stream, recorder: r, method: info.FullMethod})
}

type recordedStream struct {
	grpc.ServerStream
	recorder *recorder
	method   string
}

func (s *recordedStream) RecvMsg(message any) error {
	err := s.ServerStream.RecvMsg(message)
	s.recorder.take(s.Context(), s.method, message)
	return err
}

func (r *recorder) take(ctx context.Context, method string, message any) {
	if r.file == nil {
		return
	}
	r.mu.Lock()
	defer r.mu.Unlock()
	frame, ok := r.frames[message]
	if !ok {
		return
	}
	delete(r.frames, message)
	received, _ := metadata.FromIncomingContext(ctx)
	line, err := json.Marshal(Record{Method: method, Metadata: received, Frame: frame})
	if err != nil {
		panic(err)
	}
	if _, err := r.file.Write(append(line, '\n')); err != nil {
		panic(err)
	}
}
