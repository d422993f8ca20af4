package artifact

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"encoding/pem"
	"errors"
	"fmt"
	"os"
	"slices"
	"strings"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/secure-systems-lab/go-securesystemslib/dsse"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	sigstore "github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/payload"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"
)

// Where cosign puts signatures: at the tag sha256-<hex>.sig, or as an artifact that refers to what is signed; and in which form: a
// payload in a layer with the signature beside it, or a bundle of sigstore's.
const (
	SimpleSigning       = "application/vnd.dev.cosign.simplesigning.v1+json"
	SignatureAnnotation = "dev.cosignproject.cosign/signature"
	signatureArtifact   = "application/vnd.dev.cosign.artifact.sig.v1+json"
	bundleArtifact      = "application/vnd.dev.sigstore.bundle"
	signPredicate       = "https://sigstore.dev/cosign/sign/v1"
	statementType       = "https://in-toto.io/Statement/"
)

const (
	// maxSignatures is how many signatures of one artifact are looked at.
	maxSignatures = 64
	// maxSignature is the most bytes that one may have.
	maxSignature = 1 << 20
)

// SignatureTag is the tag at which cosign keeps the signatures of a digest.
func SignatureTag(of digest.Digest) string {
	return strings.Replace(of.String(), ":", "-", 1) + ".sig"
}

// signature is one of an artifact's, as it was found. It is kept with the artifact, for the time when no registry answers.
type signature struct {
	// Payload is what is signed; PayloadType its type in an envelope (DSSE), empty without.
	Payload     []byte
	PayloadType string `json:",omitempty"`
	Signature   []byte
}

// of says whether a signature that holds is about one of the digests, and says that its signer stands for it.
func (s signature) of(digests []digest.Digest) bool {
	if s.PayloadType == "" {
		var signed payload.SimpleContainerImage
		err := json.Unmarshal(s.Payload, &signed)
		return err == nil && signed.Critical.Type == payload.CosignSignatureType &&
			slices.Contains(digests, digest.Digest(signed.Critical.Image.DockerManifestDigest))
	}
	var statement struct {
		Type          string `json:"_type"`
		PredicateType string `json:"predicateType"` // of another type it says something else of the artifact
		Subject       []struct {
			Digest map[string]string `json:"digest"`
		} `json:"subject"`
	}
	if err := json.Unmarshal(s.Payload, &statement); err != nil || !strings.HasPrefix(statement.Type, statementType) || statement.PredicateType != signPredicate {
		return false
	}
	for _, subject := range statement.Subject {
		if slices.Contains(digests, digest.Digest("sha256:"+subject.Digest["sha256"])) {
			return true
		}
	}
	return false
}

// signedBytes are what the key has signed.
func (s signature) signedBytes() []byte {
	if s.PayloadType == "" {
		return s.Payload
	}
	return dsse.PAE(s.PayloadType, s.Payload)
}

// keys are the public keys in a file, any of which may have signed.
func readKeys(file string) ([]sigstore.Verifier, error) {
	content, err := os.ReadFile(file)
	if err != nil {
		return nil, refuse("", "its cosign_key cannot be read: %w", err)
	}
	var keys []sigstore.Verifier
	for rest := content; ; {
		var block *pem.Block
		if block, rest = pem.Decode(rest); block == nil {
			break
		}
		if strings.Contains(block.Type, "PRIVATE KEY") {
			return nil, refuse("name the public key, cosign.pub, and keep this one where plugins are signed", "its cosign_key, %s, is a private key", file)
		}
		public, err := cryptoutils.UnmarshalPEMToPublicKey(pem.EncodeToMemory(block))
		if err != nil {
			return nil, refuse("", "its cosign_key, %s, cannot be read: %w", file, err)
		}
		key, err := sigstore.LoadVerifier(public, crypto.SHA256)
		if err != nil {
			return nil, refuse("", "its cosign_key, %s, is of no use: %w", file, err)
		}
		keys = append(keys, key)
	}
	if len(keys) == 0 {
		return nil, refuse("it is a file as `cosign generate-key-pair` makes, cosign.pub", "there is no public key in its cosign_key, %s", file)
	}
	return keys, nil
}

