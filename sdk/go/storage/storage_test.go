package storage_test

import (
	"errors"
	"io"
	"net/http"
	"net/http/httptest"
	"os"
	"path/filepath"
	"strings"
	"testing"
	"testing/iotest"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"

	agent "github.com/agenthost/agenthost/sdk/go"
	"github.com/agenthost/agenthost/sdk/go/storage"
)

// files are the files below a folder, with their content.
func files(t *testing.T, folder string) map[string]string {
	t.Helper()
	all := map[string]string{}
	if err := filepath.WalkDir(folder, func(path string, entry os.DirEntry, err error) error {
		if err != nil || entry.IsDir() {
			return err
		}
		data, err := os.ReadFile(path)
		all[strings.TrimPrefix(path, folder+"/")] = string(data)
		return err
	}); err != nil {
		t.Fatal(err)
	}
	return all
}

func TestAFileIsWrittenBelowAFolder(t *testing.T) {
	for _, scheme := range []string{"", "file://"} {
		folder := t.TempDir()
		prefix := scheme + folder + "/a/0"
		file, err := storage.Write(t.Context(), prefix, "tables/report.csv", strings.NewReader("1,2\n"))
		if want := (agent.File{URI: prefix + "/tables/report.csv", Format: "csv"}); err != nil || file != want {
			t.Errorf("file = %+v, %v; want %+v", file, err, want)
		}
		if err := storage.WriteDeck(t.Context(), prefix+"/", "<p>"); err != nil {
			t.Error(err)
		}
		if got := files(t, folder); len(got) != 2 || got["a/0/tables/report.csv"] != "1,2\n" || got["a/0/deck.html"] != "<p>" {
			t.Errorf("files are %q", got)
		}
	}
}

func TestAFileIsWrittenWholeOrNotAtAll(t *testing.T) {
	folder, broken := t.TempDir(), errors.New("the source broke")
	_, err := storage.Write(t.Context(), folder, "report.csv", io.MultiReader(strings.NewReader(strings.Repeat("x", 1<<20)), iotest.ErrReader(broken)))
	if !errors.Is(err, broken) || !strings.Contains(err.Error(), "report.csv cannot be written below "+folder) {
		t.Errorf("error = %v", err)
	}
	if got := files(t, folder); len(got) != 0 {
		t.Errorf("there are %d files", len(got))
	}
}

func TestWhatIsNoNameOrNoPrefixIsRefused(t *testing.T) {
	for _, name := range []string{"", "../a", "/a", "a/../b", "a//b"} {
		if _, err := storage.Write(t.Context(), t.TempDir(), name, strings.NewReader("")); status.Code(err) != codes.InvalidArgument {
			t.Errorf("name %q: %v", name, err)
		}
	}
	for prefix, want := range map[string]string{"": "has no output prefix", "gs://b/a": `no driver registered for "gs"`, "relative/a": "cannot be opened"} {
		if _, err := storage.Write(t.Context(), prefix, "a", strings.NewReader("")); err == nil || !strings.Contains(err.Error(), want) {
			t.Errorf("prefix %q: %v", prefix, err)
		}
	}
}

func TestAFileIsWrittenToABucket(t *testing.T) {
	var path, kind, body string
	refuses := false
	server := httptest.NewServer(http.HandlerFunc(func(w http.ResponseWriter, r *http.Request) {
		data, err := io.ReadAll(r.Body)
		if err != nil {
			t.Error(err)
		}
		path, kind, body = r.Method+" "+r.URL.Path, r.Header.Get("Content-Type"), string(data)
		if refuses {
			w.WriteHeader(http.StatusForbidden)
		}
	}))
	defer server.Close()
	for name, value := range map[string]string{
		"AWS_ENDPOINT_URL": server.URL, "AWS_ACCESS_KEY_ID": "key", "AWS_SECRET_ACCESS_KEY": "secret", "AWS_REGION": "eu-west-1", "AWS_CONFIG_FILE": os.DevNull, "AWS_SHARED_CREDENTIALS_FILE": os.DevNull,
	} {
		t.Setenv(name, value)
	}
	file, err := storage.Write(t.Context(), "s3://outputs/a/0", "deck.html", strings.NewReader("<p>"))
	if err != nil || file.URI != "s3://outputs/a/0/deck.html" || path != "PUT /outputs/a/0/deck.html" || !strings.HasPrefix(kind, "text/html") || !strings.Contains(body, "<p>") {
		t.Errorf("file = %+v, %v; put were %s, %s, %q", file, err, path, kind, body)
	}
	refuses = true
	if _, err := storage.Write(t.Context(), "s3://outputs/a/0", "a", strings.NewReader("")); status.Code(err) != codes.FailedPrecondition || !strings.Contains(err.Error(), "s3://outputs/a/0") {
		t.Errorf("error = %v", err)
	}
}
