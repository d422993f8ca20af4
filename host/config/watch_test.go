package config_test

import (
	"context"
	"errors"
	"fmt"
	"maps"
	"os"
	"path/filepath"
	"slices"
	"strings"
	"sync/atomic"
	"syscall"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/host/config"
)

// watching is a Watcher that runs, and what it has reported.
type watching struct {
	*config.Watcher
	t       testing.TB
	reports chan report
	looks   chan struct{}
}

type report struct {
	config *config.Config
	err    error
}

// watch runs a Watcher until the test ends, and returns once it has looked for the first time.
func watch(t testing.TB, sources config.Sources, loaded *config.Config, adjust func(*config.Watcher)) *watching {
	t.Helper()
	w := &watching{Watcher: config.NewWatcher(sources, loaded), t: t, reports: make(chan report, 100), looks: make(chan struct{}, 1000)}
	w.Quiet, w.Poll = 10*time.Millisecond, time.Hour // what is not notified is never seen
	w.OnProblem = func(err error) { t.Errorf("problem: %v", err) }
	w.OnLook(func() { w.looks <- struct{}{} })
	if adjust != nil {
		adjust(w.Watcher)
	}
	ctx, cancel := context.WithCancel(context.Background())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx, func(c *config.Config, err error) { w.reports <- report{c, err} })
	}()
	t.Cleanup(func() {
		cancel()
		<-ended
	})
	if adjust == nil {
		<-w.looks
	}
	return w
}

const maxWait = 30 * time.Second

// next waits for the next report.
func (w *watching) next() report {
	w.t.Helper()
	select {
	case r := <-w.reports:
		return r
	case <-time.After(maxWait):
		w.t.Fatalf("nothing was reported within %s", maxWait)
		return report{}
	}
}

// until waits for a report that has what is wanted, past those of moments in between.
func (w *watching) until(what string, wanted func(report) bool) report {
	w.t.Helper()
	for {
		if r := w.next(); wanted(r) {
			return r
		}
	}
}

func (w *watching) untilPlugin(name string) {
	w.t.Helper()
	w.until(name, func(r report) bool { return r.err == nil && len(r.config.Plugins[name].Command) > 0 })
}

func (w *watching) untilError(text string) {
	w.t.Helper()
	w.until(text, func(r report) bool { return r.err != nil && strings.Contains(r.err.Error(), text) })
}

// silent holds that nothing is reported though the files are looked at again.
func (w *watching) silent(why string) {
	w.t.Helper()
	select {
	case <-w.looks:
	case <-time.After(maxWait):
		w.t.Fatalf("%s: nobody looked", why)
	}
	select {
	case r := <-w.reports:
		w.t.Errorf("%s was reported: %+v", why, r)
	default:
	}
}

// replace writes a file as careful programs do: beside it, then in its place.
func replace(t testing.TB, path, content string) {
	t.Helper()
	overwrite(t, path+".new", content)
	if err := os.Rename(path+".new", path); err != nil {
		t.Fatal(err)
	}
}

func overwrite(t testing.TB, path, content string) {
	t.Helper()
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
}

func must(t testing.TB, err error) {
	t.Helper()
	if err != nil {
		t.Fatal(err)
	}
}

func onePlugin(name string) string { return fmt.Sprintf("plugins: {%s: {command: [x]}}\n", name) }

// kubelet writes a volume as Kubernetes' atomic writer does: the files are links through ..data, which is a link to a
// directory with a time in its name; a new one is made, and the link is replaced by renaming.
func kubelet(t testing.TB, volume, stamp string, files map[string]string) {
	t.Helper()
	dir := filepath.Join(volume, ".."+stamp)
	must(t, os.MkdirAll(dir, 0o755))
	for name, content := range files {
		overwrite(t, filepath.Join(dir, name), content)
	}
	old, _ := os.Readlink(filepath.Join(volume, "..data"))
	must(t, os.Symlink(".."+stamp, filepath.Join(volume, "..data_tmp")))
	must(t, os.Rename(filepath.Join(volume, "..data_tmp"), filepath.Join(volume, "..data")))
	for name := range files {
		if _, err := os.Lstat(filepath.Join(volume, name)); err != nil {
			must(t, os.Symlink(filepath.Join("..data", name), filepath.Join(volume, name)))
		}
	}
	if old != "" {
		must(t, os.RemoveAll(filepath.Join(volume, old)))
	}
}

