package storage_test

import (
	"bytes"
	"context"
	"errors"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
	"github.com/agenthost/agenthost/plugins/duckdb/mototest"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

func open(t *testing.T, parameters map[string]map[string]string) *storage.Storage {
	t.Helper()
	s, err := storage.New(parameters)
	if err != nil {
		t.Fatal(err)
	}
	return s
}

func write(t *testing.T, dir, name, content string) string {
	t.Helper()
	path := filepath.Join(dir, name)
	if err := os.MkdirAll(filepath.Dir(path), 0o700); err != nil {
		t.Fatal(err)
	}
	if err := os.WriteFile(path, []byte(content), 0o600); err != nil {
		t.Fatal(err)
	}
	return path
}

func paths(objects []storage.Object) []string {
	var found []string
	for _, o := range objects {
		found = append(found, o.Path)
	}
	return found
}

// The files that writers of datasets leave, and what counts as data of them.
var (
	written = []string{"00000", "k=1/00001", "_SUCCESS", ".00000.crc", "_delta_log/0.json", ".csv", "k=1/_x"}
	data    = []string{".csv", "00000", "k=1/00001"}
)

func TestLocalAndRemoteDirectoriesListTheSameData(t *testing.T) {
	moto := mototest.Start(t)
	dir := t.TempDir()
	for _, name := range written {
		write(t, dir, "sub/"+name, name)
		moto.Put(t, "some/sub/"+name, []byte(name))
	}
	moto.Put(t, "some/sub/", nil)
	moto.Put(t, "some/subordinate", nil)
	s := open(t, moto.Parameters())
	for _, uri := range []string{dir + "/sub", "file://" + dir + "/sub/", "s3://bucket/some/sub", "s3a://bucket/some/sub/"} {
		objects, err := s.List(t.Context(), uri)
		if err != nil {
			t.Fatal(err)
		}
		if diff := cmp.Diff(data, paths(objects)); diff != "" {
			t.Errorf("%s: %s", uri, diff)
		}
		for _, o := range objects {
			at := o.Local
			if at == "" {
				at = filepath.Join(t.TempDir(), "deep", "copy")
				if err := s.Download(t.Context(), o, at); err != nil {
					t.Fatal(err)
				}
			}
			if content, err := os.ReadFile(at); err != nil || string(content) != o.Path || o.Size != int64(len(content)) {
				t.Errorf("%s of %s holds %q, %v; listed with %d bytes", o.Path, uri, content, err, o.Size)
			}
		}
	}
	for _, uri := range []string{dir + "/sub/00000", "s3://bucket/some/sub/00000"} {
		if objects, err := s.List(t.Context(), uri); err != nil || !cmp.Equal(paths(objects), []string{"00000"}) {
			t.Errorf("%s: %v, %v", uri, objects, err)
		}
	}
}

func TestUploadsAreReadBack(t *testing.T) {
	moto := mototest.Start(t)
	s := open(t, moto.Parameters())
	dir := t.TempDir()
	// Larger than one part of an upload.
	content := bytes.Repeat([]byte("0123456789abcdef"), 1<<19)
	file := write(t, dir, "result", string(content))
	for _, uri := range []string{"s3://bucket/out/a/00000", dir + "/out/a/00000", "file://" + dir + "/out/b/00000"} {
		for range 2 { // the second time over the first
			if err := s.Upload(t.Context(), file, uri); err != nil {
				t.Fatal(err)
			}
		}
	}
	if !bytes.Equal(moto.Get(t, "out/a/00000"), content) {
		t.Error("what was uploaded differs")
	}
	for _, name := range []string{"a", "b"} {
		got, err := os.ReadFile(filepath.Join(dir, "out", name, "00000"))
		if err != nil || !bytes.Equal(got, content) {
			t.Errorf("what was written differs, %v", err)
		}
		if left, _ := os.ReadDir(filepath.Join(dir, "out", name)); len(left) != 1 {
			t.Errorf("left: %v", left)
		}
	}
}

func TestFailuresSayWhetherTryingAgainHelps(t *testing.T) {
	moto := mototest.Start(t)
	here := open(t, moto.Parameters())
	dir := t.TempDir()
	file := write(t, dir, "file", "x")
	list := func(s *storage.Storage, uri string) error {
		_, err := s.List(t.Context(), uri)
		return err
	}
	broken := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		switch {
		case strings.Contains(r.URL.Path, "secret"):
			w.WriteHeader(http.StatusForbidden)
		case strings.Contains(r.URL.Path, "elsewhere"):
			w.WriteHeader(http.StatusMovedPermanently)
		case strings.Contains(r.URL.Path, "stranger"):
			w.WriteHeader(http.StatusForbidden)
			_, _ = w.Write([]byte("<Error><Code>InvalidAccessKeyId</Code></Error>"))
		default:
			w.Header().Set("X-Amz-Request-Id", "4F301")
			w.WriteHeader(http.StatusServiceUnavailable)
		}
	}))
	defer broken.Close()
	away := open(t, map[string]map[string]string{"s3": {"endpoint": broken.URL, "region": "us-east-1"}})
	gone := httptest.NewServer(nil)
	gone.Close()
	nobody := open(t, map[string]map[string]string{"s3": {"endpoint": gone.URL, "region": "us-east-1"}})
	misnamed := open(t, map[string]map[string]string{"s3": {"nonsense": "1"}})

	for _, c := range []struct {
		err       error
		retryable bool
		want      string
	}{
		{list(here, "s3://bucket/absent"), false, "s3://bucket/absent"},
		{list(here, "s3://no-such-bucket/x"), false, "s3://no-such-bucket/x"},
		{here.Upload(t.Context(), file, "s3://no-such-bucket/x"), false, "s3://no-such-bucket/x"},
		{list(here, filepath.Join(dir, "absent")), false, "absent"},
		{list(here, "http://host/x"), false, "http://"},
		{list(here, "relative"), false, "relative"},
		{here.Upload(t.Context(), file, file+"/below"), false, "below"},
		{list(away, "s3://bucket/x"), true, "s3://bucket/x"},
		{here.Upload(t.Context(), file, "s3://no-such-bucket/part-301"), false, "no such bucket"},
		{list(nobody, "s3://bucket/part-301"), true, "connection refused"}, // gocloud.dev takes it for a missing bucket
		{nobody.Upload(t.Context(), file, "s3://bucket/part-301"), true, "connection refused"},
		{list(away, "s3://secret/x/"), false, "do not allow it"},
		{list(away, "s3://elsewhere/x"), false, "no such bucket"},
		{list(away, "s3://stranger/x/"), false, "InvalidAccessKeyId"},
		{list(misnamed, "s3://bucket/x"), false, "storage.s3"},
	} {
		var failure *fault.Error
		if !errors.As(c.err, &failure) || failure.Retryable != c.retryable || !strings.Contains(failure.Message, c.want) {
			t.Errorf("got %v, want retryable %v and %q", c.err, c.retryable, c.want)
		}
	}
}

