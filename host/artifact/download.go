package artifact

import (
	"context"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"sync/atomic"
	"time"

	"github.com/cenkalti/backoff/v5"
	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"oras.land/oras-go/v2/content"
	"oras.land/oras-go/v2/registry/remote"
)

// download gets an artifact from a registry into a folder: its blobs, each named by its digest.
type download struct {
	repository *remote.Repository
	ref        Reference
	folder     string // of what is under way; what is there already is gone on with
	limits     Limits
	retries    retries
	log        *slog.Logger
	progress   func(done, total int64)
	// nearby finds a blob that is here already.
	nearby func(digest.Digest) (file string, ok bool)
	loaded *atomic.Int64 // counts the bytes that the registry sent
}

// retries is how a registry is borne with.
type retries struct {
	// tries is how often the same is asked in vain, without one more byte coming.
	tries int
	// first is the first pause between two tries, and each is twice the one before, up to most.
	first, most time.Duration
	// idle is how long a blob may stand still.
	idle time.Duration
}

var defaultRetries = retries{tries: 5, first: 500 * time.Millisecond, most: 10 * time.Second, idle: time.Minute}

func (p retries) backoff() *backoff.ExponentialBackOff {
	pauses := backoff.NewExponentialBackOff()
	pauses.InitialInterval, pauses.MaxInterval, pauses.Multiplier = p.first, p.most, 2
	pauses.Reset()
	return pauses
}

// retried asks a registry until it answers, or it is of no use.
func retried[T any](ctx context.Context, d *download, ask func() (T, error)) (T, error) {
	answer, err := backoff.Retry(ctx, func() (T, error) {
		answer, err := ask()
		if err != nil && lasting(err) {
			return answer, backoff.Permanent(err)
		}
		return answer, err
	}, backoff.WithBackOff(d.retries.backoff()), backoff.WithMaxTries(uint(d.retries.tries)), backoff.WithNotify(d.again))
	var permanent *backoff.PermanentError
	if errors.As(err, &permanent) {
		err = permanent.Unwrap()
	}
	return answer, err
}

func (d *download) again(err error, pause time.Duration) {
	d.log.Warn("the registry is asked again", "image", d.ref.String(), "in", pause.Round(time.Millisecond), "error", err)
}

// found is an artifact as its registry describes it.
type found struct {
	top      ocispec.Descriptor // what the reference leads to: an index, or the manifest itself
	topBytes []byte
	manifest ocispec.Descriptor
	bytes    []byte
}

// digests are those by which it may be signed.
func (f found) digests() []digest.Digest { return []digest.Digest{f.top.Digest, f.manifest.Digest} }

// describe asks for the index and the manifest.
func (d *download) describe(ctx context.Context) (found, error) {
	return retried(ctx, d, func() (f found, err error) {
		if f.top, f.topBytes, err = lookUp(ctx, d.repository, d.ref); err != nil {
			return f, err
		}
		f.manifest, f.bytes = f.top, f.topBytes
		switch {
		case isIndex(f.top.MediaType):
			if f.manifest, err = forThisPlatform(f.topBytes); err == nil {
				f.bytes, err = readAll(ctx, d.repository, f.manifest)
			}
		case !isManifest(f.top.MediaType):
			err = refuse("", "it is a %q, and neither an artifact nor an image", f.top.MediaType)
		}
		return f, err
	})
}

// lookUp gets what a reference leads to, and holds it to the digest.
func lookUp(ctx context.Context, from *remote.Repository, ref Reference) (ocispec.Descriptor, []byte, error) {
	at, body, err := from.Manifests().FetchReference(ctx, ref.asked())
	if err != nil {
		return at, nil, err
	}
	defer body.Close()
	bytes, err := io.ReadAll(io.LimitReader(body, metadataMax+1))
	switch {
	case err != nil:
		return at, nil, err
	case len(bytes) > metadataMax:
		return at, nil, refuse("", "its manifest has more than %d bytes", metadataMax)
	}
	sum := digest.FromBytes(bytes)
	if ref.Pinned() && sum != ref.Digest {
		return at, nil, lied(ref.Digest, sum)
	}
	at.Digest, at.Size = sum, int64(len(bytes))
	return plain(at), bytes, nil
}

func lied(asked, sent digest.Digest) error {
	return refuse("somebody has changed it, on the way or in the registry: find out who", "%s was asked for, and the registry sent %s", asked, sent)
}

// readAll reads something small, and holds it to its digest.
func readAll(ctx context.Context, from *remote.Repository, at ocispec.Descriptor) ([]byte, error) {
	if at.Size > metadataMax {
		return nil, refuse("", "%s has %d bytes, and %d are the most for a manifest", at.Digest, at.Size, metadataMax)
	}
	if err := at.Digest.Validate(); err != nil {
		return nil, refuse("", "%q is not a digest: %w", at.Digest, err)
	}
	body, err := from.Fetch(ctx, at)
	if err != nil {
		return nil, err
	}
	defer body.Close()
	bytes, err := content.ReadAll(body, at)
	if errors.Is(err, content.ErrMismatchedDigest) || errors.Is(err, content.ErrTrailingData) {
		return nil, refuse("somebody has changed it, on the way or in the registry: find out who", "the registry sent something else for %s: %w", at.Digest, err)
	}
	return bytes, err
}

