package artifact_test

import (
	"bytes"
	"context"
	"crypto/elliptic"
	"encoding/base64"
	"encoding/json"
	"errors"
	"fmt"
	"io"
	"io/fs"
	"math/rand/v2"
	"net/http"
	"os"
	"path/filepath"
	"runtime"
	"strings"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/opencontainers/go-digest"
	"github.com/opencontainers/image-spec/specs-go"
	ocispec "github.com/opencontainers/image-spec/specs-go/v1"
	"github.com/sigstore/sigstore/pkg/cryptoutils"
	"oras.land/oras-go/v2"
	"oras.land/oras-go/v2/content"

	"github.com/agenthost/agenthost/host/artifact"
	"github.com/agenthost/agenthost/test/registry"
	"github.com/agenthost/agenthost/test/wait"
	"github.com/agenthost/agenthost/tools/publish"
)

// here is the platform of this machine.
var here = ocispec.Platform{OS: runtime.GOOS, Architecture: runtime.GOARCH}

func parse(t *testing.T, text string) artifact.Reference {
	t.Helper()
	ref, err := artifact.Parse(text)
	if err != nil {
		t.Fatalf("%s: %v", text, err)
	}
	return ref
}

// build is a folder with a program and what else it is given.
func build(t *testing.T, files map[string]string) string {
	t.Helper()
	folder := t.TempDir()
	for name, content := range files {
		path := filepath.Join(folder, name)
		if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
			t.Fatal(err)
		}
		if err := os.WriteFile(path, []byte(content), 0o700); err != nil { //nolint:gosec // programs
			t.Fatal(err)
		}
	}
	return folder
}

func push(t *testing.T, to string, files map[string]string, change ...func(*publish.Plugin)) artifact.Reference {
	t.Helper()
	plugin := publish.Plugin{Reference: parse(t, to), Builds: []publish.Build{{Platform: here, Paths: []string{build(t, files)}}}, Progress: io.Discard}
	for _, c := range change {
		c(&plugin)
	}
	pushed, err := plugin.Push(t.Context())
	if err != nil {
		t.Fatal(err)
	}
	return parse(t, pushed.Reference)
}

// noDocker keeps the developer's own credentials out.
func noDocker(t *testing.T) {
	t.Helper()
	t.Setenv("DOCKER_CONFIG", t.TempDir())
}

func open(t *testing.T, dir string, change ...func(*artifact.Options)) *artifact.Store {
	t.Helper()
	options := artifact.Options{Dir: dir, Host: "test"}.Impatient()
	for _, c := range change {
		c(&options)
	}
	store, err := artifact.Open(options)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := store.Close(); err != nil {
			t.Error(err)
		}
	})
	return store
}

// storeDir is a folder for a store, whose read-only folders are removed in the end.
func storeDir(t *testing.T) string {
	t.Helper()
	dir := filepath.Join(t.TempDir(), "artifacts")
	t.Cleanup(func() {
		err := filepath.WalkDir(dir, func(path string, found fs.DirEntry, err error) error {
			if err == nil && found.IsDir() {
				err = os.Chmod(path, 0o700) //nolint:gosec // so that it can be removed
			}
			return err
		})
		if err != nil && !errors.Is(err, fs.ErrNotExist) {
			t.Error(err)
		}
	})
	return dir
}

func pull(t *testing.T, from *artifact.Store, ref artifact.Reference, change ...func(*artifact.Want)) (*artifact.Folder, error) {
	t.Helper()
	want := artifact.Want{Plugin: "p", Reference: ref}
	for _, c := range change {
		c(&want)
	}
	folder, err := from.Pull(t.Context(), want)
	if err == nil {
		t.Cleanup(folder.Release)
	}
	return folder, err
}

func read(t *testing.T, folder *artifact.Folder, name string) string {
	t.Helper()
	content, err := os.ReadFile(filepath.Join(folder.Root, name))
	if err != nil {
		t.Fatal(err)
	}
	return string(content)
}

func mustFail(t *testing.T, err error, want ...string) {
	t.Helper()
	for _, w := range want {
		if err == nil || !strings.Contains(err.Error(), w) {
			t.Errorf("%v, want an error with %q", err, w)
		}
	}
}

