// Package storage writes what an agent leaves beside its outputs, by gocloud.dev/blob: files, which are outputs by their uri, and a deck.
//
//	file, err := storage.Write(ctx, task.OutputPrefix, "report.csv", content)
//	return agent.Succeeded(agent.Outputs{"report": file}), err
//
// A prefix is a folder (an absolute path, or file://) or in a bucket of S3, whose client is configured as AWS' own are (AWS_REGION,
// AWS_ENDPOINT_URL, credentials). Other buckets are those whose driver a plugin imports: gs:// with gocloud.dev/blob/gcsblob, azblob:// with
// gocloud.dev/blob/azureblob. The plugin's sandbox must have a folder in `write:`.
package storage

import (
	"context"
	"fmt"
	"io"
	"mime"
	"net/url"
	"os"
	"path"
	"path/filepath"
	"strings"

	"gocloud.dev/blob"
	"gocloud.dev/blob/fileblob"
	_ "gocloud.dev/blob/s3blob" // s3://
	"gocloud.dev/gcerrors"

	agent "github.com/agenthost/agenthost/sdk/go"
)

// deckFile is the file below an output prefix that Flyte shows as the task's deck.
const deckFile = "deck.html"

// Write writes a file below a task's output prefix, whole or not at all, and returns it as the task's output. The name may have
// folders in it; its ending is the file's format.
func Write(ctx context.Context, prefix, name string, content io.Reader) (agent.File, error) {
	if !filepath.IsLocal(name) || name != path.Clean(name) {
		return agent.File{}, agent.InvalidArgument("a file below the output prefix must have a plain name, got %q", name)
	}
	if prefix == "" {
		return agent.File{}, agent.InvalidArgument("%s cannot be written: the task has no output prefix", name)
	}
	if err := write(ctx, prefix, name, content); err != nil {
		return agent.File{}, err
	}
	return agent.File{URI: strings.TrimSuffix(prefix, "/") + "/" + name, Format: strings.TrimPrefix(path.Ext(name), ".")}, nil
}

// WriteDeck writes the HTML that Flyte's console shows as the task's deck. It is shown to users as it is: what is not HTML in it
// must be escaped, as html/template does.
func WriteDeck(ctx context.Context, prefix, html string) error {
	_, err := Write(ctx, prefix, deckFile, strings.NewReader(html))
	return err
}

func write(ctx context.Context, prefix, name string, content io.Reader) (err error) {
	bucket, key, err := open(ctx, prefix)
	if err != nil {
		return fmt.Errorf("the output prefix %s cannot be opened: %w", prefix, err)
	}
	defer func() { _ = bucket.Close() }() // everything is written by then
	writing, abort := context.WithCancel(ctx)
	defer abort() // what is not closed by then is not written
	writer, err := bucket.NewWriter(writing, path.Join(key, name), &blob.WriterOptions{ContentType: mime.TypeByExtension(path.Ext(name))})
	if err != nil {
		return told(prefix, name, err)
	}
	if _, err := io.Copy(writer, content); err != nil {
		abort()
		_ = writer.Close() // which fails, because of abort
		return told(prefix, name, err)
	}
	if err := writer.Close(); err != nil {
		return told(prefix, name, err)
	}
	return nil
}

// told is an error about a file as users are told it.
func told(prefix, name string, err error) error {
	err = fmt.Errorf("%s cannot be written below %s: %w", name, prefix, err)
	if code := gcerrors.Code(err); code == gcerrors.PermissionDenied || code == gcerrors.FailedPrecondition {
		return agent.FailedPrecondition("%w", err)
	}
	return agent.Unavailable("%w", err)
}

// open opens the bucket, or the folder, of a prefix; key is what of the prefix is inside it.
func open(ctx context.Context, prefix string) (bucket *blob.Bucket, key string, err error) {
	if folder, ok := folderOf(prefix); ok {
		// Temporary files beside the others: a rename from elsewhere may not be one. No files with attributes, which nobody reads.
		bucket, err = fileblob.OpenBucket(folder, &fileblob.Options{CreateDir: true, NoTempDir: true, Metadata: fileblob.MetadataDontWrite})
		return bucket, "", err
	}
	location, err := url.Parse(prefix)
	if err != nil {
		return nil, "", err
	}
	if location.Scheme == "s3" && (os.Getenv("AWS_ENDPOINT_URL") != "" || os.Getenv("AWS_ENDPOINT_URL_S3") != "") {
		location.RawQuery = "use_path_style=true" // what is not AWS' own has no name for each bucket
	}
	key = strings.TrimPrefix(location.Path, "/")
	location.Path, location.RawPath = "", ""
	bucket, err = blob.OpenBucket(ctx, location.String())
	return bucket, key, err
}

func folderOf(prefix string) (string, bool) {
	folder := strings.TrimPrefix(prefix, "file://")
	return filepath.FromSlash(folder), filepath.IsAbs(folder)
}
