package artifact

import (
	"context"
	"encoding/json"
	"errors"
	"fmt"
	"io/fs"
	"log/slog"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
	"syscall"
	"time"

	"github.com/opencontainers/go-digest"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"

	"github.com/agenthost/agenthost/host/internal/privatedir"
)

// Options configure a Store.
type Options struct {
	// Dir is where artifacts are kept; made where it does not exist. Hosts may share it.
	Dir string
	// Host tells the hosts apart that share the directory: the same at each start of one.
	Host string
	// Registries says how registries are reached.
	Registries Registries
	// Limits is what an artifact may come to. Zero: DefaultLimits.
	Limits Limits
	// Log gets what is worth telling; nil: nowhere.
	Log *slog.Logger

	retries retries // of tests
}

// Store keeps artifacts, each in a folder named for the digest of its manifest. In it are:
//
//	tree/            what was unpacked, which nobody may write to
//	blobs/           manifest, index, configuration and layers, as they came
//	signatures.json  those that were asked for
//
// A folder is complete or not there: what is under way is in another (incoming-…). Each host notes in uses/ which plugin of its own
// needs what, and holds a lock on the folders of the plugins that run; what no host needs is removed.
type Store struct {
	options  Options
	incoming string
	lock     *privatedir.Lock // on incoming
	log      *slog.Logger

	loaded, pulls, failures atomic.Int64

	sweeping  chan struct{} // something may be in use no longer; holds one token
	closing   context.CancelFunc
	sweptLast chan struct{} // closed when nobody sweeps any more
	closed    sync.Once
	closeErr  error // written by closed

	mu      sync.Mutex          // guards what follows, and what is in uses/ and is named sha256-…
	seals   map[string]uint64   // of the trees that are known to be as they should be, by folder
	held    map[string]*holding // by folder
	pulling map[digest.Digest]chan struct{}
}

type holding struct {
	lock  *privatedir.Lock
	count int
}

// The names in the directory of a store.
const (
	folderPrefix   = "sha256-"
	incomingPrefix = "incoming-"
	usesName       = "uses"
	treeName       = "tree"
	blobsName      = "blobs"
	signaturesName = "signatures.json"
)

