package ledger

import (
	"bytes"
	"context"
	"encoding/json"
	"fmt"
	"net/http"
)

// Client is a plugin's side of the ledger. Its fields but URL are sent with every call.
type Client struct {
	URL            string
	Agent, Release string
	Plugin, Host   int
}

// Call makes one call. Its error wraps ErrGone, ErrAbandoned or ErrWeather where that is what came; the answer to the first two can
// hold a Do.
func (c Client) Call(ctx context.Context, op Op, request Request) (Answer, error) {
	request.Agent, request.Release, request.Plugin, request.Host = c.Agent, c.Release, c.Plugin, c.Host
	var answer Answer
	body, err := json.Marshal(request)
	if err != nil {
		return answer, err
	}
	post, err := http.NewRequestWithContext(ctx, http.MethodPost, c.URL+"/"+string(op), bytes.NewReader(body))
	if err != nil {
		return answer, err
	}
	response, err := http.DefaultClient.Do(post)
	if err != nil {
		return answer, fmt.Errorf("%s: %w", op, err)
	}
	defer response.Body.Close()
	switch response.StatusCode {
	case http.StatusOK, http.StatusNotFound, http.StatusConflict:
		if err := json.NewDecoder(response.Body).Decode(&answer); err != nil {
			return answer, fmt.Errorf("%s: the ledger's answer: %w", op, err)
		}
		switch response.StatusCode {
		case http.StatusNotFound:
			return answer, fmt.Errorf("%s: %w: %s", op, ErrGone, answer.Message)
		case http.StatusConflict:
			return answer, fmt.Errorf("%s: %w", op, ErrAbandoned)
		}
		return answer, nil
	case http.StatusServiceUnavailable:
		return answer, fmt.Errorf("%s: %w", op, ErrWeather)
	}
	return answer, fmt.Errorf("%s: the ledger answered %s", op, response.Status)
}
