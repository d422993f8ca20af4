package storage_test

import (
	"bytes"
	"errors"
	"fmt"
	"net/url"
	"os"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/plugins/duckdb/mototest"
	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

func objectsOf(t *testing.T, parameters map[string]map[string]string, uri string) *storage.Bucket {
	t.Helper()
	store, err := storage.New(parameters)
	if err != nil {
		t.Fatal(err)
	}
	objects, err := store.Objects(t.Context(), uri)
	if err != nil {
		t.Fatal(err)
	}
	t.Cleanup(func() {
		if err := objects.Close(); err != nil {
			t.Error(err)
		}
	})
	return objects
}

func wantIs(t *testing.T, what string, err, want error) {
	t.Helper()
	if !errors.Is(err, want) {
		t.Errorf("%s: %v, want %v", what, err, want)
	}
}

// OBJECTS_TEST_URI names another store than moto to try by hand, with OBJECTS_TEST_PARAMETERS as a URL's query: see README.
func TestObjectsAreWrittenUnderConditions(t *testing.T) {
	parameters, uri := otherStore()
	if uri == "" {
		moto := mototest.Start(t)
		parameters, uri = moto.Parameters(), "s3://bucket/a/prefix"
	}
	objects := objectsOf(t, parameters, uri)
	ctx := t.Context()
	_, _, err := objects.Get(ctx, "jobs/x")
	wantIs(t, "Get of none", err, storage.ErrAbsent)
	_, err = objects.Put(ctx, "jobs/x", []byte("1"), "123")
	wantIs(t, "Put in the place of none", err, storage.ErrChanged)
	first, err := objects.Put(ctx, "jobs/x", []byte("1"), storage.None)
	wantIs(t, "the first Put", err, nil)
	_, err = objects.Put(ctx, "jobs/x", []byte("2"), storage.None)
	wantIs(t, "the second first Put", err, storage.ErrChanged)
	data, version, err := objects.Get(ctx, "jobs/x")
	if err != nil || string(data) != "1" || version != first {
		t.Errorf("Get gave %q, %q, %v, want 1 and %q", data, version, err, first)
	}
	second, err := objects.Put(ctx, "jobs/x", []byte("2"), version)
	if err != nil || second == first {
		t.Errorf("the next Put gave %q after %q, %v", second, first, err)
	}
	_, err = objects.Put(ctx, "jobs/x", []byte("3"), first)
	wantIs(t, "a Put in the place of what was replaced", err, storage.ErrChanged)
	if _, err = objects.Put(ctx, "jobs/x", nil, storage.Any); err != nil {
		t.Error(err)
	}
	if data, _, err := objects.Get(ctx, "jobs/x"); err != nil || len(data) > 0 {
		t.Errorf("after an empty Put: %q, %v", data, err)
	}
	large := bytes.Repeat([]byte("0123456789abcdef"), 1<<19) // 8 MiB, in one request
	if _, err := objects.Put(ctx, "jobs/large", large, storage.None); err != nil {
		t.Error(err)
	}
	if data, _, err := objects.Get(ctx, "jobs/large"); err != nil || !bytes.Equal(data, large) {
		t.Errorf("a large one: %d bytes, %v", len(data), err)
	}
	if _, err := objects.Put(ctx, "other", []byte("x"), storage.None); err != nil {
		t.Error(err)
	}
	entries, err := objects.List(ctx, "jobs/")
	if err != nil || len(entries) != 2 || entries[0].Name != "large" || entries[1].Name != "x" || entries[1].Modified.IsZero() {
		t.Errorf("List gave %v, %v", entries, err)
	}
	for range 2 {
		for _, key := range []string{"jobs/x", "jobs/large", "other"} {
			wantIs(t, "Delete", objects.Delete(ctx, key), nil)
		}
	}
	if entries, err := objects.List(ctx, ""); err != nil || len(entries) != 0 {
		t.Errorf("left are %v, %v", entries, err)
	}
}

func otherStore() (parameters map[string]map[string]string, uri string) {
	uri = os.Getenv("OBJECTS_TEST_URI")
	query, err := url.ParseQuery(os.Getenv("OBJECTS_TEST_PARAMETERS"))
	if err != nil {
		panic(err)
	}
	scheme, _, _ := strings.Cut(uri, "://")
	parameters = map[string]map[string]string{scheme: {}}
	for name := range query {
		parameters[scheme][name] = query.Get(name)
	}
	return parameters, uri
}

func TestALongListIsWhole(t *testing.T) {
	moto := mototest.Start(t)
	objects := objectsOf(t, moto.Parameters(), "s3://bucket")
	const many = 1100 // S3 gives 1000 at a time
	for n := range many {
		if _, err := objects.Put(t.Context(), fmt.Sprintf("open/%04d", n), nil, storage.Any); err != nil {
			t.Fatal(err)
		}
	}
	if entries, err := objects.List(t.Context(), "open/"); err != nil || len(entries) != many || entries[many-1].Name != "1099" {
		t.Errorf("%d are listed, %v", len(entries), err)
	}
}
