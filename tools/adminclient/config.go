package adminclient

import (
	"context"
	"encoding/json"
	"fmt"
	"net/http"

	"github.com/agenthost/agenthost/host/admin"
)

// Config is which configuration is in effect, as the host says it at its admin address, or, in fewer words, at its probe's.
func (c Client) Config(ctx context.Context) (state admin.ConfigState, err error) {
	ctx, cancel := c.limited(ctx)
	defer cancel()
	response, err := c.ask(ctx, http.MethodGet, "/config")
	if err != nil {
		return state, err
	}
	defer response.Body.Close()
	if response.StatusCode != http.StatusOK {
		return state, c.refusal(response)
	}
	raw, err := c.whole(ctx, response)
	if err != nil {
		return state, err
	}
	if err := json.Unmarshal(raw, &state); err != nil {
		return state, fmt.Errorf("the answer of the host at %s is not understood: %w", c.Address, err)
	}
	if state.Plugins == nil {
		return state, fmt.Errorf("the host at %s is too old to say how it stands with its plugins", c.Address)
	}
	return state, nil
}