func TestAPluginIsPulledKeptAndStartedWithoutItsRegistry(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	ref := push(t, r.Host+"/agents/hello:1", map[string]string{"bin/hello": "one", "data": "two"}, func(p *publish.Plugin) { p.Command = []string{"bin/hello", "-v"} })
	dir := storeDir(t)
	store := open(t, dir)
	var seen, total int64
	folder, err := pull(t, store, ref, func(w *artifact.Want) { w.Progress = func(d, of int64) { seen, total = d, of } })
	if err != nil {
		t.Fatal(err)
	}
	if got := strings.Join(folder.Command, " "); got != "bin/hello -v" || read(t, folder, "bin/hello") != "one" || seen == 0 || seen != total {
		t.Errorf("command %q, %d of %d bytes", got, seen, total)
	}
	if err := os.WriteFile(filepath.Join(folder.Root, "bin/hello"), nil, 0o600); os.Geteuid() != 0 && err == nil {
		t.Error("its files can be written to")
	}
	for name, mode := range map[string]fs.FileMode{".": 0o555, "bin": 0o555, "bin/hello": 0o555} {
		if info, err := os.Stat(filepath.Join(folder.Root, name)); err != nil || info.Mode().Perm() != mode {
			t.Errorf("%s: %v, %v", name, info.Mode(), err)
		}
	}
	folder.Release()
	if err := store.Close(); err != nil {
		t.Fatal(err)
	}

	r.Stop(t)
	store = open(t, dir)
	if folder, err = pull(t, store, ref); err != nil || read(t, folder, "data") != "two" {
		t.Errorf("without the registry: %v", err)
	}
	tag := ref
	tag.Digest = ""
	again, err := store.Resolve(t.Context(), "p", tag)
	if err != nil || again != ref {
		t.Errorf("without the registry the tag is %v, %v", again, err)
	}
	if _, err := store.Resolve(t.Context(), "other", tag); err == nil {
		t.Error("another plugin knows what the tag was")
	}
	_, err = pull(t, store, parse(t, r.Host+"/agents/other:1"))
	mustFail(t, err, r.Host+"/agents/other:1", "connection refused")
}

func TestWhatSomebodyHasChangedIsNoticedAndMadeAnew(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	ref := push(t, r.Host+"/agents/hello:1", map[string]string{"bin/hello": "one", "data": "two"})
	for name, tamper := range map[string]func(tree string) error{
		"another content": func(tree string) error {
			return errors.Join(os.Chmod(tree+"/data", 0o600), os.WriteFile(tree+"/data", []byte("owt"), 0o600), os.Chmod(tree+"/data", 0o555)) //nolint:gosec // as it was
		},
		"another mode": func(tree string) error { return os.Chmod(tree+"/data", 0o755) }, //nolint:gosec // that is the point
		"one more file": func(tree string) error {
			return errors.Join(os.Chmod(tree, 0o700), os.WriteFile(tree+"/evil", nil, 0o600), os.Chmod(tree, 0o555)) //nolint:gosec // that is the point
		},
		"one file less": func(tree string) error {
			return errors.Join(os.Chmod(tree, 0o700), os.Remove(tree+"/data"), os.Chmod(tree, 0o555)) //nolint:gosec // as it was
		},
		"a link in the place of a file": func(tree string) error {
			return errors.Join(os.Chmod(tree, 0o700), os.Remove(tree+"/data"), os.Symlink("/etc/passwd", tree+"/data"), os.Chmod(tree, 0o555)) //nolint:gosec // as it was
		},
	} {
		t.Run(name, func(t *testing.T) {
			dir := storeDir(t)
			store := open(t, dir)
			folder, err := pull(t, store, ref)
			if err != nil {
				t.Fatal(err)
			}
			for _, again := range []bool{false, true} { // within the host's life, and at its next start
				if err := tamper(folder.Root); err != nil {
					t.Fatal(err)
				}
				if again {
					folder.Release()
					if err := store.Close(); err != nil {
						t.Fatal(err)
					}
					store = open(t, dir)
				}
				if folder, err = pull(t, store, ref); err != nil {
					t.Fatal(err)
				}
				if _, err := os.Lstat(folder.Root + "/evil"); read(t, folder, "data") != "two" || err == nil {
					t.Error("it is not as it was")
				}
				if store.Stats().Pulls > 1 {
					t.Error("it was pulled again")
				}
			}
		})
	}
	t.Run("layer and file", func(t *testing.T) {
		dir := storeDir(t)
		store := open(t, dir)
		folder, err := pull(t, store, ref)
		if err != nil {
			t.Fatal(err)
		}
		layers, err := filepath.Glob(filepath.Join(filepath.Dir(folder.Root), "blobs", "*"))
		if err != nil {
			t.Fatal(err)
		}
		for _, layer := range layers {
			if err := os.WriteFile(layer, []byte("{}"), 0o600); err != nil {
				t.Fatal(err)
			}
		}
		if err := os.Chmod(folder.Root+"/data", 0o755); err != nil { //nolint:gosec // that is the point
			t.Fatal(err)
		}
		if folder, err = pull(t, store, ref); err != nil || read(t, folder, "data") != "two" || store.Stats().Pulls != 2 {
			t.Errorf("%v, pulled %d times", err, store.Stats().Pulls)
		}
	})
}

