package artifact

import (
	"errors"
	"fmt"
	"strings"

	"github.com/opencontainers/go-digest"
	"oras.land/oras-go/v2/registry"
)

// Reference is where an artifact is to be found: registry/repository:tag@digest, with a tag, a digest or both.
type Reference struct {
	Registry, Repository, Tag string
	// Digest is what is meant, whatever the tag leads to; empty: what the tag leads to.
	Digest digest.Digest
}

// Pattern is what a reference looks like: a regular expression in the dialect that RE2 and ECMA 262 share.
const Pattern = `^[^/@\s]+/[a-z0-9._/-]+(:[A-Za-z0-9_][A-Za-z0-9_.-]{0,127})?(@sha256:[0-9a-f]{64})?$`

// Parse reads a reference. Unlike docker it knows no registry by default, and no tag.
func Parse(text string) (Reference, error) {
	var r Reference
	rest, sum, pinned := strings.Cut(text, "@")
	if pinned {
		r.Digest = digest.Digest(sum)
		if err := r.Digest.Validate(); err != nil || r.Digest.Algorithm() != digest.SHA256 {
			return Reference{}, fmt.Errorf("%q is not a digest: it is sha256: and 64 hex digits", sum)
		}
	}
	if slash, colon := strings.LastIndexByte(rest, '/'), strings.LastIndexByte(rest, ':'); colon > slash {
		rest, r.Tag = rest[:colon], rest[colon+1:]
		if err := (registry.Reference{Reference: r.Tag}).ValidateReferenceAsTag(); err != nil {
			return Reference{}, fmt.Errorf("%q is not a tag: it has letters, digits, underscores, dots and dashes", r.Tag)
		}
	} else if !pinned {
		return Reference{}, errors.New("it has neither a tag nor a digest")
	}
	var named bool
	r.Registry, r.Repository, named = strings.Cut(rest, "/")
	if !named || r.Registry != "localhost" && !strings.ContainsAny(r.Registry, ".:") {
		return Reference{}, errors.New("it names no registry: begin with its host, such as registry.example.com/")
	}
	if err := r.at("").ValidateRegistry(); err != nil {
		return Reference{}, fmt.Errorf("%q is not a registry's host", r.Registry)
	}
	if err := r.at("").ValidateRepository(); err != nil {
		return Reference{}, fmt.Errorf("%q is not a repository: it has lower-case letters, digits and separators", r.Repository)
	}
	return r, nil
}

// String is the reference as Parse reads it.
func (r Reference) String() string {
	text := r.Name()
	if r.Tag != "" {
		text += ":" + r.Tag
	}
	if r.Digest != "" {
		text += "@" + r.Digest.String()
	}
	return text
}

// Name is the registry and the repository.
func (r Reference) Name() string { return r.Registry + "/" + r.Repository }

// Pinned says that the reference has a digest, so that it always means the same.
func (r Reference) Pinned() bool { return r.Digest != "" }

// At is the reference with a digest.
func (r Reference) At(sum digest.Digest) Reference {
	r.Digest = sum
	return r
}

// at is a place in the repository, as oras has it.
func (r Reference) at(reference string) registry.Reference {
	return registry.Reference{Registry: r.Registry, Repository: r.Repository, Reference: reference}
}

// asked is what the registry is asked for: the digest where there is one.
func (r Reference) asked() string {
	if r.Digest != "" {
		return r.Digest.String()
	}
	return r.Tag
}
