package plugin_test

import (
	"context"
	"testing"
)

func TestAGoodPluginIsReadyForWorkWhenStartReturns(t *testing.T) {
	h := newHost(t)
	instance := h.start(spec("echo", "good"))
	t.Logf("%+v pid %d", instance.Manifest(), instance.PID())
	if err := instance.Stop(context.Background()); err != nil {
		t.Fatal(err)
	}
}
