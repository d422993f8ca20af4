package storage_test

import (
	"encoding/base64"
	"encoding/binary"
	"encoding/json"
	"fmt"
	"hash/crc32"
	"io"
	"mime"
	"mime/multipart"
	"net/http"
	"net/http/httptest"
	"strconv"
	"strings"
	"sync"
	"testing"

	"github.com/agenthost/agenthost/plugins/duckdb/storage"
)

// cloud answers as Google's and Azure's documentation of conditional writes says, for one object.
type cloud struct {
	mu         sync.Mutex
	data       []byte
	generation int // 0: there is none
}

// google is its JSON API: ifGenerationMatch, where 0 is none, and 412.
func (c *cloud) google(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	if r.Method == http.MethodPost {
		if want := r.URL.Query().Get("ifGenerationMatch"); want != "" && want != strconv.Itoa(c.generation) {
			http.Error(w, `{"error":{"code":412,"message":"conditionNotMet"}}`, http.StatusPreconditionFailed)
			return
		}
		_, parameters, err := mime.ParseMediaType(r.Header.Get("Content-Type"))
		if err != nil {
			http.Error(w, err.Error(), http.StatusBadRequest)
			return
		}
		parts := multipart.NewReader(r.Body, parameters["boundary"])
		for range 2 { // the object's description, then its content
			part, err := parts.NextPart()
			if err == nil {
				c.data, err = io.ReadAll(part)
			}
			if err != nil {
				http.Error(w, err.Error(), http.StatusBadRequest)
				return
			}
		}
		c.generation++
		w.Header().Set("Content-Type", "application/json")
		sum := binary.BigEndian.AppendUint32(nil, crc32.Checksum(c.data, crc32.MakeTable(crc32.Castagnoli)))
		_ = json.NewEncoder(w).Encode(map[string]string{
			"name": "jobs/x", "bucket": "bucket", "generation": strconv.Itoa(c.generation), "crc32c": base64.StdEncoding.EncodeToString(sum),
		})
		return
	}
	if c.generation == 0 {
		http.Error(w, "no such object", http.StatusNotFound)
		return
	}
	w.Header().Set("X-Goog-Generation", strconv.Itoa(c.generation))
	_, _ = w.Write(c.data)
}

// azure is its REST API: If-None-Match: * and 409, If-Match and 412.
func (c *cloud) azure(w http.ResponseWriter, r *http.Request) {
	c.mu.Lock()
	defer c.mu.Unlock()
	tag := fmt.Sprintf("%q", "0x8D"+strconv.Itoa(c.generation))
	fail := func(code string, status int) {
		w.Header().Set("X-Ms-Error-Code", code)
		w.WriteHeader(status)
	}
	if r.Method == http.MethodPut {
		body, err := io.ReadAll(r.Body)
		switch match := r.Header.Get("If-Match"); {
		case err != nil:
			fail("InvalidInput", http.StatusBadRequest)
		case r.Header.Get("If-None-Match") == "*" && c.generation > 0:
			fail("BlobAlreadyExists", http.StatusConflict)
		case match != "" && (c.generation == 0 || match != tag):
			fail("ConditionNotMet", http.StatusPreconditionFailed)
		default:
			c.data = body
			c.generation++
			w.Header().Set("ETag", fmt.Sprintf("%q", "0x8D"+strconv.Itoa(c.generation)))
			w.WriteHeader(http.StatusCreated)
		}
		return
	}
	if c.generation == 0 {
		fail("BlobNotFound", http.StatusNotFound)
		return
	}
	w.Header().Set("ETag", tag)
	w.Header().Set("Last-Modified", "Thu, 01 Jan 2026 00:00:00 GMT")
	_, _ = w.Write(c.data)
}

func TestEachCloudIsToldTheConditionInItsOwnWords(t *testing.T) {
	t.Setenv("AZURE_STORAGE_ACCOUNT", "devstoreaccount1")
	t.Setenv("AZURE_STORAGE_KEY", "a2V5")
	for name, handler := range map[string]func(*cloud) http.HandlerFunc{
		"gs":     func(c *cloud) http.HandlerFunc { return c.google },
		"azblob": func(c *cloud) http.HandlerFunc { return c.azure },
	} {
		t.Run(name, func(t *testing.T) {
			server := httptest.NewServer(handler(&cloud{}))
			defer server.Close()
			host := strings.TrimPrefix(server.URL, "http://")
			t.Setenv("STORAGE_EMULATOR_HOST", host)
			parameters := map[string]map[string]string{
				"gs":     {"anonymous": "true"},
				"azblob": {"protocol": "http", "domain": host, "localemu": "true"},
			}
			objects := objectsOf(t, parameters, name+"://bucket/some/prefix")
			ctx := t.Context()
			_, _, err := objects.Get(ctx, "jobs/x")
			wantIs(t, "Get of none", err, storage.ErrAbsent)
			first, err := objects.Put(ctx, "jobs/x", []byte("1"), storage.None)
			wantIs(t, "the first Put", err, nil)
			_, err = objects.Put(ctx, "jobs/x", []byte("2"), storage.None)
			wantIs(t, "the second first Put", err, storage.ErrChanged)
			data, version, err := objects.Get(ctx, "jobs/x")
			if err != nil || string(data) != "1" || version != first || version == "" {
				t.Fatalf("Get gave %q, %q, %v, want 1 and %q", data, version, err, first)
			}
			second, err := objects.Put(ctx, "jobs/x", []byte("2"), version)
			if err != nil || second == first {
				t.Errorf("the next Put gave %q after %q, %v", second, first, err)
			}
			_, err = objects.Put(ctx, "jobs/x", []byte("3"), first)
			wantIs(t, "a Put in the place of what was replaced", err, storage.ErrChanged)
			if _, err := objects.Put(ctx, "jobs/x", []byte("4"), storage.Any); err != nil {
				t.Error(err)
			}
		})
	}
}
