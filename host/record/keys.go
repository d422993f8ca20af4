// Package record is the form in which a task is kept whose job is not made yet: the envelope that Flyte gets in the place of a
// resource_meta, and brings with every poll. It holds what the creation needs, so that any replica of the host, and any later
// one, can make it good.
package record

import (
	"bytes"
	"crypto/cipher"
	"crypto/hkdf"
	"crypto/hmac"
	"crypto/rand"
	"crypto/sha256"
	"encoding/base64"
	"errors"
	"fmt"

	"golang.org/x/crypto/chacha20poly1305"
)

// KeySize is the size of a key, in bytes.
const KeySize = chacha20poly1305.KeySize

// Keys seal records and open them. Several replicas that have the same keys open each other's.
type Keys struct {
	seal key
	open map[keyID]key
}

// keyID tells keys apart, and nothing else about them.
type keyID [4]byte

type key struct {
	id   keyID
	aead cipher.AEAD
	sign []byte
}

// ParseKeys reads keys: one on each line, 32 bytes in standard base64. The first seals, all of them open, so that a key is
// replaced by putting a new one before it, and taken out when no task is on record that the old one has sealed. Errors never
// show a key.
func ParseKeys(text []byte) (*Keys, error) {
	keys := &Keys{open: map[keyID]key{}}
	for i, line := range bytes.Split(text, []byte("\n")) {
		if line = bytes.TrimSpace(line); len(line) == 0 {
			continue
		}
		secret, err := base64.StdEncoding.Strict().DecodeString(string(line))
		if err != nil || len(secret) != KeySize {
			return nil, fmt.Errorf("line %d is not %d bytes in base64: make a key with `openssl rand -base64 %d`", i+1, KeySize, KeySize)
		}
		k, err := newKey(secret)
		if err != nil {
			return nil, err
		}
		if len(keys.open) == 0 {
			keys.seal = k
		}
		keys.open[k.id] = k
	}
	if len(keys.open) == 0 {
		return nil, fmt.Errorf("there is no key: make one with `openssl rand -base64 %d`", KeySize)
	}
	return keys, nil
}

// NewKey makes a key, as ParseKeys reads it.
func NewKey() []byte {
	secret := make([]byte, KeySize)
	_, _ = rand.Read(secret) // it never fails
	return append([]byte(base64.StdEncoding.EncodeToString(secret)), '\n')
}

func newKey(secret []byte) (key, error) {
	aead, err := chacha20poly1305.NewX(secret)
	if err != nil {
		return key{}, err
	}
	sign, err := hkdf.Key(sha256.New, secret, nil, "agenthost signature", sha256.Size)
	if err != nil {
		return key{}, err
	}
	digest := sha256.Sum256(append([]byte("agenthost record key"), secret...))
	return key{id: keyID(digest[:4]), aead: aead, sign: sign}, nil
}

var (
	// ErrForeign is why a record cannot be opened that other keys have sealed.
	ErrForeign = errors.New("the task was accepted by a host with other create.keys")
	// ErrNewer is why a record, or another envelope, cannot be opened whose format is newer than this host.
	ErrNewer = errors.New("it was made by a newer host")
	// ErrBroken is why a record cannot be opened that has been changed.
	ErrBroken = errors.New("the task's record has been changed since it was made")
)

// SignatureSize is the size of a signature, in bytes.
const SignatureSize = len(keyID{}) + sha256.Size/2

// Sign makes a signature of bytes that are no secret: the same each time.
func (k *Keys) Sign(message []byte) []byte { return k.seal.signature(message) }

// Verify says whether one of the keys has made a signature.
func (k *Keys) Verify(message, signature []byte) bool {
	if len(signature) != SignatureSize {
		return false
	}
	known, ok := k.open[keyID(signature[:len(keyID{})])]
	return ok && hmac.Equal(known.signature(message), signature)
}

func (k key) signature(message []byte) []byte {
	digest := hmac.New(sha256.New, k.sign)
	digest.Write(message)
	return digest.Sum(k.id[:])[:SignatureSize]
}

func (k *Keys) encrypt(mark, plain []byte) []byte {
	out := make([]byte, 0, len(mark)+len(keyID{})+chacha20poly1305.NonceSizeX+len(plain)+chacha20poly1305.Overhead)
	out = append(append(out, mark...), k.seal.id[:]...)
	head := len(out)
	nonce := make([]byte, chacha20poly1305.NonceSizeX)
	_, _ = rand.Read(nonce) // it never fails
	out = append(out, nonce...)
	return k.seal.aead.Seal(out, nonce, plain, out[:head])
}

func (k *Keys) decrypt(mark, sealed []byte) ([]byte, error) {
	head := len(mark) + len(keyID{})
	if len(sealed) < head+chacha20poly1305.NonceSizeX+chacha20poly1305.Overhead {
		return nil, ErrBroken
	}
	known, ok := k.open[keyID(sealed[len(mark):head])]
	if !ok {
		return nil, ErrForeign
	}
	nonce := sealed[head : head+chacha20poly1305.NonceSizeX]
	plain, err := known.aead.Open(nil, nonce, sealed[head+len(nonce):], sealed[:head])
	if err != nil {
		return nil, ErrBroken
	}
	return plain, nil
}
