// Package storage reads inputs and writes results where Flyte keeps them: local files, S3, Google Cloud Storage and
// Azure. DuckDB itself only ever sees local files: what is remote is copied to a scratch directory first, in a stream,
// so an input's size costs disk and no memory.
package storage

import (
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"os"
	"path"
	"path/filepath"
	"slices"
	"strings"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"gocloud.dev/blob"

	// The drivers of the schemes in location.go.
	_ "gocloud.dev/blob/azureblob"
	_ "gocloud.dev/blob/gcsblob"
	_ "gocloud.dev/blob/s3blob"
	"gocloud.dev/gcerrors"
	"google.golang.org/api/googleapi"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
)

// Storage opens locations with the operator's parameters. It is safe for concurrent use.
type Storage struct {
	parameters map[string]map[string]string
}

// New returns a Storage whose buckets are opened with these URL parameters by scheme (s3, gs, azblob), as gocloud.dev
// documents them, such as {"s3": {"endpoint": "http://minio:9000", "region": "eu-central-1"}}. Credentials come from the
// environment, as the clouds' own tools find them. An unknown scheme is an error.
func New(parameters map[string]map[string]string) (*Storage, error) {
	for scheme := range parameters {
		if !slices.Contains([]string{schemeS3, schemeGS, schemeAzure}, scheme) {
			return nil, fmt.Errorf("%q is no storage scheme: s3, gs and azblob are", scheme)
		}
	}
	return &Storage{parameters: parameters}, nil
}

// Object is one file of an input.
type Object struct {
	// Path is the file's path below the listed location, with slashes; for a single file its name.
	Path string
	// Local is the file's path on this machine, or "" where it must be downloaded.
	Local string
	// Size in bytes.
	Size     int64
	location Location
}

// List returns the files that make up an input: the object of that name, or else all files below it as a directory,
// sorted, without what writers leave beside data (names that start with _ or a dot, but for the ".csv" that flytekit
// writes). At least one; none at all is a final error that names the uri.
func (s *Storage) List(ctx context.Context, uri string) ([]Object, error) {
	location, err := Parse(uri)
	if err != nil {
		return nil, fault.Final("%w", err)
	}
	var objects []Object
	if location.IsLocal() {
		objects, err = listLocal(location)
	} else {
		objects, err = s.listRemote(ctx, location)
	}
	if err != nil {
		return nil, err
	}
	if len(objects) == 0 {
		return nil, fault.Final("%s: there is no such file, and no files below it", uri)
	}
	slices.SortFunc(objects, func(a, b Object) int { return strings.Compare(a.Path, b.Path) })
	return objects, nil
}

func listLocal(location Location) ([]Object, error) {
	var objects []Object
	err := filepath.WalkDir(location.Path, func(file string, entry os.DirEntry, err error) error {
		if err != nil {
			return err
		}
		below, err := filepath.Rel(location.Path, file)
		if err != nil {
			return err
		}
		if below != "." && !isData(filepath.ToSlash(below)) {
			if entry.IsDir() {
				return filepath.SkipDir
			}
			return nil
		}
		// Stat follows links, so that a linked data file counts and a linked device does not.
		info, err := os.Stat(file)
		if err != nil {
			return err
		}
		if info.IsDir() {
			return nil
		}
		if !info.Mode().IsRegular() {
			return fault.Final("%s: is not a regular file", file)
		}
		if below == "." {
			below = filepath.Base(file)
		}
		objects = append(objects, Object{Path: filepath.ToSlash(below), Local: file, Size: info.Size(), location: location})
		return nil
	})
	var faulty *fault.Error
	switch {
	case err == nil, errors.As(err, &faulty):
		return objects, err
	case errors.Is(err, os.ErrNotExist):
		return nil, nil
	default:
		return nil, fault.File("cannot read %s: %w", location.Path, err)
	}
}

func (s *Storage) listRemote(ctx context.Context, location Location) ([]Object, error) {
	bucket, err := s.open(ctx, location)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(bucket)

	if location.Path != "" && !strings.HasSuffix(location.Path, "/") {
		attributes, err := bucket.Attributes(ctx, location.Path)
		if err == nil {
			return []Object{{Path: path.Base(location.Path), Size: attributes.Size, location: location}}, nil
		}
		if codeOf(err) != gcerrors.NotFound {
			return nil, classify(ctx, "read", location, err)
		}
	}
	prefix := strings.TrimSuffix(location.Path, "/")
	if prefix != "" {
		prefix += "/"
	}
	var objects []Object
	for list := bucket.List(&blob.ListOptions{Prefix: prefix}); ; {
		entry, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return objects, nil
		}
		if err != nil {
			return nil, classify(ctx, "list", location, err)
		}
		below := strings.TrimPrefix(entry.Key, prefix)
		if below == "" || strings.HasSuffix(below, "/") || !isData(below) {
			continue
		}
		at := location
		at.Path = entry.Key
		objects = append(objects, Object{Path: below, Size: entry.Size, location: at})
	}
}

