package features

import (
	"io"
	"maps"
	"net/http"
	"net/http/httptest"
	"slices"
	"sync"
)

// bucket takes what is put into it as S3 does, with every name that a bucket may have, and has nothing else.
type bucket struct {
	*httptest.Server
	mu      sync.Mutex
	objects map[string]string // bodies as they came, perhaps in chunks with checksums
}

func newBucket() *bucket {
	b := &bucket{objects: map[string]string{}}
	b.Server = httptest.NewServer(http.HandlerFunc(b.serve))
	return b
}

func (b *bucket) serve(w http.ResponseWriter, r *http.Request) {
	b.mu.Lock()
	defer b.mu.Unlock()
	_, known := b.objects[r.URL.Path]
	switch {
	case r.Method == http.MethodPut:
		body, err := io.ReadAll(r.Body)
		if err != nil {
			w.WriteHeader(http.StatusBadRequest)
			return
		}
		b.objects[r.URL.Path] = string(body)
		w.Header().Set("ETag", `"0"`)
	case r.Method == http.MethodHead && known:
		w.Header().Set("ETag", `"0"`)
	default:
		w.WriteHeader(http.StatusNotFound)
	}
}

func (b *bucket) object(path string) string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return b.objects[path]
}

func (b *bucket) keys() []string {
	b.mu.Lock()
	defer b.mu.Unlock()
	return slices.Sorted(maps.Keys(b.objects))
}

// environment is how clients of S3 are told to take it, path by path.
func (b *bucket) environment() []string {
	return []string{
		"AWS_ENDPOINT_URL=" + b.URL, "AWS_ENDPOINT_URL_S3=" + b.URL, "AWS_ACCESS_KEY_ID=key", "AWS_SECRET_ACCESS_KEY=secret",
		"AWS_REGION=us-east-1", "AWS_DEFAULT_REGION=us-east-1", "AWS_EC2_METADATA_DISABLED=true",
	}
}
