package artifact

import (
	"archive/tar"
	"testing"
	"time"
)

// Impatient are options with short pauses.
func (o Options) Impatient() Options {
	o.retries = retries{tries: 3, first: 5 * time.Millisecond, most: 20 * time.Millisecond, idle: 300 * time.Millisecond}
	return o
}

// Layer is an archive of files.
func Layer(t *testing.T, files map[string]string) []byte {
	t.Helper()
	var headers []tar.Header
	for name, content := range files {
		headers = append(headers, file(name, content))
	}
	return whole(t, headers...)
}