func TestARegistryThatLiesIsFoundOut(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	ref := push(t, r.Host+"/agents/hello:1", map[string]string{"hello": "one"})
	push(t, r.Host+"/agents/hello:2", map[string]string{"hello": "two"})
	instead := func(body string) func(*http.Response) {
		return func(answer *http.Response) {
			answer.Body.Close()
			answer.Body, answer.ContentLength = io.NopCloser(strings.NewReader(body)), int64(len(body))
			answer.Header.Set("Content-Length", fmt.Sprint(len(body)))
			answer.Header.Del("Docker-Content-Digest")
		}
	}
	for name, test := range map[string]struct {
		change func(*http.Response)
		want   string
	}{
		"another index": {func(answer *http.Response) {
			if strings.Contains(answer.Request.URL.Path, "/manifests/"+ref.Digest.String()) && answer.Request.Method == http.MethodGet {
				instead(`{"schemaVersion":2,"mediaType":"` + ocispec.MediaTypeImageIndex + `","manifests":[]}`)(answer) //nolint:bodyclose // whoever asked closes it
			}
		}, "digest"},
		"another manifest": {func(answer *http.Response) {
			if strings.Contains(answer.Request.URL.Path, "/manifests/") && !strings.Contains(answer.Request.URL.Path, ref.Digest.String()) {
				body := strings.Repeat(" ", int(answer.ContentLength))
				instead(body)(answer) //nolint:bodyclose // whoever asked closes it
			}
		}, "sent something else for"},
		"another layer": {func(answer *http.Response) {
			if registry.IsBlob(answer) && answer.ContentLength > 10 {
				instead(strings.Repeat("x", int(answer.ContentLength)))(answer) //nolint:bodyclose // whoever asked closes it
			}
		}, "was asked for, and the registry sent"},
		"a longer layer": {func(answer *http.Response) {
			if registry.IsBlob(answer) && answer.ContentLength > 10 {
				answer.Body = struct {
					io.Reader
					io.Closer
				}{io.MultiReader(answer.Body, strings.NewReader("more")), answer.Body}
				answer.ContentLength = -1
				answer.Header.Del("Content-Length")
			}
		}, "sends more than the"},
	} {
		t.Run(name, func(t *testing.T) {
			proxy := r.Proxy(t, func(answer *http.Response) error {
				test.change(answer)
				return nil
			})
			lying := ref
			lying.Registry = proxy
			dir := storeDir(t)
			store := open(t, dir)
			_, err := pull(t, store, lying)
			mustFail(t, err, test.want, proxy)
			if stored, err := artifact.List(dir); err != nil || len(stored) > 0 {
				t.Errorf("%v, %v are kept", err, stored)
			}
			if store.Stats().Failures != 1 {
				t.Errorf("%d failures", store.Stats().Failures)
			}
		})
	}
}

