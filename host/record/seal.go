package record

import (
	"bytes"
	"errors"

	"github.com/agenthost/agenthost/proto/fields"
)

// Seal is a resource_meta with the place of its task, which polls and deletions do not say. Whoever has it cannot read or change it.
type Seal struct {
	// TaskType is the name of the task's category.
	TaskType string
	// Project and Domain are those of its execution.
	Project, Domain string
	// Meta is what Flyte would have got without a seal: a plugin's own bytes, or an envelope.
	Meta []byte
}

// Numbers of fields in what is sealed. They are never given to another field.
const (
	fieldSealedType fields.Number = iota + 1
	fieldSealedProject
	fieldSealedDomain
	fieldSealedMeta
)

// sealMark begins a seal.
var sealMark = []byte(family + "\x03")

// IsSealed says whether bytes are sealed, by their beginning.
func IsSealed(meta []byte) bool { return bytes.HasPrefix(meta, sealMark) }

// Seal makes what Flyte gets.
func (s Seal) Seal(keys *Keys) []byte {
	var plain []byte
	plain = fields.Append(plain, fieldSealedType, s.TaskType)
	plain = fields.Append(plain, fieldSealedProject, s.Project)
	plain = fields.Append(plain, fieldSealedDomain, s.Domain)
	plain = fields.Append(plain, fieldSealedMeta, s.Meta)
	return keys.encrypt(sealMark, plain)
}

// Unseal opens what IsSealed holds for. The error is ErrForeign, or wraps ErrBroken.
func Unseal(keys *Keys, sealed []byte) (Seal, error) {
	plain, err := keys.decrypt(sealMark, sealed)
	if err != nil {
		return Seal{}, err
	}
	var s Seal
	err = fields.Each(plain, func(number fields.Number, value fields.Value) error {
		switch number {
		case fieldSealedType:
			value.Text(&s.TaskType)
		case fieldSealedProject:
			value.Text(&s.Project)
		case fieldSealedDomain:
			value.Text(&s.Domain)
		case fieldSealedMeta:
			s.Meta = value.Bytes
		}
		return nil
	})
	if err != nil {
		return Seal{}, errors.Join(ErrBroken, err)
	}
	return s, nil
}
