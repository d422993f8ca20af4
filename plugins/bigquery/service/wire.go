package service

import (
	"bytes"
	"context"
	"encoding/json"
	"io"
	"net/http"
	"net/url"
	"slices"

	"google.golang.org/api/googleapi"
)

// wire is what lies beneath the client. The client has no form for some of what goes to BigQuery and comes from there, and a
// rule of its own for when to try again; so requests and answers are seen to here, as an exchange in their context says.
type wire struct{ below http.RoundTripper }

// exchange is a call's part in the wire.
type exchange struct {
	// userAgent takes the place of the client's, if there is one.
	userAgent string
	// settings are put over the configuration of the job that the request starts, as they are. In the client's own form some
	// would get lost: it has no field for scriptOptions, preserveNulls or a useQueryCache that is true, leaves out what is
	// explicitly false, and makes NULL of an empty array.
	settings map[string]any

	// said is what the answer says beyond the client.
	said said
	// failure is why there is no answer.
	failure error
	// end ends the client's call.
	end context.CancelFunc
}

type exchangeKey struct{}

// once makes a call of the client that ends with the first request to fail. The client itself would repeat the request at
// times of its own, whatever BigQuery's Retry-After says, for as long as the caller waits.
func once[T any](ctx context.Context, x *exchange, call func(context.Context) (T, error)) (T, error) {
	ctx, x.end = context.WithCancel(ctx)
	defer x.end()
	x.failure = nil
	result, err := call(context.WithValue(ctx, exchangeKey{}, x))
	if x.failure != nil {
		// The client's own error would be that of its context.
		err = x.failure
	}
	return result, err
}

// RoundTrip gives an answer only if it is one of success; everything else is an error, so that it ends the call.
func (w wire) RoundTrip(request *http.Request) (*http.Response, error) {
	x := request.Context().Value(exchangeKey{}).(*exchange)
	answer, err := w.carry(x, request)
	if err != nil {
		x.failure = &url.Error{Op: request.Method, URL: request.URL.String(), Err: err}
		x.end()
	}
	return answer, err
}

func (w wire) carry(x *exchange, request *http.Request) (*http.Response, error) {
	request, err := x.complete(request)
	if err != nil {
		return nil, err
	}
	answer, err := w.below.RoundTrip(request)
	if err != nil {
		return nil, err
	}
	defer answer.Body.Close()
	if answer.StatusCode >= http.StatusBadRequest {
		return nil, googleapi.CheckResponse(answer)
	}
	body, err := io.ReadAll(answer.Body)
	if err == nil && answer.StatusCode == http.StatusOK {
		body, err = x.read(body)
	}
	if err != nil {
		return nil, err
	}
	answer.Body, answer.ContentLength = io.NopCloser(bytes.NewReader(body)), int64(len(body))
	return answer, nil
}

// complete is the client's request with what it lacks.
func (x *exchange) complete(request *http.Request) (*http.Request, error) {
	request = request.Clone(request.Context())
	if x.userAgent != "" {
		request.Header.Set("User-Agent", x.userAgent)
	}
	if len(x.settings) == 0 {
		return request, nil
	}
	body, err := io.ReadAll(request.Body)
	request.Body.Close()
	if err != nil {
		return nil, err
	}
	body, err = overlaid(body, map[string]any{"configuration": x.settings})
	if err != nil {
		return nil, err
	}
	request.GetBody = func() (io.ReadCloser, error) { return io.NopCloser(bytes.NewReader(body)), nil }
	request.ContentLength = int64(len(body))
	request.Body, err = request.GetBody()
	return request, err
}

// read notes what an answer says beyond the client, and gives it in a form that the client reads.
func (x *exchange) read(answer []byte) ([]byte, error) {
	x.said = said{}
	if err := json.Unmarshal(answer, &x.said); err != nil {
		return nil, err
	}
	if state := x.said.Status.State; state == "" || slices.Contains(states, state) {
		return answer, nil
	}
	// The client fails at a state that it does not know.
	return overlaid(answer, map[string]any{"status": map[string]any{"state": Running}})
}

// overlaid is a JSON object with another one put over it.
func overlaid(object []byte, over map[string]any) ([]byte, error) {
	var under map[string]any
	decoder := json.NewDecoder(bytes.NewReader(object))
	decoder.UseNumber()
	if err := decoder.Decode(&under); err != nil {
		return nil, err
	}
	overlay(under, over)
	return json.Marshal(under)
}

func overlay(under, over map[string]any) {
	for key, value := range over {
		inner, isObject := value.(map[string]any)
		if there, both := under[key].(map[string]any); both && isObject {
			overlay(there, inner)
			continue
		}
		under[key] = value
	}
}