func isData(below string) bool {
	for part := range strings.SplitSeq(below, "/") {
		if part != ".csv" && (strings.HasPrefix(part, "_") || strings.HasPrefix(part, ".")) {
			return false
		}
	}
	return true
}

// Download copies an object to a new local file, whose directory it makes. The file is whole or, after an error, gone.
func (s *Storage) Download(ctx context.Context, object Object, to string) error {
	bucket, err := s.open(ctx, object.location)
	if err != nil {
		return err
	}
	defer closeQuietly(bucket)
	from, err := bucket.NewReader(ctx, object.location.Path, nil)
	if err != nil {
		return classify(ctx, "read", object.location, err)
	}
	defer closeQuietly(from)

	if err := os.MkdirAll(filepath.Dir(to), 0o700); err != nil {
		return fault.File("cannot make room for %s: %w", object.location, err)
	}
	file, err := os.OpenFile(to, os.O_CREATE|os.O_EXCL|os.O_WRONLY, 0o600)
	if err != nil {
		return fault.File("cannot make room for %s: %w", object.location, err)
	}
	defer file.Close()
	sink := &writer{File: file}
	if _, err := io.Copy(sink, from); err != nil {
		_ = os.Remove(to)
		if sink.err != nil {
			return fault.File("cannot store a copy of %s: %w", object.location, sink.err)
		}
		return classify(ctx, "read", object.location, err)
	}
	return nil
}

// Read returns the bytes of the one object of that name. It stops after one byte more than most, so that what is longer can be
// told from what is not.
func (s *Storage) Read(ctx context.Context, uri string, most int64) ([]byte, error) {
	location, err := Parse(uri)
	if err != nil {
		return nil, fault.Final("%w", err)
	}
	from, err := s.reader(ctx, location)
	if err != nil {
		return nil, err
	}
	defer closeQuietly(from)
	data, err := io.ReadAll(io.LimitReader(from, most+1))
	switch {
	case err == nil:
		return data, nil
	case location.IsLocal():
		return nil, fault.File("cannot read %s: %w", location, err)
	}
	return nil, classify(ctx, "read", location, err)
}

func (s *Storage) reader(ctx context.Context, location Location) (io.ReadCloser, error) {
	if location.IsLocal() {
		info, err := os.Stat(location.Path)
		if err == nil && !info.Mode().IsRegular() {
			return nil, fault.Final("%s: is not a regular file", location)
		}
		file, err := os.Open(location.Path)
		if err != nil {
			return nil, fault.File("cannot read %s: %w", location, err)
		}
		return file, nil
	}
	bucket, err := s.open(ctx, location)
	if err != nil {
		return nil, err
	}
	from, err := bucket.NewReader(ctx, location.Path, nil)
	if err != nil {
		closeQuietly(bucket)
		return nil, classify(ctx, "read", location, err)
	}
	return object{from, bucket}, nil
}

// object is one that is read, with the bucket that was opened for it.
type object struct {
	*blob.Reader
	bucket *blob.Bucket
}

func (o object) Close() error { return errors.Join(o.Reader.Close(), o.bucket.Close()) }

// writer remembers its own error, which tells a full scratch disk from a broken download.
type writer struct {
	*os.File
	err error
}

func (w *writer) Write(p []byte) (int, error) {
	n, err := w.File.Write(p)
	w.err = err
	return n, err
}

// Upload puts a local file at the uri, replacing what is there. Readers of the uri see nothing, the old or all of the
// new, never a part.
func (s *Storage) Upload(ctx context.Context, file, uri string) error {
	location, err := Parse(uri)
	if err != nil {
		return fault.Final("%w", err)
	}
	from, err := os.Open(file)
	if err != nil {
		return fault.File("cannot read the result: %w", err)
	}
	defer from.Close()
	if location.IsLocal() {
		return writeLocal(from, location.Path)
	}
	bucket, err := s.open(ctx, location)
	if err != nil {
		return err
	}
	defer closeQuietly(bucket)
	// A cancelled context makes Close drop what was sent, so that half a file never gets its name.
	ctx, cancel := context.WithCancel(ctx)
	defer cancel()
	to, err := bucket.NewWriter(ctx, location.Path, nil)
	if err != nil {
		return classify(ctx, "write", location, err)
	}
	if _, err := io.Copy(to, from); err != nil {
		why := classify(ctx, "write", location, err)
		cancel()
		closeQuietly(to)
		return why
	}
	if err := to.Close(); err != nil {
		return classify(ctx, "write", location, err)
	}
	return nil
}