func TestEveryWayToChangeAFileIsSeen(t *testing.T) {
	for name, change := range map[string]func(t *testing.T, path, content string){
		"written in place":   func(t *testing.T, path, content string) { overwrite(t, path, content) },
		"replaced by rename": func(t *testing.T, path, content string) { replace(t, path, content) },
		"moved to a backup first": func(t *testing.T, path, content string) {
			must(t, os.Rename(path, path+"~"))
			overwrite(t, path, content)
			must(t, os.Remove(path+"~"))
		},
		"removed and put back": func(t *testing.T, path, content string) {
			must(t, os.Remove(path))
			overwrite(t, path, content)
		},
		"removed with its directory and put back": func(t *testing.T, path, content string) {
			must(t, os.RemoveAll(filepath.Dir(path)))
			must(t, os.Mkdir(filepath.Dir(path), 0o755))
			overwrite(t, path, content)
		},
		"removed with the directory above, too": func(t *testing.T, path, content string) {
			above := filepath.Dir(filepath.Dir(path))
			must(t, os.RemoveAll(above))
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			overwrite(t, path, content)
		},
		"its directory replaced by another": func(t *testing.T, path, content string) {
			dir := filepath.Dir(path)
			must(t, os.Mkdir(dir+".new", 0o755))
			overwrite(t, filepath.Join(dir+".new", filepath.Base(path)), content)
			must(t, os.RemoveAll(dir+".old"))
			must(t, os.Rename(dir, dir+".old"))
			must(t, os.Rename(dir+".new", dir))
		},
		"replaced by a link": func(t *testing.T, path, content string) {
			target := filepath.Join(t.TempDir(), "elsewhere.yaml")
			overwrite(t, target, content)
			must(t, os.Remove(path))
			must(t, os.Symlink(target, path))
		},
	} {
		t.Run(name, func(t *testing.T) {
			path := filepath.Join(t.TempDir(), "above", "folder", "host.yaml")
			must(t, os.MkdirAll(filepath.Dir(path), 0o755))
			overwrite(t, path, onePlugin("zero"))
			sources := config.Sources{Files: []string{path}}
			w := watch(t, sources, load(t, sources), nil)
			for _, plugin := range []string{"one", "two"} { // twice: the watch has followed
				change(t, path, onePlugin(plugin))
				w.untilPlugin(plugin)
			}
			overwrite(t, path, onePlugin("three"))
			w.untilPlugin("three")
		})
	}
}

func TestAFileThatIsGoneIsAnErrorUntilItIsBack(t *testing.T) {
	path := filepath.Join(t.TempDir(), "folder", "host.yaml")
	must(t, os.Mkdir(filepath.Dir(path), 0o755))
	overwrite(t, path, onePlugin("one"))
	sources := config.Sources{Files: []string{path}}
	w := watch(t, sources, load(t, sources), nil)

	must(t, os.Remove(path))
	w.untilError(path + ": cannot read the file: no such file or directory")
	overwrite(t, path, onePlugin("one"))
	w.untilPlugin("one") // what it was, and no longer an error

	must(t, os.RemoveAll(filepath.Dir(path)))
	w.untilError("no such file or directory")
	must(t, os.Mkdir(filepath.Dir(path), 0o755))
	overwrite(t, path, onePlugin("two"))
	w.untilPlugin("two")
}