func TestARegistryThatDiesInTheMiddleIsGoneOnWith(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	noise := make([]byte, 300<<10)
	rand.NewChaCha8([32]byte{}).Read(noise) // it never fails
	ref := push(t, r.Host+"/agents/hello:1", map[string]string{"hello": string(noise)})
	var goneOn atomic.Int64
	ref.Registry = r.Proxy(t, func(answer *http.Response) error {
		if registry.IsBlob(answer) && answer.ContentLength > 20<<10 {
			if answer.StatusCode == http.StatusPartialContent {
				goneOn.Add(1)
			}
			registry.Break(answer, 20<<10)
		}
		return nil
	})
	folder, err := pull(t, open(t, storeDir(t)), ref)
	if err != nil {
		t.Fatal(err)
	}
	if read(t, folder, "hello") != string(noise) || goneOn.Load() < 4 {
		t.Errorf("it was gone on with %d times", goneOn.Load())
	}
}

func TestARegistryThatDiesForGoodIsGivenUpAndGoneOnWithLater(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	ref := push(t, r.Host+"/agents/hello:1", map[string]string{"hello": strings.Repeat("0123456789", 10000)})
	var dead atomic.Bool
	dead.Store(true)
	ref.Registry = r.Proxy(t, func(answer *http.Response) error {
		if registry.IsBlob(answer) && dead.Load() {
			registry.Break(answer, 0)
		}
		return nil
	})
	store := open(t, storeDir(t))
	_, err := pull(t, store, ref)
	mustFail(t, err, "tried 3 times", ref.Registry)
	var explained *artifact.Error
	if !errors.As(err, &explained) || !strings.Contains(explained.Advice, "is up and can be reached") {
		t.Errorf("advice: %+v", explained)
	}
	dead.Store(false)
	if _, err := pull(t, store, ref); err != nil {
		t.Error(err)
	}
}

func TestASlowRegistryIsWaitedForAndOneThatStandsStillIsNot(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	ref := push(t, r.Host+"/agents/hello:1", map[string]string{"hello": "slow"})
	slow, still := ref, ref
	slow.Registry = r.Proxy(t, func(answer *http.Response) error {
		if registry.IsBlob(answer) {
			answer.Body = trickle{answer.Body}
		}
		return nil
	})
	hanging := make(chan struct{})
	t.Cleanup(sync.OnceFunc(func() { close(hanging) }))
	still.Registry = r.Proxy(t, func(answer *http.Response) error {
		if registry.IsBlob(answer) {
			answer.Body = hang{answer.Body, hanging}
		}
		return nil
	})
	if _, err := pull(t, open(t, storeDir(t)), slow); err != nil {
		t.Error(err)
	}
	_, err := pull(t, open(t, storeDir(t)), still)
	mustFail(t, err, "nothing came for 300ms")

	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(errors.New("the generation is retired"))
	_, err = open(t, storeDir(t)).Pull(ctx, artifact.Want{Plugin: "p", Reference: still})
	mustFail(t, err, "")
}

// trickle sends one byte after the other.
type trickle struct{ io.ReadCloser }

func (b trickle) Read(into []byte) (int, error) {
	time.Sleep(2 * time.Millisecond) // it is slow, which is the point
	return b.ReadCloser.Read(into[:1])
}

// hang sends nothing.
type hang struct {
	io.Closer
	until <-chan struct{}
}

func (b hang) Read([]byte) (int, error) {
	<-b.until
	return 0, io.EOF
}

