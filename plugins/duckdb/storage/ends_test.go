package storage

import (
	"context"
	"errors"
	"io"
	"net/http"
	"testing"

	"github.com/Azure/azure-sdk-for-go/sdk/azcore"
	"github.com/aws/smithy-go"
	smithyhttp "github.com/aws/smithy-go/transport/http"
	"google.golang.org/api/googleapi"

	"github.com/agenthost/agenthost/plugins/duckdb/fault"
)

func s3(status int, code string) error {
	response := &smithyhttp.Response{Response: &http.Response{StatusCode: status}}
	return &smithy.OperationError{ServiceID: "S3", Err: &smithyhttp.ResponseError{Response: response, Err: &smithy.GenericAPIError{Code: code}}}
}

func gcs(status int) error   { return &googleapi.Error{Code: status} }
func azure(status int) error { return &azcore.ResponseError{StatusCode: status, ErrorCode: "Some"} }

// Whether an answer of a store may be another one the next time, and why.
func TestEveryAnswerOfAStoreHasTheRightEnd(t *testing.T) {
	for _, c := range []struct {
		err    error
		passes bool
		why    string
	}{
		{s3(404, "NoSuchKey"), false, "there is none"},
		{s3(404, "NoSuchBucket"), false, "there is none"},
		{s3(404, "NotFound"), false, "there is none"},
		{s3(301, "MovedPermanently"), false, "it is in another region"},
		{s3(301, "PermanentRedirect"), false, "it is in another region"},
		{s3(403, "AccessDenied"), false, "nobody grants anything meanwhile"},
		{s3(403, "Forbidden"), false, "the same"},
		{s3(403, "AllAccessDisabled"), false, "the same"},
		{s3(403, "AccountProblem"), false, "the same"},
		{s3(403, "InvalidAccessKeyId"), false, "the key stays what it is"},
		{s3(403, "SignatureDoesNotMatch"), false, "the same"},
		{s3(403, "InvalidObjectState"), false, "it lies in an archive until somebody restores it"},
		{s3(400, "InvalidRequest"), false, "the request stays what it is"},
		{s3(400, "InvalidArgument"), false, "the same"},
		{s3(400, "InvalidBucketName"), false, "the same"},
		{s3(400, "KeyTooLongError"), false, "the same"},
		{s3(400, "EntityTooLarge"), false, "the same"},
		{s3(405, "MethodNotAllowed"), false, "the same"},
		{s3(411, "MissingContentLength"), false, "the same"},
		{s3(412, "PreconditionFailed"), false, "the same"},
		{s3(416, "InvalidRange"), false, "the same"},
		{s3(501, "NotImplemented"), false, "the store does not learn it meanwhile"},
		{s3(400, "ExpiredToken"), true, "credentials are renewed"},
		{s3(400, "TokenRefreshRequired"), true, "the same"},
		{s3(400, "RequestExpired"), true, "the next request is new"},
		{s3(403, "RequestTimeTooSkewed"), true, "clocks are set"},
		{s3(400, "RequestTimeout"), true, "it took too long this time"},
		{s3(400, "BadDigest"), true, "the next body arrives whole"},
		{s3(400, "IncompleteBody"), true, "the same"},
		{s3(409, "OperationAborted"), true, "what it conflicts with ends"},
		{s3(409, "ConditionalRequestConflict"), true, "the same"},
		{s3(400, "ThrottlingException"), true, "the load ends"},
		{s3(429, "TooManyRequests"), true, "the same"},
		{s3(503, "SlowDown"), true, "the same"},
		{s3(500, "InternalError"), true, "the store gets well"},
		{s3(502, ""), true, "the same"},
		{s3(503, "ServiceUnavailable"), true, "the same"},
		{s3(504, ""), true, "the same"},
		{&smithy.OperationError{ServiceID: "S3", Err: errors.New("connection reset")}, true, "no answer came"},

		{gcs(400), false, "the request stays what it is"},
		{gcs(401), false, "the key stays what it is"},
		{gcs(403), false, "nobody grants anything meanwhile"},
		{gcs(404), false, "there is none"},
		{gcs(408), true, "it took too long this time"},
		{gcs(409), true, "what it conflicts with ends"},
		{gcs(410), false, "it is gone for good"},
		{gcs(412), false, "the request stays what it is"},
		{gcs(429), true, "the load ends"},
		{gcs(500), true, "the store gets well"},
		{gcs(501), false, "the store does not learn it meanwhile"},
		{gcs(503), true, "the store gets well"},
		{azure(400), false, "the request stays what it is"},
		{azure(401), false, "the key stays what it is"},
		{azure(403), false, "nobody grants anything meanwhile"},
		{azure(404), false, "there is none"},
		{azure(409), true, "what it conflicts with ends"},
		{azure(412), false, "the request stays what it is"},
		{azure(429), true, "the load ends"},
		{azure(500), true, "the store gets well"},
		{azure(503), true, "the store gets well"},

		{io.ErrUnexpectedEOF, true, "the answer was cut off"},
		{errors.New("dial tcp: connection refused"), true, "somebody starts the store"},
	} {
		err := classify(t.Context(), "read", Location{uri: "x"}, c.err)
		var failure *fault.Error
		if !errors.As(err, &failure) || failure.Retryable != c.passes {
			t.Errorf("%v: %+v, want passes %v: %s", c.err, err, c.passes, c.why)
		}
	}
	ctx, cancel := context.WithCancelCause(t.Context())
	why := errors.New("cancelled")
	cancel(why)
	if err := classify(ctx, "read", Location{}, s3(500, "")); !errors.Is(err, why) {
		t.Errorf("a cancelled read: %v", err)
	}
}