// Open opens the store in a directory, and removes what hosts left that were killed.
func Open(options Options) (*Store, error) {
	options.Limits = options.Limits.orDefault()
	if options.Log == nil {
		options.Log = slog.New(slog.DiscardHandler)
	}
	if options.retries == (retries{}) {
		options.retries = defaultRetries
	}
	s := &Store{
		options: options, log: options.Log, sweeping: make(chan struct{}, 1), sweptLast: make(chan struct{}),
		seals: map[string]uint64{}, held: map[string]*holding{}, pulling: map[digest.Digest]chan struct{}{},
	}
	if err := s.open(); err != nil {
		return nil, fmt.Errorf("artifacts.dir: %w", err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	s.closing = cancel
	go s.sweepOnDemand(ctx)
	return s, nil
}

func (s *Store) open() (err error) {
	if s.options.Dir, err = filepath.Abs(s.options.Dir); err != nil {
		return err
	}
	if err := os.MkdirAll(s.options.Dir, 0o711); err != nil { //nolint:gosec // plugins may run as another user, and are to reach their own folder
		return err
	}
	info, err := os.Lstat(s.options.Dir)
	if err != nil {
		return err
	}
	stat, ok := info.Sys().(*syscall.Stat_t)
	switch {
	case !info.IsDir():
		return fmt.Errorf("%s is no directory", s.options.Dir)
	case ok && int(stat.Uid) != os.Geteuid():
		return fmt.Errorf("%s belongs to user %d, not to user %d who runs this: choose another", s.options.Dir, stat.Uid, os.Geteuid())
	case info.Mode().Perm()&0o022 != 0:
		return fmt.Errorf("%s can be written to by others (mode %04o): chmod 0711 it or choose another", s.options.Dir, info.Mode().Perm())
	}
	if s.incoming, err = os.MkdirTemp(s.options.Dir, incomingPrefix); err != nil {
		return err
	}
	if s.lock, err = privatedir.TryLock(s.incoming); err != nil {
		return err
	}
	left, err := filepath.Glob(filepath.Join(s.options.Dir, incomingPrefix+"*"))
	if err != nil {
		return err
	}
	for _, folder := range left {
		lock, err := privatedir.TryLock(folder)
		if err != nil { // it is ours, or another host's
			continue
		}
		if err := errors.Join(removeTree(folder), lock.Close()); err != nil {
			s.log.Warn("what a host left half done cannot be removed", "folder", folder, "error", err)
		}
	}
	return nil
}

// Close lets go of all that is held; what is kept stays.
func (s *Store) Close() error {
	s.closed.Do(func() { s.closeErr = s.close() })
	return s.closeErr
}

func (s *Store) close() error {
	s.closing()
	<-s.sweptLast
	s.mu.Lock()
	defer s.mu.Unlock()
	err := errors.Join(removeTree(s.incoming), s.lock.Close())
	for _, h := range s.held {
		err = errors.Join(err, h.lock.Close())
	}
	clear(s.held)
	return err
}

// Dir is where the artifacts are.
func (s *Store) Dir() string { return s.options.Dir }

// Want is what is asked of a store.
type Want struct {
	// Plugin is who needs it.
	Plugin string
	// Reference is the artifact. One without a digest is what it was at the last pull, if there was one.
	Reference Reference
	// CosignKey is a file with the public keys of which one must have signed it; empty: none.
	CosignKey string
	// Progress is told how much has come, if it is not nil.
	Progress func(done, total int64)
}

// Folder is an artifact that was unpacked. It stays until Release.
type Folder struct {
	// Reference is the artifact, with its digest; Manifest the digest of the manifest for this platform.
	Reference Reference
	Manifest  digest.Digest
	// Root is where its files are. Nobody may write there.
	Root string
	// Command is what the artifact itself says is to be started, relative to Root; empty where it does not say.
	Command []string
	// Release says that it is needed no longer.
	Release func()
}

// Resolve gives a reference its digest: its own, or that of its tag now. Where the registry does not answer it is the one that the
// plugin used last.
func (s *Store) Resolve(ctx context.Context, plugin string, ref Reference) (Reference, error) {
	if ref.Pinned() {
		return ref, nil
	}
	repository, done, err := s.options.Registries.Repository(ctx, ref)
	if err != nil {
		return ref, err
	}
	defer done()
	at, err := repository.Resolve(ctx, ref.Tag)
	if err == nil {
		return ref.At(at.Digest), nil
	}
	if known, ok := s.remembered(plugin, ref); ok {
		s.log.Warn("it is not known whether the tag has moved: what it was stays in use", "plugin", plugin, "image", known.String(), "error", err)
		return known, nil
	}
	return ref, explain(ref, err)
}

// Pull makes sure that an artifact is here as its digest says, signed where a key is given, and holds it. Only what is not here is asked
// of the registry.
func (s *Store) Pull(ctx context.Context, want Want) (*Folder, error) {
	folder, err := s.pull(ctx, want)
	if err != nil {
		s.failures.Add(1)
		return nil, explain(want.Reference, err)
	}
	return folder, nil
}

func (s *Store) pull(ctx context.Context, want Want) (*Folder, error) {
	ref := want.Reference
	if known, ok := s.remembered(want.Plugin, ref); ok && !ref.Pinned() {
		ref = known
	}
	ref, err := s.Resolve(ctx, want.Plugin, ref)
	if err != nil {
		return nil, err
	}
	done, err := s.alone(ctx, ref.Digest)
	if err != nil {
		return nil, err
	}
	defer done()
	name, release, err := s.here(ref)
	switch {
	case err != nil:
		return nil, err
	case name == "":
		if name, release, err = s.fetch(ctx, want, ref); err != nil {
			return nil, err
		}
	case want.CosignKey != "":
		err = s.signed(ctx, name, want.CosignKey, ref)
	}
	folder := (*Folder)(nil)
	if err == nil {
		folder, err = s.folder(ref, name)
	}
	if err == nil {
		err = s.note(want.Plugin, use{Reference: want.Reference.String(), Digest: ref.Digest, Manifest: folder.Manifest})
	}
	if err != nil {
		release()
		return nil, err
	}
	folder.Release = sync.OnceFunc(func() {
		release()
		s.sweepSoon()
	})
	return folder, nil
}

// alone waits until nobody else is after the same artifact.
func (s *Store) alone(ctx context.Context, of digest.Digest) (done func(), err error) {
	for {
		s.mu.Lock()
		other, busy := s.pulling[of]
		if !busy {
			mine := make(chan struct{})
			s.pulling[of] = mine
			s.mu.Unlock()
			return func() {
				s.mu.Lock()
				defer s.mu.Unlock()
				delete(s.pulling, of)
				close(mine)
			}, nil
		}
		s.mu.Unlock()
		select {
		case <-other:
		case <-ctx.Done():
			return nil, context.Cause(ctx)
		}
	}
}

func nameOf(manifest digest.Digest) string { return folderPrefix + manifest.Encoded() }

func (s *Store) path(name string, below ...string) string {
	return filepath.Join(append([]string{s.options.Dir, name}, below...)...)
}

func (s *Store) blobIn(name string) func(ocispec.Descriptor) string {
	return func(blob ocispec.Descriptor) string { return s.path(name, blobsName, blob.Digest.Encoded()) }
}

// here finds an artifact in the store, by the digest of its manifest or of an index that leads to it, makes sure that it is as it should
// be, and holds it. Without a name it is not here, or is not whole.
func (s *Store) here(ref Reference) (name string, release func(), err error) {
	if name = s.find(ref); name == "" {
		return "", nil, nil
	}
	release, err = s.share(name)
	if err != nil { // it is being removed
		return "", nil, nil //nolint:nilerr // then it is not here
	}
	wrong := s.verify(name)
	if wrong == nil {
		return name, release, nil
	}
	s.log.Error("somebody has changed a plugin in the store; it is made anew", "image", ref.String(), "folder", s.path(name), "problem", wrong)
	if err := s.rebuild(name); err != nil {
		s.log.Warn("it cannot be made of its layers, and is pulled anew", "image", ref.String(), "problem", err)
		release()
		return "", nil, s.discard(name)
	}
	return name, release, nil
}

func (s *Store) find(ref Reference) string {
	if name := nameOf(ref.Digest); s.exists(name) {
		return name
	}
	indexes, err := filepath.Glob(s.path(folderPrefix+"*", blobsName, ref.Digest.Encoded()))
	if err != nil {
		return ""
	}
	for _, file := range indexes {
		index, err := os.ReadFile(file)
		if err != nil || digest.FromBytes(index) != ref.Digest {
			continue
		}
		if manifest, err := forThisPlatform(index); err == nil && s.exists(nameOf(manifest.Digest)) {
			return nameOf(manifest.Digest)
		}
	}
	return ""
}

func (s *Store) exists(name string) bool {
	info, err := os.Lstat(s.path(name))
	return err == nil && info.IsDir()
}

// verify says what of an artifact is not as its digest says. What has not been touched since it was found right is not read again.
func (s *Store) verify(name string) error {
	seal, err := sealOf(s.path(name, treeName))
	if err != nil {
		return err
	}
	s.mu.Lock()
	known, ok := s.seals[name]
	s.mu.Unlock()
	if ok && known == seal {
		return nil
	}
	m, err := s.manifest(name)
	if err != nil {
		return err
	}
	entries, err := s.entries(name, m)
	if err != nil {
		return err
	}
	if err := compareTree(s.path(name, treeName), entries); err != nil {
		return err
	}
	return s.sealed(name)
}

func (s *Store) sealed(name string) error {
	seal, err := sealOf(s.path(name, treeName))
	s.mu.Lock()
	defer s.mu.Unlock()
	s.seals[name] = seal
	return err
}

// manifest reads the manifest of a folder, which has the digest that the folder is named for.
func (s *Store) manifest(name string) (ocispec.Manifest, error) {
	hex := strings.TrimPrefix(name, folderPrefix)
	content, err := os.ReadFile(s.path(name, blobsName, hex))
	if err != nil {
		return ocispec.Manifest{}, err
	}
	if digest.FromBytes(content).Encoded() != hex {
		return ocispec.Manifest{}, errors.New("its manifest has another content")
	}
	return readManifest(content, s.options.Limits)
}

// entries are what is to be in the tree, from layers that have the digests of the manifest.
func (s *Store) entries(name string, m ocispec.Manifest) ([]entry, error) {
	blob := s.blobIn(name)
	for _, layer := range append([]ocispec.Descriptor{m.Config}, m.Layers...) {
		if !sumIs(blob(layer), layer.Digest) {
			return nil, fmt.Errorf("layer %s has another content", short(layer.Digest.String()))
		}
	}
	return makePlan(m, blob, s.options.Limits, true)
}

// rebuild unpacks an artifact anew, from its layers.
func (s *Store) rebuild(name string) error {
	m, err := s.manifest(name)
	if err != nil {
		return err
	}
	entries, err := s.entries(name, m)
	if err != nil {
		return err
	}
	fresh, err := os.MkdirTemp(s.incoming, "again-")
	if err != nil {
		return err
	}
	if err := writeTree(fresh, m, s.blobIn(name), entries, s.options.Limits); err != nil {
		return errors.Join(err, removeTree(fresh))
	}
	old := fresh + "-old"
	// A folder that nobody may write to cannot be given another parent.
	if err := errors.Join(os.Chmod(s.path(name, treeName), 0o700), os.Chmod(fresh, 0o700), os.Rename(s.path(name, treeName), old), os.Rename(fresh, s.path(name, treeName)),
		os.Chmod(s.path(name, treeName), folderMode)); err != nil {
		return err
	}
	if err := removeTree(old); err != nil {
		s.log.Warn("what was changed cannot be removed", "folder", old, "error", err)
	}
	return s.sealed(name)
}

// discard takes an artifact out of the store.
func (s *Store) discard(name string) error {
	s.mu.Lock()
	delete(s.seals, name)
	away, err := os.MkdirTemp(s.incoming, "removed-")
	if err == nil {
		err = os.Rename(s.path(name), filepath.Join(away, name))
	}
	s.mu.Unlock()
	if err != nil {
		return err
	}
	return removeTree(away)
}

// folder is what a plugin gets of an artifact that is here.
func (s *Store) folder(ref Reference, name string) (*Folder, error) {
	m, err := s.manifest(name)
	if err != nil {
		return nil, err
	}
	config, err := os.ReadFile(s.blobIn(name)(m.Config))
	if err != nil {
		return nil, err
	}
	var files []entry
	if m.Annotations[CommandAnnotation] == "" && !isImage(m) {
		if files, err = makePlan(m, s.blobIn(name), s.options.Limits, false); err != nil {
			return nil, err
		}
	}
	command, err := commandOf(m, config, files)
	return &Folder{
		Reference: ref, Manifest: digest.NewDigestFromEncoded(digest.SHA256, strings.TrimPrefix(name, folderPrefix)),
		Root: s.path(name, treeName), Command: command,
	}, err
}

// share takes the lock of an artifact, together with others.
func (s *Store) share(name string) (release func(), err error) {
	s.mu.Lock()
	defer s.mu.Unlock()
	h := s.held[name]
	if h == nil {
		lock, err := privatedir.TryShare(s.path(name))
		if err != nil {
			return nil, err
		}
		if !lock.Stands() {
			return nil, errors.Join(fmt.Errorf("%s is being removed", s.path(name)), lock.Close())
		}
		h = &holding{lock: lock}
		s.held[name] = h
	}
	h.count++
	return func() {
		s.mu.Lock()
		defer s.mu.Unlock()
		if h.count--; h.count == 0 && s.held[name] == h {
			delete(s.held, name)
			h.lock.Close()
		}
	}, nil
}

// fetch pulls an artifact from its registry, and holds it.
func (s *Store) fetch(ctx context.Context, want Want, ref Reference) (name string, release func(), err error) {
	began := time.Now()
	d, done, err := s.download(ctx, want, ref)
	if err != nil {
		return "", nil, err
	}
	defer done()
	s.log.Info("pulling a plugin", "plugin", want.Plugin, "image", ref.String())
	f, err := d.describe(ctx)
	if err != nil {
		return "", nil, err
	}
	name = nameOf(f.manifest.Digest)
	m, err := readManifest(f.bytes, s.options.Limits)
	if err != nil {
		return "", nil, err
	}
	var signatures []signature
	if want.CosignKey != "" { // before anything that it holds is looked at
		if signatures, err = d.signatures(ctx, f.digests()); err != nil {
			return "", nil, err
		}
		if err := check(signatures, want.CosignKey, f.digests()); err != nil {
			return "", nil, err
		}
	}
	folder := filepath.Join(s.incoming, name)
	d.folder = filepath.Join(folder, blobsName)
	if err := os.MkdirAll(d.folder, 0o700); err != nil {
		return "", nil, err
	}
	if err := d.blobs(ctx, m); err != nil {
		if lasting(err) {
			err = errors.Join(err, removeTree(folder))
		}
		return "", nil, err // what has come is gone on with at the next try
	}
	if err := s.unpack(folder, f, m, signatures); err != nil {
		return "", nil, errors.Join(err, removeTree(folder))
	}
	if release, err = s.place(folder, name); err != nil {
		return "", nil, err
	}
	s.pulls.Add(1)
	s.log.Info("the plugin was pulled", "plugin", want.Plugin, "image", ref.String(), "folder", s.path(name), "took", time.Since(began).Round(time.Millisecond))
	return name, release, nil
}

func (s *Store) download(ctx context.Context, want Want, ref Reference) (d *download, done func(), err error) {
	repository, done, err := s.options.Registries.Repository(ctx, ref)
	if err != nil {
		return nil, nil, err
	}
	d = &download{
		repository: repository, ref: ref, limits: s.options.Limits, retries: s.options.retries, log: s.log.With("plugin", want.Plugin),
		progress: want.Progress, nearby: s.nearby, loaded: &s.loaded,
	}
	if d.progress == nil {
		d.progress = func(_, _ int64) {}
	}
	return d, done, nil
}

// nearby finds a layer that another artifact has.
func (s *Store) nearby(of digest.Digest) (string, bool) {
	files, err := filepath.Glob(s.path(folderPrefix+"*", blobsName, of.Encoded()))
	if err != nil || len(files) == 0 {
		return "", false
	}
	return files[0], true
}

// unpack completes a folder that has the layers.
func (s *Store) unpack(folder string, f found, m ocispec.Manifest, signatures []signature) error {
	blobs, tree := filepath.Join(folder, blobsName), filepath.Join(folder, treeName)
	for _, blob := range []struct {
		digest  digest.Digest
		content []byte
	}{{f.top.Digest, f.topBytes}, {f.manifest.Digest, f.bytes}} {
		if err := os.WriteFile(filepath.Join(blobs, blob.digest.Encoded()), blob.content, 0o600); err != nil {
			return err
		}
	}
	if err := writeSignatures(folder, signatures); err != nil {
		return err
	}
	return unpackInto(tree, m, func(blob ocispec.Descriptor) string { return filepath.Join(blobs, blob.Digest.Encoded()) }, s.options.Limits)
}

// unpackInto unpacks layers into a folder that it makes.
func unpackInto(tree string, m ocispec.Manifest, blob func(ocispec.Descriptor) string, limits Limits) error {
	entries, err := makePlan(m, blob, limits, false)
	if err != nil {
		return err
	}
	if err := os.Mkdir(tree, 0o700); err != nil {
		return err
	}
	if err := writeTree(tree, m, blob, entries, limits); err != nil {
		return fmt.Errorf("it cannot be unpacked: %w", err)
	}
	return nil
}

// place puts a complete folder in its place, and holds it. Another host may have been faster: then that one's is taken.
func (s *Store) place(folder, name string) (release func(), err error) {
	if err := os.Chmod(folder, 0o711); err != nil { //nolint:gosec // what a plugin of another user needs
		return nil, err
	}
	lock, err := privatedir.TryShare(folder) // so that no other host takes it for unused
	if err != nil {
		return nil, err
	}
	defer lock.Close()
	moved := s.move(folder, name)
	if moved != nil && s.exists(name) {
		if s.verify(name) == nil {
			release, err = s.share(name)
			return release, errors.Join(err, removeTree(folder))
		}
		moved = errors.Join(s.discard(name), s.move(folder, name))
	}
	if moved != nil {
		return nil, moved
	}
	if release, err = s.share(name); err != nil {
		return nil, err
	}
	if err := s.sealed(name); err != nil {
		release()
		return nil, err
	}
	return release, nil
}

func (s *Store) move(folder, name string) error {
	s.mu.Lock()
	defer s.mu.Unlock()
	delete(s.seals, name)
	return os.Rename(folder, s.path(name))
}

// signed holds an artifact that is here to its key: by the signatures that were kept, or else by those of the registry now.
func (s *Store) signed(ctx context.Context, name, key string, ref Reference) error {
	digests := []digest.Digest{ref.Digest, digest.Digest("sha256:" + strings.TrimPrefix(name, folderPrefix))}
	known := s.signatures(name)
	wrong := check(known, key, digests)
	if wrong == nil {
		return nil
	}
	d, done, err := s.download(ctx, Want{}, ref)
	if err != nil {
		return wrong
	}
	defer done()
	d.retries.tries = 1
	fresh, err := d.signatures(ctx, digests)
	if err != nil {
		return fmt.Errorf("%w; and %w", wrong, err)
	}
	if err := check(fresh, key, digests); err != nil {
		return err
	}
	return writeSignatures(s.path(name), append(fresh, known...)[:min(len(fresh)+len(known), maxSignatures)])
}

func (s *Store) signatures(name string) []signature {
	content, err := os.ReadFile(s.path(name, signaturesName))
	if err != nil {
		return nil
	}
	var known []signature
	if err := json.Unmarshal(content, &known); err != nil {
		return nil
	}
	return known
}

func writeSignatures(folder string, signatures []signature) error {
	content, err := json.Marshal(signatures)
	if err != nil {
		return err
	}
	return writeWhole(filepath.Join(folder, signaturesName), content)
}

// writeWhole writes a file whole or not at all.
func writeWhole(path string, content []byte) error {
	next, err := os.CreateTemp(filepath.Dir(path), ".new-")
	if err != nil {
		return err
	}
	_, err = next.Write(content)
	if err = errors.Join(err, next.Sync(), next.Close()); err == nil {
		err = os.Rename(next.Name(), path)
	}
	if err != nil {
		return errors.Join(err, os.Remove(next.Name()))
	}
	return nil
}

// Stats is what a store has done, and has.
type Stats struct {
	// Pulls and Failures count artifacts that were pulled, and those that could not be.
	Pulls, Failures int64
	// Loaded is how many bytes registries have sent.
	Loaded int64
}

// Stats gives them.
func (s *Store) Stats() Stats {
	return Stats{Pulls: s.pulls.Load(), Failures: s.failures.Load(), Loaded: s.loaded.Load()}
}

// Stored is one artifact in a store.
type Stored struct {
	// Manifest is the digest of the manifest, which the folder is named for.
	Manifest digest.Digest
	// Folder is where its files are.
	Folder string
	// Bytes is what it takes, unpacked and packed.
	Bytes int64
	// Pulled is when it came.
	Pulled time.Time
	// References are those by which it is used, Plugins by whom; both in order. None: it is there for nobody.
	References, Plugins []string
	// Running says that a process of some host holds it.
	Running bool
}

// List gives what the store in a directory has, whoever uses it. It changes nothing.
func List(dir string) ([]Stored, error) {
	folders, err := filepath.Glob(filepath.Join(dir, folderPrefix+"*"))
	if err != nil {
		return nil, err
	}
	uses, err := readUses(dir)
	if err != nil {
		return nil, err
	}
	stored := make([]Stored, 0, len(folders))
	for _, folder := range folders {
		info, err := os.Lstat(folder)
		if errors.Is(err, fs.ErrNotExist) {
			continue
		}
		if err != nil {
			return nil, err
		}
		a := Stored{
			Manifest: digest.Digest("sha256:" + strings.TrimPrefix(filepath.Base(folder), folderPrefix)), Folder: filepath.Join(folder, treeName), Pulled: info.ModTime(),
		}
		if a.Bytes, err = bytesIn(folder); err != nil {
			return nil, err
		}
		for plugin, of := range uses {
			for _, u := range of {
				if u.Manifest == a.Manifest {
					a.Plugins = append(a.Plugins, plugin.plugin)
					a.References = append(a.References, u.pinned())
				}
			}
		}
		slices.Sort(a.Plugins)
		slices.Sort(a.References)
		a.Plugins, a.References = slices.Compact(a.Plugins), slices.Compact(a.References)
		lock, err := privatedir.TryLock(folder)
		a.Running = errors.Is(err, privatedir.ErrHeld)
		if err == nil {
			lock.Close()
		}
		stored = append(stored, a)
	}
	return stored, nil
}

// bytesIn is how much a folder takes; a file with several names counts once.
func bytesIn(folder string) (int64, error) {
	var total int64
	seen := map[uint64]bool{}
	err := filepath.WalkDir(folder, func(_ string, found fs.DirEntry, err error) error {
		if errors.Is(err, fs.ErrNotExist) {
			return nil
		}
		if err != nil || !found.Type().IsRegular() {
			return err
		}
		info, err := found.Info()
		if err != nil {
			return nil //nolint:nilerr // it is gone meanwhile
		}
		if stat, ok := info.Sys().(*syscall.Stat_t); ok {
			if seen[stat.Ino] {
				return nil
			}
			seen[stat.Ino] = true
		}
		total += info.Size()
		return nil
	})
	return total, err
}