func TestAKubernetesVolumeIsFollowed(t *testing.T) {
	volume, secrets := t.TempDir(), t.TempDir()
	host := func(plugin string) map[string]string {
		return map[string]string{
			"host.yaml": fmt.Sprintf("plugins: {%s: {command: [x], secrets: {k: \"file://%s/k\"}}}\n", plugin, secrets), "more.yaml": "{}\n",
		}
	}
	kubelet(t, secrets, "2026_01", map[string]string{"k": "one"})
	kubelet(t, volume, "2026_01", host("a"))
	sources := config.Sources{Files: []string{filepath.Join(volume, "host.yaml"), filepath.Join(volume, "more.yaml")}}
	w := watch(t, sources, load(t, sources), nil)
	for i := range 5 {
		plugin := fmt.Sprintf("b%d", i)
		kubelet(t, volume, "2026_02_"+plugin, host(plugin))
		if r := w.next(); r.err != nil || len(r.config.Plugins[plugin].Command) == 0 {
			t.Fatalf("after %s: %+v, want it at once, without a moment in between", plugin, r)
		}
	}
	for _, value := range []string{"two", "three"} {
		before := w.current()
		kubelet(t, secrets, "2026_02_"+value, map[string]string{"k": value})
		r := w.next()
		if r.err != nil {
			t.Fatal(r.err)
		}
		want := []string{"b4: swapped: secrets.k (new content in " + secrets + "/k)"}
		if diff := cmp.Diff(want, lines(config.Plan(before, r.config))); diff != "" {
			t.Errorf("(-want +got):\n%s", diff)
		}
	}
}

// current is what a Reload gives, which is what there is.
func (w *watching) current() *config.Config {
	w.t.Helper()
	c, err := w.Reload(context.Background())
	if err != nil {
		w.t.Fatal(err)
	}
	return c
}

func TestWhatPluginsAreMadeOfIsWatchedToo(t *testing.T) {
	folder := t.TempDir()
	artefact, secret := filepath.Join(folder, "bin", "program"), filepath.Join(folder, "token")
	must(t, os.Mkdir(filepath.Dir(artefact), 0o755))
	overwrite(t, artefact, strings.Repeat("1", 2<<20))
	overwrite(t, secret, "one")
	path := filepath.Join(folder, "host.yaml")
	text := fmt.Sprintf("plugins: {a: {command: [x], dir: ., sha256: {bin/program: %064x}, secrets: {k: file://./token}}}\n", 10)
	overwrite(t, path, text)
	sources := config.Sources{Files: []string{path}}
	loaded := load(t, sources)
	if diff := cmp.Diff([]string{artefact, secret}, loaded.WatchedFiles()); diff != "" {
		t.Fatal(diff)
	}
	w := watch(t, sources, loaded, nil)

	replace(t, artefact, strings.Repeat("2", 2<<20))
	if r := w.next(); r.err != nil || len(r.config.Plugins) != 1 {
		t.Errorf("artefact: %+v", r)
	}
	overwrite(t, secret, "two")
	if r := w.next(); r.err != nil || len(r.config.Plugins) != 1 {
		t.Errorf("secret: %+v", r)
	}
	must(t, os.Remove(secret)) // the configuration is as sound as before: the plugin will say what it misses
	if r := w.next(); r.err != nil || len(r.config.Plugins) != 1 {
		t.Errorf("removed secret: %+v", r)
	}

	// A file that a later configuration names is watched from then on, though its directory comes later still.
	late := filepath.Join(folder, "later", "ca.pem")
	overwrite(t, path, text+"  # more\n")
	w.next()
	overwrite(t, path, fmt.Sprintf("plugins: {a: {address: [\"h:1\"], tls_ca: %s}}\n", late))
	w.next()
	must(t, os.Mkdir(filepath.Dir(late), 0o755))
	overwrite(t, late, "one")
	if r := w.next(); r.err != nil || !r.config.Plugins["a"].Remote() {
		t.Errorf("late: %+v", r)
	}
}

func TestTheSameContentOnceMoreIsNoChange(t *testing.T) {
	path := write(t, "host.yaml", onePlugin("one"))
	sources := config.Sources{Files: []string{path}}
	w := watch(t, sources, load(t, sources), nil)
	overwrite(t, path, onePlugin("one"))
	w.silent("the same bytes in place")
	replace(t, path, onePlugin("one"))
	w.silent("the same bytes in another file")
	must(t, os.Chtimes(path, time.Now(), time.Now()))
	w.silent("a new time stamp")
}

