package storage

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"io"
	"net/http"
	"regexp"
	"strconv"
	"strings"
	"time"

	gcstorage "cloud.google.com/go/storage"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/streaming"
	"github.com/Azure/azure-sdk-for-go/sdk/azcore/to"
	azblob "github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/blockblob"
	"github.com/Azure/azure-sdk-for-go/sdk/storage/azblob/container"
	"github.com/aws/aws-sdk-go-v2/aws"
	awss3 "github.com/aws/aws-sdk-go-v2/service/s3"
	"gocloud.dev/blob"
	"gocloud.dev/gcerrors"
)

// Objects are small objects in a bucket, each of which many processes may write: see Put.
type Objects interface {
	// Get reads an object and its version, or answers ErrAbsent.
	Get(ctx context.Context, key string) (data []byte, version string, err error)
	// Put writes an object in the place of one version: None, where there must be no object, Any, or one that Get or Put has
	// said. Where the object has another version the answer is ErrChanged, and nothing is written. It returns the new version.
	// After any other error the object may be written or not; Put itself may be answered ErrChanged for a write that was its own.
	Put(ctx context.Context, key string, data []byte, version string) (string, error)
	// Delete removes an object; one that is not there is fine.
	Delete(ctx context.Context, key string) error
	// List returns the objects whose keys begin so, in the order of their keys.
	List(ctx context.Context, prefix string) ([]Entry, error)
	// String says where they are.
	fmt.Stringer
}

// Entry is an object that was listed.
type Entry struct {
	// Name is what its key has behind the last slash of the prefix.
	Name string
	// Modified is when it was written, by the store's clock.
	Modified time.Time
}

// Versions that Put also takes.
const (
	None = ""
	Any  = "*"
)

var (
	// ErrAbsent says that there is no such object.
	ErrAbsent = errors.New("there is no such object")
	// ErrChanged says that an object has another version than the one that was to be replaced.
	ErrChanged = errors.New("the object has changed")
)

// plainKey is what no store and no library has to escape.
var plainKey = regexp.MustCompile(`^[A-Za-z0-9_.=/-]*$`)

// Objects returns those below a uri of a bucket, such as s3://bucket/prefix. Close them when they are used no more.
func (s *Storage) Objects(ctx context.Context, uri string) (*Bucket, error) {
	location, err := Parse(uri)
	if err != nil {
		return nil, err
	}
	if location.IsLocal() {
		return nil, fmt.Errorf("%s is no bucket", uri)
	}
	if !plainKey.MatchString(location.Path) || strings.Contains(location.Path, "//") || strings.Contains(location.Path, "..") {
		return nil, fmt.Errorf("%s: a prefix of letters, digits and - _ . / = is taken the same by every store", uri)
	}
	bucket, err := s.open(ctx, location)
	if err != nil {
		return nil, err
	}
	b := &Bucket{bucket: bucket, location: location, prefix: strings.Trim(location.Path, "/")}
	if b.prefix != "" {
		b.prefix += "/"
	}
	var (
		ofS3    *awss3.Client
		ofGCS   *gcstorage.Client
		ofAzure *container.Client
	)
	switch {
	case bucket.As(&ofS3):
		b.put = putS3(ofS3, location.Bucket)
		b.version = func(r *blob.Reader) string {
			var out awss3.GetObjectOutput
			if !r.As(&out) {
				return ""
			}
			return aws.ToString(out.ETag)
		}
	case bucket.As(&ofGCS):
		b.put = putGCS(ofGCS.Bucket(location.Bucket))
		b.version = func(r *blob.Reader) string {
			var out *gcstorage.Reader
			if !r.As(&out) {
				return ""
			}
			return strconv.FormatInt(out.Attrs.Generation, 10)
		}
	case bucket.As(&ofAzure):
		b.put = putAzure(ofAzure)
		b.version = func(r *blob.Reader) string {
			var out azblob.DownloadStreamResponse
			if !r.As(&out) || out.ETag == nil {
				return ""
			}
			return string(*out.ETag)
		}
	default:
		closeQuietly(bucket)
		return nil, fmt.Errorf("%s knows no conditional writes", uri)
	}
	return b, nil
}

// Bucket is the Objects of a cloud's store. It is safe for concurrent use.
type Bucket struct {
	bucket   *blob.Bucket
	location Location
	prefix   string
	// put writes under a condition, which gocloud.dev has no words for, and version reads what that condition is about.
	put     func(ctx context.Context, key string, data []byte, version string) (string, error)
	version func(*blob.Reader) string
}

// String is the uri.
func (b *Bucket) String() string { return b.location.String() }

// Close lets go of the connections.
func (b *Bucket) Close() error { return b.bucket.Close() }