func TestCredentialsAreThoseOfDocker(t *testing.T) {
	r := registry.Start(t, registry.Options{User: "user", Password: "secret"})
	docker := func(t *testing.T, config string) {
		t.Helper()
		folder := t.TempDir()
		t.Setenv("DOCKER_CONFIG", folder)
		if err := os.WriteFile(filepath.Join(folder, "config.json"), []byte(config), 0o600); err != nil {
			t.Fatal(err)
		}
	}
	login := func(password string) string {
		return fmt.Sprintf(`{"auths": {%q: {"auth": %q}}}`, r.Host, base64.StdEncoding.EncodeToString([]byte("user:"+password)))
	}
	docker(t, login("secret"))
	ref := push(t, r.Host+"/agents/hello:1", map[string]string{"hello": "one"})
	if _, err := pull(t, open(t, storeDir(t)), ref); err != nil {
		t.Error(err)
	}
	refused := func(t *testing.T, want string) {
		t.Helper()
		_, err := pull(t, open(t, storeDir(t)), ref)
		var explained *artifact.Error
		if !errors.As(err, &explained) || !strings.Contains(explained.Advice, want) || strings.Contains(err.Error(), "wrong") {
			t.Errorf("%v, advice %+v", err, explained)
		}
	}
	docker(t, login("wrong"))
	refused(t, "docker login "+r.Host)
	docker(t, `{}`)
	refused(t, "docker login "+r.Host)
	docker(t, `{"credHelpers": {"`+r.Host+`": "of-a-test"}}`)
	refused(t, "credential helper")

	helper := filepath.Join(t.TempDir(), "docker-credential-of-a-test")
	if err := os.WriteFile(helper, []byte("#!/bin/sh\nread server\necho '{\"ServerURL\": \"'$server'\", \"Username\": \"user\", \"Secret\": \"secret\"}'\n"), 0o700); err != nil { //nolint:gosec // it is a program
		t.Fatal(err)
	}
	t.Setenv("PATH", filepath.Dir(helper)+":"+os.Getenv("PATH"))
	if _, err := pull(t, open(t, storeDir(t)), ref); err != nil {
		t.Errorf("with a credential helper: %v", err)
	}
}

// keyPair is a pair of cosign's.
func keyPair(t *testing.T) (key *publish.Key, public string) {
	t.Helper()
	folder := t.TempDir()
	password := func(bool) ([]byte, error) { return []byte("pass"), nil }
	private, pub, err := cryptoutils.GeneratePEMEncodedECDSAKeyPair(elliptic.P256(), password)
	if err != nil {
		t.Fatal(err)
	}
	for name, content := range map[string][]byte{"cosign.key": private, "cosign.pub": pub} {
		if err := os.WriteFile(filepath.Join(folder, name), content, 0o600); err != nil {
			t.Fatal(err)
		}
	}
	key, err = publish.ReadKey(filepath.Join(folder, "cosign.key"), func() ([]byte, error) { return []byte("pass"), nil })
	if err != nil {
		t.Fatal(err)
	}
	return key, filepath.Join(folder, "cosign.pub")
}

func TestASignatureIsAskedFor(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	key, public := keyPair(t)
	otherKey, other := keyPair(t)
	signedBy := func(k *publish.Key) func(*publish.Plugin) { return func(p *publish.Plugin) { p.Sign = k } }
	with := func(key string) func(*artifact.Want) { return func(w *artifact.Want) { w.CosignKey = key } }
	signed := push(t, r.Host+"/agents/hello:signed", map[string]string{"hello": "one"}, signedBy(key))
	unsigned := push(t, r.Host+"/agents/hello:unsigned", map[string]string{"hello": "two"})

	dir := storeDir(t)
	store := open(t, dir)
	if _, err := pull(t, store, signed, with(public)); err != nil {
		t.Error(err)
	}
	_, err := pull(t, store, signed, with(other))
	mustFail(t, err, "it is signed, but by none of the keys in "+other)
	_, err = pull(t, open(t, storeDir(t)), signed, with(other))
	mustFail(t, err, "it is signed, but by none of the keys in "+other)
	_, err = pull(t, store, unsigned, with(public))
	mustFail(t, err, "it is not signed")
	if stored, err := artifact.List(dir); err != nil || len(stored) != 1 {
		t.Errorf("%v, there are %v", err, stored)
	}
	_, err = pull(t, store, signed, with(strings.TrimSuffix(public, "pub")+"key"))
	mustFail(t, err, "is a private key")
	_, err = pull(t, store, signed, with("/nowhere"))
	mustFail(t, err, "its cosign_key cannot be read")

	// A signature of something else, put where the one of this is looked for.
	repository, done, err := artifact.Registries{}.Repository(t.Context(), signed)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	at, err := repository.Resolve(t.Context(), artifact.SignatureTag(signed.Digest))
	if err != nil {
		t.Fatal(err)
	}
	if err := repository.Tag(t.Context(), at, artifact.SignatureTag(unsigned.Digest)); err != nil {
		t.Fatal(err)
	}
	_, err = pull(t, store, unsigned, with(public))
	mustFail(t, err, "what is signed is another artifact")

	// Both keys in one file, while one takes the place of the other.
	both := filepath.Join(t.TempDir(), "both.pub")
	var content []byte
	for _, file := range []string{other, public} {
		pem, err := os.ReadFile(file)
		if err != nil {
			t.Fatal(err)
		}
		content = append(content, pem...)
	}
	if err := os.WriteFile(both, content, 0o600); err != nil {
		t.Fatal(err)
	}
	if _, err := pull(t, store, signed, with(both)); err != nil {
		t.Error(err)
	}
	push(t, r.Host+"/agents/hello:signed", map[string]string{"hello": "one"}, signedBy(otherKey))
	if _, err := pull(t, store, signed, with(other)); err != nil {
		t.Errorf("signed again by the other: %v", err)
	}
	if _, err := pull(t, store, signed, with(public)); err != nil {
		t.Errorf("and still by the first: %v", err)
	}
	r.Stop(t)
	if _, err := pull(t, open(t, dir), signed, with(public)); err != nil {
		t.Errorf("without the registry: %v", err)
	}
}