func TestOtherFilesOfTheDirectoryDoNotMatter(t *testing.T) {
	path := write(t, "host.yaml", onePlugin("one"))
	sources := config.Sources{Files: []string{path}}
	w := watch(t, sources, load(t, sources), nil)
	overwrite(t, filepath.Join(filepath.Dir(path), "other.yaml"), "x")
	overwrite(t, path, onePlugin("one"))
	w.silent("another file")
	if extra := len(w.looks); extra > 0 {
		t.Errorf("%d looks more than needed", extra)
	}
}

func TestABadFileIsReportedOnceAndTheNextGoodOneToo(t *testing.T) {
	path := write(t, "host.yaml", onePlugin("one"))
	sources := config.Sources{Files: []string{path}}
	w := watch(t, sources, load(t, sources), nil)
	overwrite(t, path, "plugins:\n  a: {comand: [x]}\n")
	r := w.next()
	var errs config.Errors
	if r.config != nil || !errors.As(r.err, &errs) || errs[0].Line != 2 || errs[0].Key != "plugins.a.comand" {
		t.Errorf("got %+v, want the line and key", r)
	}
	for len(w.looks) > 0 {
		<-w.looks
	}
	must(t, os.Chtimes(path, time.Now(), time.Now()))
	w.silent("the same mistake")
	replace(t, path, onePlugin("one"))
	w.untilPlugin("one")
}

func TestAFileThatWasEmptiedIsHalfWrittenForAsLongAsItStaysSo(t *testing.T) {
	path := write(t, "host.yaml", onePlugin("one"))
	sources := config.Sources{Files: []string{path}}
	w := watch(t, sources, load(t, sources), nil)
	overwrite(t, path, "")
	w.untilError("the file is empty, and was not before")
	overwrite(t, path, "\n\n")
	w.untilError("the file is empty, and was not before")
	overwrite(t, path, "plugins: {}\n")
	if r := w.next(); r.err != nil || len(r.config.Plugins) != 0 {
		t.Errorf("no plugins, and meant: %+v", r)
	}
}

// A file that is written slowly, with a look in the middle of it, is never read in halves.
func TestAHalfWrittenFileIsNotRead(t *testing.T) {
	path := write(t, "host.yaml", onePlugin("one"))
	sources := config.Sources{Files: []string{path}}
	halves := []string{"plugins:\n  two:\n    comm", "plugins:\n  two:\n    command: [", "plugins:\n  two:\n    command: [x]\n    dir: /two\n"}
	looks := 0
	w := watch(t, sources, load(t, sources), func(w *config.Watcher) {
		w.OnLook(func() { // on the Watcher's own goroutine: the next look comes after it
			if looks < len(halves) {
				overwrite(t, path, halves[looks])
			}
			looks++
		})
	})
	if r := w.next(); r.err != nil || r.config.Plugins["two"].Dir != "/two" {
		t.Errorf("got %+v %v, want the whole file", r.config, r.err)
	}
}

func TestAFileThatNeverRestsIsReadAllTheSame(t *testing.T) {
	path := write(t, "host.yaml", onePlugin("one"))
	sources := config.Sources{Files: []string{path}}
	looks := 0
	w := watch(t, sources, load(t, sources), func(w *config.Watcher) {
		w.MaxWait = 100 * time.Millisecond
		w.OnLook(func() {
			looks++
			overwrite(t, path, onePlugin("two")+strings.Repeat("#", looks)+"\n")
		})
	})
	w.untilPlugin("two")
}

