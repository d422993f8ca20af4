package plugin

import (
	"testing"
	"testing/synctest"
	"time"

	"google.golang.org/grpc/codes"
	"google.golang.org/grpc/status"
)

// The methods of flyteidl, as calls are heard of.
const (
	polls   = "/flyteidl.service.AsyncAgentService/GetTask"
	creates = "/flyteidl.service.AsyncAgentService/CreateTask"
	syncs   = "/flyteidl.service.SyncAgentService/ExecuteTaskSync"
)

func TestWhichCallsSayThatAPluginHangs(t *testing.T) {
	late := status.Error(codes.DeadlineExceeded, "")
	away := status.Error(codes.Canceled, "")
	for name, c := range map[string]struct {
		story func(h *hearing)
		hangs bool
	}{
		"nobody calls":                          {func(*hearing) { time.Sleep(time.Hour) }, false},
		"a poll is under way":                   {func(h *hearing) { h.begin(polls); time.Sleep(3 * time.Second) }, false},
		"a poll has no answer":                  {func(h *hearing) { h.begin(polls); time.Sleep(4 * time.Second) }, true},
		"a creation has no answer":              {func(h *hearing) { h.begin(creates); time.Sleep(4 * time.Second) }, true},
		"a task that is run at once takes long": {func(h *hearing) { h.begin(syncs); time.Sleep(time.Hour) }, false},
		"discovery takes long":                  {func(h *hearing) { h.begin("/flyteidl.service.AgentMetadataService/ListAgents"); time.Sleep(time.Hour) }, false},
		"an error is an answer": {func(h *hearing) {
			c := h.begin(polls)
			time.Sleep(3 * time.Second)
			h.end(c, status.Error(codes.NotFound, ""))
			time.Sleep(time.Minute)
		}, false},
		"one poll hangs, later ones are answered": {func(h *hearing) {
			h.begin(polls)
			for range 20 {
				time.Sleep(time.Second)
				h.end(h.begin(polls), nil)
			}
			time.Sleep(time.Minute)
		}, false},
		"one poll hangs, and those after it do": {func(h *hearing) {
			h.begin(polls)
			time.Sleep(time.Second)
			h.end(h.begin(creates), nil)
			h.begin(polls)
			time.Sleep(4 * time.Second)
		}, true},
		"a task that is run at once is answered meanwhile": {func(h *hearing) {
			h.begin(polls)
			time.Sleep(3 * time.Second)
			h.end(h.begin(syncs), nil)
			time.Sleep(time.Minute)
		}, false},
		"polls take long, as they always do": {func(h *hearing) {
			for range 3 {
				c := h.begin(polls)
				time.Sleep(10 * time.Second)
				h.end(c, nil)
			}
			h.begin(polls)
			time.Sleep(15 * time.Second)
		}, false},
		"polls take longer than they ever did": {func(h *hearing) {
			c := h.begin(polls)
			time.Sleep(10 * time.Second)
			h.end(c, nil)
			h.begin(polls)
			time.Sleep(20 * time.Second)
		}, true},
		"a hang that is over is no measure for the next": {func(h *hearing) {
			c := h.begin(polls)
			time.Sleep(time.Minute)
			h.end(c, nil)
			for range paceAnswers {
				h.end(h.begin(polls), nil)
			}
			h.begin(polls)
			time.Sleep(4 * time.Second)
		}, true},
		"a caller goes away": {func(h *hearing) {
			c := h.begin(polls)
			time.Sleep(time.Second)
			h.end(c, away)
			time.Sleep(time.Minute)
		}, false},
		"one deadline passes": {func(h *hearing) {
			c := h.begin(polls)
			time.Sleep(time.Second)
			h.end(c, late)
			time.Sleep(time.Minute)
		}, false},
		"one deadline after the other passes": {func(h *hearing) {
			for range 3 {
				c := h.begin(polls)
				time.Sleep(2 * time.Second)
				h.end(c, late)
			}
		}, true},
		"until one is answered": {func(h *hearing) {
			for range 3 {
				c := h.begin(polls)
				time.Sleep(2 * time.Second)
				h.end(c, late)
			}
			h.end(h.begin(polls), nil)
		}, false},
	} {
		t.Run(name, func(t *testing.T) {
			synctest.Test(t, func(t *testing.T) {
				h := &hearing{}
				time.Sleep(time.Second) // no call begins when the plugin does
				c.story(h)
				if said := h.silence(); said.Hangs() != c.hangs {
					t.Errorf("it hangs: %v, want %v: %+v", said.Hangs(), c.hangs, said)
				}
			})
		})
	}
}

func TestWhatIsRememberedOfSilenceDoesNotGrow(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		h := &hearing{}
		for range 1000 {
			c := h.begin(polls)
			time.Sleep(time.Second)
			h.end(c, status.Error(codes.DeadlineExceeded, ""))
		}
		if len(h.underWay) != 0 || len(h.lost) != 1 {
			t.Errorf("%d calls are under way, %d are lost", len(h.underWay), len(h.lost))
		}
		if said := h.silence(); said.Method != "GetTask" || said.Asked.Sub(said.Since) != 1000*time.Second {
			t.Errorf("got %+v", said)
		}
	})
}
