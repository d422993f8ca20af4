package storage

import (
	"fmt"
	"net/url"
	"os"
	"path/filepath"
	"strings"
)

const (
	schemeFile  = "file"
	schemeS3    = "s3"
	schemeGS    = "gs"
	schemeAzure = "azblob"
)

// Location is a parsed uri.
type Location struct {
	// Scheme is file, s3, gs or azblob, whichever of their spellings the uri used.
	Scheme string
	// Bucket is the bucket or container; "" for a local file.
	Bucket string
	// Path is the absolute local path, or the object's key.
	Path string
	uri  string
	// account is Azure's storage account where the uri names one.
	account string
}

// Parse reads a uri as Flyte writes them: an absolute path, file://, s3:// (s3a://, s3n://), gs:// (gcs://), azblob://
// (az://, and abfs:// or abfss:// with or without the account's host).
func Parse(uri string) (Location, error) {
	scheme, rest, found := strings.Cut(uri, "://")
	if !found {
		return local(uri, uri)
	}
	at := Location{uri: uri}
	switch scheme {
	case schemeFile:
		return local(uri, strings.TrimPrefix(rest, "localhost"))
	case schemeS3, "s3a", "s3n":
		at.Scheme = schemeS3
	case schemeGS, "gcs":
		at.Scheme = schemeGS
	case schemeAzure, "az", "abfs", "abfss":
		at.Scheme = schemeAzure
	default:
		return Location{}, fmt.Errorf("%s: %s:// is no storage this plugin reads: local paths, s3://, gs:// and azblob:// are", uri, scheme)
	}
	at.Bucket, at.Path, _ = strings.Cut(rest, "/")
	if container, host, ok := strings.Cut(at.Bucket, "@"); ok && at.Scheme == schemeAzure {
		at.Bucket = container
		at.account, _, _ = strings.Cut(host, ".")
	}
	if at.Bucket == "" {
		return Location{}, fmt.Errorf("%s: names no bucket", uri)
	}
	return at, nil
}

func local(uri, file string) (Location, error) {
	if !filepath.IsAbs(file) {
		return Location{}, fmt.Errorf("%q is no location: give an absolute path or a uri such as s3://bucket/key", uri)
	}
	return Location{Scheme: schemeFile, Path: filepath.Clean(file), uri: uri}, nil
}

// IsLocal tells whether the location is a file of this machine.
func (l Location) IsLocal() bool { return l.Scheme == schemeFile }

// String is the uri as it was given.
func (l Location) String() string { return l.uri }

func (l Location) bucketURL(parameters map[string]string) string {
	query := url.Values{}
	for name, value := range parameters {
		query.Set(name, value)
	}
	switch l.Scheme {
	case schemeS3:
		if query.Has("endpoint") || os.Getenv("AWS_ENDPOINT_URL") != "" || os.Getenv("AWS_ENDPOINT_URL_S3") != "" {
			// Stores other than AWS rarely have a host name for each bucket, and many do not know the newer checksums.
			if !query.Has("use_path_style") && !query.Has("s3ForcePathStyle") {
				query.Set("use_path_style", "true")
			}
			for _, name := range []string{"request_checksum_calculation", "response_checksum_validation"} {
				if !query.Has(name) {
					query.Set(name, "when_required")
				}
			}
		}
	case schemeAzure:
		if l.account != "" {
			query.Set("storage_account", l.account)
		}
	}
	return (&url.URL{Scheme: l.Scheme, Host: l.Bucket, RawQuery: query.Encode()}).String()
}

// Join appends names to a uri.
func Join(uri string, names ...string) string {
	return strings.TrimRight(uri, "/") + "/" + strings.Join(names, "/")
}