// Get implements Objects.
func (b *Bucket) Get(ctx context.Context, key string) ([]byte, string, error) {
	from, err := b.bucket.NewReader(ctx, b.prefix+key, nil)
	if err != nil {
		return nil, "", b.failed(ctx, "read", key, err)
	}
	defer closeQuietly(from)
	data, err := io.ReadAll(from)
	if err != nil {
		return nil, "", b.failed(ctx, "read", key, err)
	}
	version := b.version(from)
	if version == "" || version == "0" {
		return nil, "", fmt.Errorf("cannot read %s of %s: the store names no version of it", key, b)
	}
	return data, version, nil
}

// Put implements Objects.
func (b *Bucket) Put(ctx context.Context, key string, data []byte, version string) (string, error) {
	written, err := b.put(ctx, b.prefix+key, data, version)
	if err != nil {
		if version != Any && isConflict(err) {
			return "", ErrChanged
		}
		return "", b.failed(ctx, "write", key, err)
	}
	return written, nil
}

// isConflict reads the answers to a condition that does not hold. A version that is gone is a changed one.
func isConflict(err error) bool {
	switch statusOf(err) {
	case http.StatusPreconditionFailed:
		return true
	case http.StatusConflict: // Azure's, for an object that must not be there; S3's, for one that another is just writing
		return true
	case http.StatusNotFound:
		return nameOfS3(err) == "NoSuchKey"
	}
	return false
}

// Delete implements Objects.
func (b *Bucket) Delete(ctx context.Context, key string) error {
	err := b.bucket.Delete(ctx, b.prefix+key)
	if err == nil || codeOf(err) == gcerrors.NotFound {
		return nil
	}
	return b.failed(ctx, "delete", key, err)
}

// List implements Objects.
func (b *Bucket) List(ctx context.Context, prefix string) ([]Entry, error) {
	folder := b.prefix + prefix[:strings.LastIndexByte(prefix, '/')+1]
	var entries []Entry
	for list := b.bucket.List(&blob.ListOptions{Prefix: b.prefix + prefix}); ; {
		entry, err := list.Next(ctx)
		if errors.Is(err, io.EOF) {
			return entries, nil
		}
		if err != nil {
			return nil, b.failed(ctx, "list", prefix, err)
		}
		entries = append(entries, Entry{Name: strings.TrimPrefix(entry.Key, folder), Modified: entry.ModTime})
	}
}

func (b *Bucket) failed(ctx context.Context, verb, key string, err error) error {
	if verb == "read" && codeOf(err) == gcerrors.NotFound && nameOfS3(err) != "NoSuchBucket" {
		return ErrAbsent
	}
	at := b.location
	at.uri = Join(at.uri, key)
	return classify(ctx, verb, at, err)
}

func putS3(client *awss3.Client, bucket string) func(context.Context, string, []byte, string) (string, error) {
	return func(ctx context.Context, key string, data []byte, version string) (string, error) {
		in := &awss3.PutObjectInput{Bucket: &bucket, Key: &key, Body: bytes.NewReader(data)}
		switch version {
		case Any:
		case None:
			in.IfNoneMatch = aws.String("*")
		default:
			in.IfMatch = &version
		}
		out, err := client.PutObject(ctx, in)
		if err != nil {
			return "", err
		}
		return aws.ToString(out.ETag), nil
	}
}

func putGCS(bucket *gcstorage.BucketHandle) func(context.Context, string, []byte, string) (string, error) {
	return func(ctx context.Context, key string, data []byte, version string) (string, error) {
		object := bucket.Object(key)
		switch version {
		case Any:
		case None:
			object = object.If(gcstorage.Conditions{DoesNotExist: true})
		default:
			generation, err := strconv.ParseInt(version, 10, 64)
			if err != nil {
				return "", err
			}
			object = object.If(gcstorage.Conditions{GenerationMatch: generation})
		}
		// A cancelled context makes Close drop what was sent.
		ctx, cancel := context.WithCancel(ctx)
		defer cancel()
		to := object.NewWriter(ctx)
		to.ChunkSize = 0 // one request
		if _, err := to.Write(data); err != nil {
			cancel()
			closeQuietly(to)
			return "", err
		}
		if err := to.Close(); err != nil {
			return "", err
		}
		return strconv.FormatInt(to.Attrs().Generation, 10), nil
	}
}

func putAzure(client *container.Client) func(context.Context, string, []byte, string) (string, error) {
	return func(ctx context.Context, key string, data []byte, version string) (string, error) {
		var condition azblob.ModifiedAccessConditions
		switch version {
		case Any:
		case None:
			condition.IfNoneMatch = to.Ptr(azcore.ETagAny)
		default:
			condition.IfMatch = to.Ptr(azcore.ETag(version))
		}
		out, err := client.NewBlockBlobClient(key).Upload(ctx, streaming.NopCloser(bytes.NewReader(data)),
			&blockblob.UploadOptions{AccessConditions: &azblob.AccessConditions{ModifiedAccessConditions: &condition}})
		if err != nil {
			return "", err
		}
		if out.ETag == nil {
			return "", errors.New("the store names no version of what was written")
		}
		return string(*out.ETag), nil
	}
}