func TestACancelledTransferStopsWithItsCauseAndLeavesNothing(t *testing.T) {
	moto := mototest.Start(t)
	moto.Put(t, "big", bytes.Repeat([]byte("x"), 1<<20))
	s := open(t, moto.Parameters())
	objects, err := s.List(t.Context(), "s3://bucket/big")
	if err != nil {
		t.Fatal(err)
	}
	why := errors.New("enough")
	ctx, cancel := context.WithCancelCause(t.Context())
	cancel(why)
	to := filepath.Join(t.TempDir(), "copy")
	if err := s.Download(ctx, objects[0], to); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if _, err := os.Stat(to); !errors.Is(err, os.ErrNotExist) {
		t.Errorf("a part was left: %v", err)
	}
	if err := s.Upload(ctx, write(t, t.TempDir(), "file", "x"), "s3://bucket/new"); !errors.Is(err, why) {
		t.Errorf("got %v", err)
	}
	if objects, err := s.List(t.Context(), "s3://bucket/new"); err == nil {
		t.Errorf("a cancelled upload made %v", objects)
	}
}

func TestAnObjectIsReadUpToALimit(t *testing.T) {
	moto := mototest.Start(t)
	moto.Put(t, "value.pb", []byte("0123456789"))
	file := write(t, t.TempDir(), "_value.pb", "0123456789") // a name that no data of a directory has
	s := open(t, moto.Parameters())
	for _, uri := range []string{"s3://bucket/value.pb", file, "file://" + file} {
		for most, want := range map[int64]string{20: "0123456789", 10: "0123456789", 9: "0123456789", 4: "01234"} {
			if got, err := s.Read(t.Context(), uri, most); err != nil || string(got) != want {
				t.Errorf("%s, at most %d: %q, %v", uri, most, got, err)
			}
		}
	}
	for _, uri := range []string{"s3://bucket/absent", file + "-absent", filepath.Dir(file), "http://host/x", "/dev/null"} {
		data, err := s.Read(t.Context(), uri, 10)
		var failure *fault.Error
		if !errors.As(err, &failure) || failure.Retryable {
			t.Errorf("%s: %q, %v", uri, data, err)
		}
	}
}

func TestUrisAreReadAsFlyteWritesThem(t *testing.T) {
	for uri, want := range map[string][3]string{
		"/a/b":                                  {"file", "", "/a/b"},
		"/a/../b/":                              {"file", "", "/b"},
		"file:///a b":                           {"file", "", "/a b"},
		"file://localhost/a":                    {"file", "", "/a"},
		"s3://b/k/l":                            {"s3", "b", "k/l"},
		"s3a://b/k":                             {"s3", "b", "k"},
		"gs://b/k":                              {"gs", "b", "k"},
		"gcs://b/k":                             {"gs", "b", "k"},
		"azblob://c/k":                          {"azblob", "c", "k"},
		"az://c/k":                              {"azblob", "c", "k"},
		"abfs://c/k":                            {"azblob", "c", "k"},
		"abfss://c@acc.dfs.core.windows.net/k/": {"azblob", "c", "k/"},
	} {
		got, err := storage.Parse(uri)
		if err != nil || [3]string{got.Scheme, got.Bucket, got.Path} != want || got.String() != uri {
			t.Errorf("Parse(%q) = %+v, %v", uri, got, err)
		}
	}
	for _, uri := range []string{"", "a/b", "file://a", "s3:///k", "https://host/x", "ftp://x/y"} {
		if got, err := storage.Parse(uri); err == nil {
			t.Errorf("Parse(%q) = %+v", uri, got)
		}
	}
	if _, err := storage.New(map[string]map[string]string{"ftp": nil}); err == nil {
		t.Error("parameters for an unknown scheme were taken")
	}
}
