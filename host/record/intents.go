package record

import (
	"crypto/rand"
	"encoding/hex"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"strings"
	"sync"
	"time"

	"google.golang.org/protobuf/encoding/protowire"

	"github.com/agenthost/agenthost/host/state"
	"github.com/agenthost/agenthost/proto/fields"
)

// Intents are the tasks that one host alone can make good, because their plugins cannot find the jobs that they have made. They are
// files in the state directory: what a host means to do is there before it does it, so that it knows after its own end what it
// may have done. Hosts that share the directory have a folder each, and take over those of the dead. Methods may be called from
// any goroutine.
type Intents struct {
	dir  *state.Dir
	host string

	mu     sync.Mutex
	unlock func() error
}

// Stage is how far a task has come.
type Stage int

// The stages.
const (
	// Accepted: the plugin was provably never sent the task.
	Accepted Stage = iota + 1
	// Sent: it was, and its answer is not known.
	Sent
	// Done: its job is made, or never will be.
	Done
	// Ended: Flyte has been told the end of its job.
	Ended
)

// Intent is one task.
type Intent struct {
	Stage Stage
	// Record is what the creation needs, sealed.
	Record []byte
	// Meta and Generation are those of the job that was made.
	Meta       []byte
	Generation string
	// End is the Resource of a task that ended without a job; nil where there is one, or may be.
	End []byte
}

const (
	// intentsFolder is in the state directory, and has a folder for each host.
	intentsFolder = "intents"
	intentFormat  = 1
	// intentMemory is for how long a task is remembered after it has come to a stage, and endedMemory after its end: Flyte may ask
	// once more that has not written down what it was told.
	intentMemory = 30 * 24 * time.Hour
	endedMemory  = 24 * time.Hour
)

// Numbers of fields in an intent's file. They are never given to another field.
const (
	fieldStage fields.Number = iota + 1
	fieldRecord
	fieldMeta
	fieldGeneration
	fieldIntentEnd
	fieldAt
)

// OpenIntents makes a folder for this host, and takes over those of hosts that are dead. What cannot be taken over, such as what a
// newer host wrote, stays where it is, and log is told.
func OpenIntents(dir *state.Dir, log *slog.Logger) (*Intents, error) {
	id := make([]byte, 8)
	_, _ = rand.Read(id) // it never fails
	s := &Intents{dir: dir, host: hex.EncodeToString(id)}
	unlock, err := dir.Lock(intentsFolder + "/" + s.host)
	if err != nil {
		return nil, fmt.Errorf("cannot keep what this host has accepted: %w", err)
	}
	s.unlock = unlock
	if err := s.adopt(); err != nil {
		log.Warn("not all that earlier hosts have accepted can be made good by this one", "error", err)
	}
	return s, nil
}

// Host is what records name this host by.
func (s *Intents) Host() string { return s.host }

// Close lets go of the folder: another host may take it over.
func (s *Intents) Close() error { return s.unlock() }

// Put keeps an intent in the place of the one before. When it returns without an error it is on the disk.
func (s *Intents) Put(id string, intent Intent) error {
	return s.dir.Write(s.path(id), intentFormat, intent.encode(time.Now()))
}

// Get returns an intent of this host or of one that is dead. The error is fs.ErrNotExist where there is none.
func (s *Intents) Get(id string) (Intent, error) {
	intent, err := s.read(s.path(id))
	if !errors.Is(err, fs.ErrNotExist) {
		return intent, err
	}
	failure := s.adopt()
	intent, err = s.read(s.path(id))
	if errors.Is(err, fs.ErrNotExist) && failure != nil { // it may be among what cannot be taken over
		err = failure
	}
	return intent, err
}

// Remove forgets an intent.
func (s *Intents) Remove(id string) error { return s.dir.Remove(s.path(id)) }

func (s *Intents) path(id string) string { return intentsFolder + "/" + s.host + "/" + id }

func (s *Intents) read(path string) (Intent, error) {
	data, _, err := s.dir.Read(path, intentFormat)
	if err != nil {
		return Intent{}, err
	}
	intent, _, err := decodeIntent(data)
	if err != nil {
		return Intent{}, fmt.Errorf("%s: %w", s.dir.Path(path), err)
	}
	return intent, nil
}

// adopt takes over what hosts have left that are dead: their folders can be locked. What is too old is removed.
func (s *Intents) adopt() error {
	s.mu.Lock()
	defer s.mu.Unlock()
	folders, err := s.dir.List(intentsFolder)
	if err != nil {
		return err
	}
	var failures []error
	for _, folder := range folders {
		name, isFolder := strings.CutSuffix(folder, "/")
		if !isFolder || name == s.host {
			continue
		}
		if err := s.adoptFrom(intentsFolder + "/" + name); err != nil && !errors.Is(err, state.ErrLocked) && !errors.Is(err, fs.ErrNotExist) {
			failures = append(failures, fmt.Errorf("cannot take over what an earlier host has accepted: %w", err))
		}
	}
	return errors.Join(failures...)
}

func (s *Intents) adoptFrom(folder string) (err error) {
	unlock, err := s.dir.Lock(folder)
	if err != nil {
		return err
	}
	defer func() { err = errors.Join(err, unlock()) }()
	ids, err := s.dir.List(folder)
	if err != nil {
		return err
	}
	var failures []error
	for _, id := range ids {
		data, format, err := s.dir.Read(folder+"/"+id, intentFormat)
		if err != nil {
			failures = append(failures, err)
			continue
		}
		intent, at, err := decodeIntent(data)
		memory := intentMemory
		if intent.Stage == Ended {
			memory = endedMemory
		}
		if err == nil && time.Since(at) < memory {
			if err := s.dir.Write(s.path(id), format, data); err != nil {
				return err
			}
		}
		if err := s.dir.Remove(folder + "/" + id); err != nil {
			return err
		}
	}
	if len(failures) > 0 {
		return errors.Join(failures...)
	}
	return s.dir.Remove(folder)
}

func (i Intent) encode(at time.Time) []byte {
	out := fields.AppendVarint(nil, fieldStage, uint64(i.Stage))
	out = fields.Append(out, fieldRecord, i.Record)
	if i.Meta != nil {
		out = fields.Append(out, fieldMeta, i.Meta)
	}
	out = fields.Append(out, fieldGeneration, i.Generation)
	if i.End != nil {
		out = fields.Append(out, fieldIntentEnd, i.End)
	}
	return fields.AppendVarint(out, fieldAt, uint64(at.UnixMilli()))
}

func decodeIntent(data []byte) (intent Intent, at time.Time, err error) {
	var stage, millis uint64
	err = fields.Each(data, func(number fields.Number, value fields.Value) error {
		switch number {
		case fieldStage:
			if value.Kind == protowire.VarintType {
				stage = value.Varint
			}
		case fieldRecord:
			intent.Record = value.Bytes
		case fieldMeta:
			intent.Meta = value.Bytes
		case fieldGeneration:
			value.Text(&intent.Generation)
		case fieldIntentEnd:
			intent.End = value.Bytes
		case fieldAt:
			millis = value.Varint
		}
		return nil
	})
	intent.Stage = Stage(stage)
	return intent, time.UnixMilli(int64(millis)), err
}