// A bundle of sigstore's, which cosign makes since its version 3, refers to what it signs.
func TestASignatureMayBeABundleThatRefersToTheArtifact(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	key, public := keyPair(t)
	ref := push(t, r.Host+"/agents/hello:1", map[string]string{"hello": "one"})
	repository, done, err := artifact.Registries{}.Repository(t.Context(), ref)
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	subject, err := repository.Resolve(t.Context(), ref.Digest.String())
	if err != nil {
		t.Fatal(err)
	}
	attach := func(predicate string) {
		t.Helper()
		statement, err := json.Marshal(map[string]any{
			"_type": "https://in-toto.io/Statement/v1", "predicateType": predicate, "predicate": map[string]any{},
			"subject": []any{map[string]any{"digest": map[string]string{"sha256": ref.Digest.Encoded()}}},
		})
		if err != nil {
			t.Fatal(err)
		}
		const payloadType = "application/vnd.in-toto+json"
		sum, err := key.Sign(fmt.Appendf(nil, "DSSEv1 %d %s %d %s", len(payloadType), payloadType, len(statement), statement))
		if err != nil {
			t.Fatal(err)
		}
		const bundleType = "application/vnd.dev.sigstore.bundle.v0.3+json"
		bundle, err := json.Marshal(map[string]any{"mediaType": bundleType, "dsseEnvelope": map[string]any{
			"payload": statement, "payloadType": payloadType, "signatures": []any{map[string]any{"sig": sum}},
		}})
		if err != nil {
			t.Fatal(err)
		}
		layer := content.NewDescriptorFromBytes(bundleType, bundle)
		if err := repository.Push(t.Context(), layer, bytes.NewReader(bundle)); err != nil {
			t.Fatal(err)
		}
		if _, err := oras.PackManifest(t.Context(), repository, oras.PackManifestVersion1_1, bundleType, oras.PackManifestOptions{
			Subject: &subject, Layers: []ocispec.Descriptor{layer},
		}); err != nil {
			t.Fatal(err)
		}
	}
	with := func(w *artifact.Want) { w.CosignKey = public }
	attach("https://cosign.sigstore.dev/attestation/vuln/v1") // somebody with the key says something else of it
	_, err = pull(t, open(t, storeDir(t)), ref, with)
	mustFail(t, err, "something else is said of this one")
	attach("https://sigstore.dev/cosign/sign/v1")
	if _, err := pull(t, open(t, storeDir(t)), ref, with); err != nil {
		t.Error(err)
	}
}