// blobs gets the configuration and the layers of a manifest.
func (d *download) blobs(ctx context.Context, m ocispec.Manifest) error {
	wanted := append([]ocispec.Descriptor{m.Config}, m.Layers...)
	var done, total int64
	for _, blob := range wanted {
		total += blob.Size
	}
	for _, blob := range wanted {
		if err := d.blob(ctx, blob, func(have int64) { d.progress(done+have, total) }); err != nil {
			return err
		}
		done += blob.Size
		d.progress(done, total)
	}
	return nil
}

// blob gets one blob, in as many pieces as it takes.
func (d *download) blob(ctx context.Context, blob ocispec.Descriptor, have func(int64)) error {
	file := filepath.Join(d.folder, blob.Digest.Encoded())
	if there, ok := d.nearby(blob.Digest); ok {
		if _, err := os.Lstat(file); errors.Is(err, fs.ErrNotExist) && os.Link(there, file) == nil && sumIs(file, blob.Digest) {
			return nil
		}
		if err := os.Remove(file); err != nil && !errors.Is(err, fs.ErrNotExist) {
			return err
		}
	}
	pauses := d.retries.backoff()
	for tries := 1; ; tries++ {
		before := sizeOf(file)
		err := d.piece(ctx, blob, file, have)
		gained := sizeOf(file) - before
		switch {
		case err == nil:
			return nil
		case ctx.Err() != nil:
			return context.Cause(ctx)
		case lasting(err):
			return err
		case gained > 0:
			tries = 1
			pauses.Reset()
		case tries >= d.retries.tries:
			return fmt.Errorf("layer %s: %w (tried %d times)", short(blob.Digest.String()), err, tries)
		}
		pause := pauses.NextBackOff()
		d.again(err, pause)
		select {
		case <-time.After(pause):
		case <-ctx.Done():
			return context.Cause(ctx)
		}
	}
}

// piece goes on with a blob where it was left.
func (d *download) piece(ctx context.Context, blob ocispec.Descriptor, path string, have func(int64)) error {
	file, err := os.OpenFile(path, os.O_RDWR|os.O_CREATE, 0o600)
	if err != nil {
		return err
	}
	defer file.Close()
	begun, err := file.Seek(0, io.SeekEnd)
	if err != nil {
		return err
	}
	if begun > blob.Size {
		begun = 0
	}
	resumed := begun > 0
	if begun < blob.Size || blob.Size == 0 {
		if resumed, err = d.load(ctx, blob, file, begun, have); err != nil {
			return err
		}
	}
	if _, err := file.Seek(0, io.SeekStart); err != nil {
		return err
	}
	sum, err := digest.FromReader(file)
	if err != nil {
		return err
	}
	if sum == blob.Digest {
		return nil
	}
	if err := file.Truncate(0); err != nil {
		return err
	}
	if resumed { // the pieces may be of two different things
		return fmt.Errorf("its pieces do not make up %s", blob.Digest)
	}
	return lied(blob.Digest, sum)
}

// load appends what is missing of a blob. resumed says that the registry went on where it was asked to, and did not begin anew.
func (d *download) load(ctx context.Context, blob ocispec.Descriptor, file *os.File, begun int64, have func(int64)) (resumed bool, err error) {
	ctx, cancel := context.WithCancelCause(ctx)
	defer cancel(nil)
	still := time.AfterFunc(d.retries.idle, func() { cancel(fmt.Errorf("nothing came for %v", d.retries.idle)) })
	defer still.Stop()
	body, err := d.repository.Blobs().Fetch(ctx, blob)
	if err != nil {
		return false, causeOf(ctx, err)
	}
	defer body.Close()
	if seeker, ok := body.(io.Seeker); ok && begun > 0 {
		if _, err := seeker.Seek(begun, io.SeekStart); err != nil {
			return false, causeOf(ctx, err)
		}
	} else {
		begun = 0
	}
	if err := file.Truncate(begun); err != nil {
		return false, err
	}
	if _, err := file.Seek(begun, io.SeekStart); err != nil {
		return false, err
	}
	missing := blob.Size - begun
	n, err := io.Copy(file, io.LimitReader(readerFunc(func(into []byte) (int, error) {
		n, err := body.Read(into)
		if n > 0 {
			still.Reset(d.retries.idle)
			d.loaded.Add(int64(n))
			begun += int64(n)
			have(begun)
		}
		return n, err
	}), missing+1))
	switch {
	case err != nil:
		return false, causeOf(ctx, err)
	case n > missing:
		return false, errors.Join(file.Truncate(0), refuse("", "the registry sends more than the %d bytes that layer %s has", blob.Size, short(blob.Digest.String())))
	case n < missing:
		return false, io.ErrUnexpectedEOF
	}
	return begun > n, nil
}

type readerFunc func([]byte) (int, error)

func (f readerFunc) Read(into []byte) (int, error) { return f(into) }

// causeOf prefers why a request was ended to that it was.
func causeOf(ctx context.Context, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	return err
}

func sizeOf(file string) int64 {
	info, err := os.Stat(file)
	if err != nil {
		return 0
	}
	return info.Size()
}

func sumIs(path string, want digest.Digest) bool {
	file, err := os.Open(path)
	if err != nil {
		return false
	}
	defer file.Close()
	sum, err := digest.FromReader(file)
	return err == nil && sum == want
}