// writeLocal writes under another name in the same directory first: renaming there is atomic.
func writeLocal(from io.Reader, to string) error {
	failed := func(err error) error { return fault.File("cannot write the result to %s: %w", to, err) }
	if err := os.MkdirAll(filepath.Dir(to), 0o755); err != nil {
		return failed(err)
	}
	file, err := os.CreateTemp(filepath.Dir(to), "._part-*")
	if err != nil {
		return failed(err)
	}
	defer func() { _ = os.Remove(file.Name()) }() // renamed already when all went well
	defer file.Close()
	if _, err := io.Copy(file, from); err != nil {
		return failed(err)
	}
	// A result is for others to read, as any file that a program writes.
	if err := file.Chmod(0o644); err != nil {
		return failed(err)
	}
	if err := file.Sync(); err != nil {
		return failed(err)
	}
	if err := file.Close(); err != nil {
		return failed(err)
	}
	if err := os.Rename(file.Name(), to); err != nil {
		return failed(err)
	}
	return nil
}

func (s *Storage) open(ctx context.Context, location Location) (*blob.Bucket, error) {
	bucket, err := blob.OpenBucket(ctx, location.bucketURL(s.parameters[location.Scheme]))
	if err != nil {
		return nil, fault.Final("cannot open %s: %w; check the plugin's config key storage.%s and its credentials", location, err, location.Scheme)
	}
	return bucket, nil
}

// closeQuietly is for what was only read, or given up: its error changes nothing.
func closeQuietly(c io.Closer) { _ = c.Close() }

func classify(ctx context.Context, verb string, location Location, err error) error {
	if ctx.Err() != nil {
		return context.Cause(ctx)
	}
	switch codeOf(err) {
	case gcerrors.NotFound:
		return fault.Final("cannot %s %s: there is no such bucket or object: %w", verb, location, err)
	case gcerrors.PermissionDenied:
		return fault.Final("cannot %s %s: the plugin's credentials do not allow it: %w", verb, location, err)
	case gcerrors.InvalidArgument, gcerrors.Unimplemented, gcerrors.FailedPrecondition:
		return fault.Final("cannot %s %s: %w", verb, location, err)
	default:
		return fault.Retryable("cannot %s %s: %w", verb, location, err)
	}
}

// codeOf is gocloud.dev's word for an error, but for S3's: it takes those for a missing bucket whose text has "301" in it,
// which may be a part of a port, a name or a request id. What neither knows by a name, the answer's status tells.
func codeOf(err error) gcerrors.ErrorCode {
	var operation *smithy.OperationError
	code := gcerrors.Unknown
	if errors.As(err, &operation) {
		code = codeOfS3(err)
	} else if said := gcerrors.Code(err); said != gcerrors.OK {
		code = said
	}
	if code == gcerrors.Unknown && isFinal(statusOf(err)) && !slices.Contains(passingS3, nameOfS3(err)) {
		return gcerrors.FailedPrecondition
	}
	return code
}

func codeOfS3(err error) gcerrors.ErrorCode {
	switch nameOfS3(err) {
	case "NoSuchBucket", "NoSuchKey", "NotFound", "MovedPermanently":
		return gcerrors.NotFound
	case "AccessDenied", "Forbidden", "AllAccessDisabled":
		return gcerrors.PermissionDenied
	case "InvalidAccessKeyId", "SignatureDoesNotMatch", "InvalidBucketName", "PermanentRedirect":
		return gcerrors.FailedPrecondition
	}
	return gcerrors.Unknown
}

// nameOfS3 is S3's code for an error, or "" where no answer came.
func nameOfS3(err error) string {
	var answer smithy.APIError
	if errors.As(err, &answer) {
		return answer.ErrorCode()
	}
	return ""
}

// passingS3 are S3's codes of what may be gone at the next try though its status is that of a wrong request: credentials are
// renewed, clocks are set, and a body can arrive whole.
var passingS3 = []string{
	"ExpiredToken", "TokenRefreshRequired", "RequestExpired", "RequestTimeTooSkewed", "RequestTimeout", "BadDigest", "IncompleteBody",
	"Throttling", "ThrottlingException", "RequestThrottled", "TooManyRequestsException",
}

// statusOf is the HTTP status that a store answered with; 0 where none came.
func statusOf(err error) int {
	var s3 *smithyhttp.ResponseError
	var gcs *googleapi.Error
	var azure *azcore.ResponseError
	switch {
	case errors.As(err, &s3):
		return s3.HTTPStatusCode()
	case errors.As(err, &gcs):
		return gcs.Code
	case errors.As(err, &azure):
		return azure.StatusCode
	}
	return 0
}

// isFinal tells whether the same request would be answered with that status again: it is wrong, or not what the store does.
// A conflict ends with what the other one does.
func isFinal(status int) bool {
	switch status {
	case http.StatusRequestTimeout, http.StatusConflict, http.StatusTooEarly, http.StatusTooManyRequests:
		return false
	case http.StatusNotImplemented, http.StatusHTTPVersionNotSupported:
		return true
	}
	return status >= http.StatusBadRequest && status < http.StatusInternalServerError
}