func TestWhatNobodyUsesIsRemoved(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	one := push(t, r.Host+"/agents/hello:1", map[string]string{"hello": "one"})
	two := push(t, r.Host+"/agents/hello:2", map[string]string{"hello": "two"})
	dir := storeDir(t)
	mine, others := open(t, dir), open(t, dir, func(o *artifact.Options) { o.Host = "another" })
	first, err := pull(t, mine, one)
	if err != nil {
		t.Fatal(err)
	}
	second, err := pull(t, mine, two)
	if err != nil {
		t.Fatal(err)
	}
	there := func(want ...*artifact.Folder) func() bool {
		return func() bool {
			stored, err := artifact.List(dir)
			if err != nil {
				t.Fatal(err)
			}
			for _, w := range want {
				if _, err := os.Stat(w.Root); err != nil {
					t.Fatalf("%s is gone, which is in use: %v", w.Reference, err)
				}
			}
			return len(stored) == len(want)
		}
	}
	mine.Keep("p", []string{two.String()})
	if _, err := mine.Sweep(); err != nil || !there(first, second)() {
		t.Errorf("%v: the first is held still", err)
	}
	first.Release()
	wait.Until(t, "the first is removed", there(second))

	// Another host needs it too, and is away.
	theirs, err := pull(t, others, two)
	if err != nil {
		t.Fatal(err)
	}
	theirs.Release()
	if err := others.Close(); err != nil {
		t.Fatal(err)
	}
	second.Release()
	mine.Keep("p", nil)
	if _, err := mine.Sweep(); err != nil || !there(second)() {
		t.Errorf("%v: another host needs it", err)
	}
	others = open(t, dir, func(o *artifact.Options) { o.Host = "another" })
	others.KeepOnly([]string{"q"}) // its plugin was taken out of the configuration meanwhile
	wait.Until(t, "the second is removed", there())
}

func TestSeveralThatWantTheSamePullItOnce(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	ref := push(t, r.Host+"/agents/hello:1", map[string]string{"hello": "one"})
	dir := storeDir(t)
	stores := []*artifact.Store{open(t, dir), open(t, dir, func(o *artifact.Options) { o.Host = "another" })}
	var all sync.WaitGroup
	for i := range 8 {
		all.Go(func() {
			folder, err := stores[i%2].Pull(t.Context(), artifact.Want{Plugin: fmt.Sprint("p", i), Reference: ref})
			if err != nil {
				t.Error(err)
				return
			}
			defer folder.Release()
			if content, err := os.ReadFile(folder.Root + "/hello"); err != nil || string(content) != "one" {
				t.Errorf("%s, %v", content, err)
			}
		})
	}
	all.Wait()
	if n := stores[0].Stats().Pulls; n > 1 {
		t.Errorf("one host pulled it %d times", n)
	}
}

func TestAnImageAndAnArtifactForOtherPlatforms(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	_, err := pull(t, open(t, storeDir(t)), push(t, r.Host+"/agents/hello:arm", map[string]string{"hello": "arm"}, func(p *publish.Plugin) {
		p.Builds[0].Platform = ocispec.Platform{OS: "plan9", Architecture: "mips", Variant: "r2000"}
	}))
	mustFail(t, err, "it is for plan9/mips/r2000, and not for "+runtime.GOOS)

	both := push(t, r.Host+"/agents/hello:both", map[string]string{"hello": "other"}, func(p *publish.Plugin) {
		p.Builds[0].Platform = ocispec.Platform{OS: "plan9", Architecture: "mips"}
		p.Builds = append(p.Builds, publish.Build{Platform: here, Paths: []string{build(t, map[string]string{"hello": "ours"})}})
	})
	folder, err := pull(t, open(t, storeDir(t)), both)
	if err != nil || read(t, folder, "hello") != "ours" || strings.Join(folder.Command, " ") != "hello" {
		t.Errorf("%v: %+v", err, folder)
	}

	repository, done, err := artifact.Registries{}.Repository(t.Context(), parse(t, r.Host+"/agents/image:1"))
	if err != nil {
		t.Fatal(err)
	}
	defer done()
	put := func(mediaType string, value any, tag string) ocispec.Descriptor {
		t.Helper()
		text, err := json.Marshal(value)
		if err != nil {
			t.Fatal(err)
		}
		at := content.NewDescriptorFromBytes(mediaType, text)
		if tag != "" {
			err = repository.PushReference(t.Context(), at, bytes.NewReader(text), tag)
		} else {
			err = repository.Push(t.Context(), at, bytes.NewReader(text))
		}
		if err != nil {
			t.Fatal(err)
		}
		return at
	}
	layer := artifact.Layer(t, map[string]string{"app/run": "image"})
	at := content.NewDescriptorFromBytes(ocispec.MediaTypeImageLayer, layer)
	if err := repository.Push(t.Context(), at, bytes.NewReader(layer)); err != nil {
		t.Fatal(err)
	}
	config := put(ocispec.MediaTypeImageConfig, ocispec.Image{Platform: here, Config: ocispec.ImageConfig{Entrypoint: []string{"/app/run"}, Cmd: []string{"-x"}}}, "")
	put(ocispec.MediaTypeImageManifest, ocispec.Manifest{
		Versioned: specs.Versioned{SchemaVersion: 2}, MediaType: ocispec.MediaTypeImageManifest, Config: config, Layers: []ocispec.Descriptor{at},
	}, "1")
	folder, err = pull(t, open(t, storeDir(t)), parse(t, r.Host+"/agents/image:1"))
	if err != nil || read(t, folder, "app/run") != "image" || strings.Join(folder.Command, " ") != "app/run -x" {
		t.Errorf("%v: %+v", err, folder)
	}
}