// check says why none of the signatures is one of the digests by one of the keys in a file.
func check(signatures []signature, file string, digests []digest.Digest) error {
	keys, err := readKeys(file)
	if err != nil {
		return err
	}
	var about bool
	for _, s := range signatures {
		if !s.of(digests) {
			continue
		}
		about = true
		for _, key := range keys {
			if key.VerifySignature(bytes.NewReader(s.Signature), bytes.NewReader(s.signedBytes())) == nil {
				return nil
			}
		}
	}
	const sign = "sign it: `agenthost plugin push --sign cosign.key`, or `cosign sign --key cosign.key` with the reference's digest"
	switch {
	case about:
		return refuse("find out who signed it, and whether cosign_key is the right one", "it is signed, but by none of the keys in %s", file)
	case len(signatures) > 0:
		return refuse(sign, "what is signed is another artifact, or something else is said of this one (%d signatures)", len(signatures))
	default:
		return refuse(sign, "it is not signed, and cosign_key (%s) asks for a signature", file)
	}
}

// signatures finds all that are kept for the digests, in either place. What cannot be read is none.
func (d *download) signatures(ctx context.Context, digests []digest.Digest) ([]signature, error) {
	var found []signature
	for _, of := range digests {
		tagged, err := retried(ctx, d, func() (ocispec.Descriptor, error) { return d.repository.Resolve(ctx, SignatureTag(of)) })
		switch {
		case err == nil:
			found = append(found, d.signaturesIn(ctx, tagged)...)
		case !errors.Is(err, errdef.ErrNotFound):
			return nil, fmt.Errorf("its signatures cannot be looked for: %w", err)
		}
		if err := d.referring(ctx, of, &found); err != nil {
			return nil, fmt.Errorf("its signatures cannot be looked for: %w", err)
		}
	}
	return found, nil
}

// referring adds the signatures that refer to a digest.
func (d *download) referring(ctx context.Context, of digest.Digest, found *[]signature) error {
	subject := ocispec.Descriptor{MediaType: ocispec.MediaTypeImageManifest, Digest: of}
	err := d.repository.Referrers(ctx, subject, "", func(referrers []ocispec.Descriptor) error {
		for _, r := range referrers {
			if r.ArtifactType == signatureArtifact || strings.HasPrefix(r.ArtifactType, bundleArtifact) {
				if len(*found) >= maxSignatures {
					return nil
				}
				*found = append(*found, d.signaturesIn(ctx, r)...)
			}
		}
		return nil
	})
	if errors.Is(err, errdef.ErrNotFound) {
		return nil
	}
	return err
}

// signaturesIn are those in the layers of a manifest.
func (d *download) signaturesIn(ctx context.Context, at ocispec.Descriptor) []signature {
	content, err := fetchSmall(ctx, d.repository, at)
	if err != nil {
		d.log.Warn("a signature cannot be read", "image", d.ref.String(), "error", err)
		return nil
	}
	var m ocispec.Manifest
	if err := json.Unmarshal(content, &m); err != nil {
		return nil
	}
	var found []signature
	for _, layer := range m.Layers[:min(len(m.Layers), maxSignatures)] {
		if layer.MediaType != SimpleSigning && !strings.HasPrefix(layer.MediaType, bundleArtifact) {
			continue
		}
		content, err := fetchSmall(ctx, d.repository, layer)
		if err != nil {
			d.log.Warn("a signature cannot be read", "image", d.ref.String(), "error", err)
			continue
		}
		if layer.MediaType == SimpleSigning {
			if sum, err := base64.StdEncoding.DecodeString(layer.Annotations[SignatureAnnotation]); err == nil && len(sum) > 0 {
				found = append(found, signature{Payload: content, Signature: sum})
			}
		} else {
			found = append(found, inBundle(content)...)
		}
	}
	return found
}

// inBundle are the signatures in a bundle of sigstore's, https://docs.sigstore.dev/about/bundle.
func inBundle(content []byte) []signature {
	var bundle struct {
		Envelope struct {
			Payload     []byte `json:"payload"`
			PayloadType string `json:"payloadType"`
			Signatures  []struct {
				Sig []byte `json:"sig"`
			} `json:"signatures"`
		} `json:"dsseEnvelope"`
	}
	if err := json.Unmarshal(content, &bundle); err != nil || bundle.Envelope.PayloadType == "" {
		return nil
	}
	var found []signature
	for _, s := range bundle.Envelope.Signatures[:min(len(bundle.Envelope.Signatures), maxSignatures)] {
		found = append(found, signature{Payload: bundle.Envelope.Payload, PayloadType: bundle.Envelope.PayloadType, Signature: s.Sig})
	}
	return found
}

// fetchSmall reads a blob or manifest that is to be small, and holds it to its digest.
func fetchSmall(ctx context.Context, from *remote.Repository, at ocispec.Descriptor) ([]byte, error) {
	if at.Size > maxSignature {
		return nil, refuse("", "%s has %d bytes, and %d are the most for a signature", at.Digest, at.Size, maxSignature)
	}
	return readAll(ctx, from, at)
}