func TestWhatIsNotNotifiedIsSeenByThePoll(t *testing.T) {
	folder := t.TempDir()
	path, secret, artefact := filepath.Join(folder, "host.yaml"), filepath.Join(folder, "k"), filepath.Join(folder, "artefact")
	overwrite(t, path, fmt.Sprintf("plugins: {a: {command: [x], secrets: {k: file://./k}, sha256: {./artefact: %064x}}}\n", 10))
	// What follows is as long as before and made to look as old.
	put := func(path, content string, stamp time.Time) {
		overwrite(t, path, content)
		must(t, os.Chtimes(path, stamp, stamp))
	}
	now := time.Now()
	put(secret, "one", now.Add(-time.Hour))
	put(artefact, strings.Repeat("1", 2<<20), now.Add(time.Hour))
	sources := config.Sources{Files: []string{path}}
	w := watch(t, sources, load(t, sources), func(w *config.Watcher) {
		w.Blind()
		w.Poll = 20 * time.Millisecond
		w.OnLook(nil)
	})
	before := w.current()
	put(secret, "two", now.Add(-time.Hour)) // a small file is read whatever it looks like
	w.until("secret", func(r report) bool { return r.config.Fingerprint("a") != before.Fingerprint("a") })
	before = w.current()
	put(artefact, strings.Repeat("2", 2<<20), now.Add(time.Hour)) // a large one because it looks as if it might still be changing
	w.until("artefact", func(r report) bool { return r.config.Fingerprint("a") != before.Fingerprint("a") })
	overwrite(t, path, onePlugin("b"))
	w.untilPlugin("b")
}

func TestAProblemOfTheSystemIsToldOnceAndSoIsItsEnd(t *testing.T) {
	path := write(t, "host.yaml", onePlugin("one"))
	sources := config.Sources{Files: []string{path}}
	var usedUp atomic.Bool
	usedUp.Store(true)
	told := make(chan error, 100)
	w := watch(t, sources, load(t, sources), func(w *config.Watcher) {
		w.Poll = 10 * time.Millisecond
		w.OnProblem = func(err error) { told <- err }
		w.OnNotify(func() error {
			if usedUp.Load() {
				return syscall.EMFILE
			}
			return nil
		})
	})
	for range 10 {
		<-w.looks
	}
	overwrite(t, path, onePlugin("two"))
	w.untilPlugin("two") // by the poll
	if first := <-told; !errors.Is(first, syscall.EMFILE) || len(told) != 0 {
		t.Errorf("told %v, and %d more", first, len(told))
	}
	usedUp.Store(false)
	if end := <-told; end != nil {
		t.Errorf("told %v at its end", end)
	}
	for range 10 {
		<-w.looks
	}
	if len(told) != 0 {
		t.Errorf("told %v when all was well", <-told)
	}
}

func TestAChangeBetweenLoadingAndWatchingIsSeen(t *testing.T) {
	path := write(t, "host.yaml", onePlugin("one"))
	sources := config.Sources{Files: []string{path}}
	loaded := load(t, sources)
	overwrite(t, path, onePlugin("two"))
	watch(t, sources, loaded, nil).untilPlugin("two")
}

func TestReloadReadsAtOnceAndIsNotReportedAgain(t *testing.T) {
	path := write(t, "host.yaml", onePlugin("one"))
	sources := config.Sources{Files: []string{path}}
	w := watch(t, sources, load(t, sources), nil)
	overwrite(t, path, onePlugin("two"))
	if c, err := w.Peek(t.Context()); err != nil || len(c.Plugins["two"].Command) == 0 {
		t.Errorf("Peek: %+v, %v", c, err)
	}
	w.untilPlugin("two") // a peek has no consequences

	w = watch(t, sources, load(t, sources), func(w *config.Watcher) { w.Quiet = time.Hour }) // only Reload sees anything
	before := w.current()
	for _, plugin := range []string{"three", "three", "four"} {
		overwrite(t, path, onePlugin(plugin))
		c, err := w.Reload(t.Context())
		if err != nil || len(c.Plugins[plugin].Command) == 0 {
			t.Fatalf("Reload: %+v, %v", c, err)
		}
		if !before.OlderThan(c) || c.OlderThan(before) || c.OlderThan(c) {
			t.Errorf("%s is not newer than what was read before it", plugin)
		}
		before = c
	}
	overwrite(t, path, "x")
	var errs config.Errors
	if c, err := w.Reload(t.Context()); c != nil || !errors.As(err, &errs) {
		t.Errorf("Reload of a bad file: %+v, %v", c, err)
	}
	if len(w.reports) > 0 {
		t.Errorf("reported as well: %+v", <-w.reports)
	}
}