func TestTheSameFilesAreTheSameArtifact(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	files := map[string]string{"a": "1", "b/c": "2"}
	if one, two := push(t, r.Host+"/a/b:1", files), push(t, r.Host+"/a/b:2", files); one.Digest != two.Digest {
		t.Errorf("%s and %s", one, two)
	}
}

func TestWhatAHostWouldRefuseIsNotPushed(t *testing.T) {
	noDocker(t)
	r := registry.Start(t, registry.Options{})
	folder := build(t, map[string]string{"hello": "x"})
	if err := os.Symlink("/etc/passwd", filepath.Join(folder, "secrets")); err != nil {
		t.Fatal(err)
	}
	plugin := publish.Plugin{Reference: parse(t, r.Host+"/a/b:1"), Builds: []publish.Build{{Platform: here, Paths: []string{folder}}}, Progress: io.Discard}
	_, err := plugin.Push(t.Context())
	mustFail(t, err, `"secrets" is a symbolic link to "/etc/passwd"`)
	plugin.Builds[0].Paths = []string{build(t, map[string]string{"hello": "x"})}
	plugin.Command = []string{"helo"}
	_, err = plugin.Push(t.Context())
	mustFail(t, err, `there is no program "helo"`)
}

func TestAReferenceIsReadAndWritten(t *testing.T) {
	sum := digest.FromString("x").String()
	for _, good := range []string{"registry.example.com/agents/bigquery:1.4", "localhost/a:b", "127.0.0.1:5000/a/b/c@" + sum, "r.example.com:443/a:1@" + sum, "[::1]:5000/a:1"} {
		if ref, err := artifact.Parse(good); err != nil || ref.String() != good {
			t.Errorf("%s: %v, %v", good, ref, err)
		}
	}
	for bad, want := range map[string]string{
		"bigquery:1":             "names no registry",
		"agents/bigquery:1":      "names no registry",
		"r.example.com/a":        "neither a tag nor a digest",
		"r.example.com/a@sha256": "is not a digest",
		"r.example.com/a@sha512:" + strings.Repeat("a", 128): "is not a digest",
		"r.example.com/a@md5:" + strings.Repeat("a", 32):     "is not a digest",
		"r.example.com/A:1":                    "is not a repository",
		"r.example.com/../a:1":                 "is not a repository",
		"r.example.com/a:.":                    "is not a tag",
		"https://r.example.com/a:1":            "",
		"r.example.com/a:1@" + sum + "@" + sum: "is not a digest",
		"":                                     "",
	} {
		if ref, err := artifact.Parse(bad); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("%q: %+v, %v, want an error with %q", bad, ref, err, want)
		}
	}
}
