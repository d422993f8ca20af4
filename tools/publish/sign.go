package publish

import (
	"bytes"
	"context"
	"crypto"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"os"

	"github.com/google/go-containerregistry/pkg/name"
	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"github.com/sigstore/sigstore/pkg/signature"
	"github.com/sigstore/sigstore/pkg/signature/payload"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/errdef"
	"oras.land/oras-go/v2/registry/remote"

	"github.com/agenthost/agenthost/host/artifact"
)

// Key is a private key to sign with, in a file as cosign makes it.
type Key struct{ signer signature.Signer }

// ReadKey reads the key in a file; password is asked where the key is encrypted.
func ReadKey(file string, password func() ([]byte, error)) (*Key, error) {
	pem, err := os.ReadFile(file)
	if err != nil {
		return nil, err
	}
	private, err := cryptoutils.UnmarshalPEMToPrivateKey(pem, func(bool) ([]byte, error) { return password() })
	if err != nil {
		return nil, fmt.Errorf("%s is no private key that can be read: %w", file, err)
	}
	signer, err := signature.LoadSigner(private, crypto.SHA256)
	if err != nil {
		return nil, fmt.Errorf("%s: %w", file, err)
	}
	return &Key{signer}, nil
}

// Sign signs a message.
func (k *Key) Sign(message []byte) ([]byte, error) {
	return k.signer.SignMessage(bytes.NewReader(message))
}

// sign adds a signature to those of a digest, where `cosign sign` puts it and `cosign verify` looks for it.
func (k *Key) sign(ctx context.Context, in *remote.Repository, ref artifact.Reference, of digest.Digest) error {
	signed, err := name.NewDigest(ref.Name() + "@" + of.String())
	if err != nil {
		return err
	}
	text, err := payload.Cosign{Image: signed}.MarshalJSON()
	if err != nil {
		return err
	}
	sum, err := k.Sign(text)
	if err != nil {
		return err
	}
	tag := artifact.SignatureTag(of)
	manifest, err := signaturesAt(ctx, in, tag)
	if err != nil {
		return err
	}
	layer := content.NewDescriptorFromBytes(artifact.SimpleSigning, text)
	if err := in.Blobs().Push(ctx, layer, bytes.NewReader(text)); err != nil {
		return err
	}
	layer.Annotations = map[string]string{artifact.SignatureAnnotation: base64.StdEncoding.EncodeToString(sum)}
	manifest.Layers = append(manifest.Layers, layer)
	var image ocispec.Image
	image.RootFS.Type = "layers"
	for _, l := range manifest.Layers {
		image.RootFS.DiffIDs = append(image.RootFS.DiffIDs, l.Digest)
	}
	if manifest.Config, err = pushJSON(ctx, in, ocispec.MediaTypeImageConfig, image, ""); err != nil {
		return err
	}
	_, err = pushJSON(ctx, in, ocispec.MediaTypeImageManifest, manifest, tag)
	return err
}

// signaturesAt is the manifest of the signatures that there are, or an empty one.
func signaturesAt(ctx context.Context, in *remote.Repository, tag string) (ocispec.Manifest, error) {
	manifest := ocispec.Manifest{Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest}
	at, body, err := in.Manifests().FetchReference(ctx, tag)
	if errors.Is(err, errdef.ErrNotFound) {
		return manifest, nil
	}
	if err != nil {
		return manifest, err
	}
	defer body.Close()
	text, err := content.ReadAll(body, at)
	if err != nil {
		return manifest, err
	}
	return manifest, json.Unmarshal(text, &manifest)
}

func pushJSON(ctx context.Context, to *remote.Repository, mediaType string, value any, tag string) (ocispec.Descriptor, error) {
	text, err := json.Marshal(value)
	if err != nil {
		return ocispec.Descriptor{}, err
	}
	at := content.NewDescriptorFromBytes(mediaType, text)
	if tag != "" {
		return at, to.PushReference(ctx, at, bytes.NewReader(text), tag)
	}
	return at, to.Push(ctx, at, bytes.NewReader(text))
}