func TestReloadWithoutRunEndsWithItsContext(t *testing.T) {
	sources := config.Sources{Files: []string{write(t, "host.yaml", onePlugin("one"))}}
	w := config.NewWatcher(sources, load(t, sources))
	ctx, cancel := context.WithCancel(t.Context())
	cancel()
	if _, err := w.Reload(ctx); !errors.Is(err, context.Canceled) {
		t.Errorf("got %v", err)
	}
}

// Whatever is done to the files, in whatever order: what is there in the end is what is reported last.
func TestTheLastReportIsWhatIsThere(t *testing.T) {
	round := 0
	rapid.Check(t, func(rt *rapid.T) {
		round++
		root, err := os.MkdirTemp(t.TempDir(), "")
		must(t, err)
		real1, real2 := filepath.Join(root, "real1"), filepath.Join(root, "real2")
		link := filepath.Join(root, "link") // to a directory, and the way to the file
		for _, dir := range []string{real1, real2} {
			must(t, os.Mkdir(dir, 0o755))
			overwrite(t, filepath.Join(dir, "host.yaml"), onePlugin("start"))
		}
		must(t, os.Symlink("real1", link))
		path := filepath.Join(link, "host.yaml")
		sources := config.Sources{Files: []string{path}}
		w := watchIn(t, rt, sources)
		point := func(to string) {
			must(t, os.Symlink(to, link+".new"))
			must(t, os.Rename(link+".new", link))
		}
		text := func() string {
			return rapid.SampledFrom([]string{"", "x", "plugins: {", onePlugin("a"), onePlugin("b")}).Draw(rt, "text")
		}
		ops := map[string]func(){
			"write":   func() { _ = os.WriteFile(path, []byte(text()), 0o600) }, // not where the directory is gone
			"replace": func() { _ = os.WriteFile(path+".new", []byte(text()), 0o600); _ = os.Rename(path+".new", path) },
			"remove":  func() { _ = os.Remove(path) },
			"point":   func() { point(rapid.SampledFrom([]string{"real1", "real2", "nowhere"}).Draw(rt, "to")) },
			"clear":   func() { must(t, os.RemoveAll(real1)) },
			"make":    func() { must(t, os.MkdirAll(real1, 0o755)) },
			"look": func() {
				select {
				case <-w.looks:
				case <-time.After(15 * time.Millisecond): // an operation that was none has nobody look
				}
			},
		}
		for range rapid.IntRange(1, 8).Draw(rt, "operations") {
			ops[rapid.SampledFrom(slices.Sorted(maps.Keys(ops))).Draw(rt, "operation")]()
		}
		must(t, os.MkdirAll(real1, 0o755))
		point("real1")
		last := fmt.Sprintf("last%d", round)
		replace(t, path, onePlugin(last))
		w.untilPlugin(last)
	})
}

// watchIn is watch that ends with one example of rapid.
func watchIn(t *testing.T, rt *rapid.T, sources config.Sources) *watching {
	w := &watching{t: t, reports: make(chan report, 100), looks: make(chan struct{}, 1000)}
	w.Watcher = config.NewWatcher(sources, load(t, sources))
	w.Quiet, w.Poll = 2*time.Millisecond, time.Hour
	w.OnLook(func() {
		select {
		case w.looks <- struct{}{}:
		default:
		}
	})
	ctx, cancel := context.WithCancel(t.Context())
	ended := make(chan struct{})
	go func() {
		defer close(ended)
		w.Run(ctx, func(c *config.Config, err error) { w.reports <- report{c, err} })
	}()
	rt.Cleanup(func() {
		cancel()
		<-ended
	})
	return w
}
