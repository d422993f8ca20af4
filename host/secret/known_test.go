package secret_test

import (
	"errors"
	"io/fs"
	"strings"
	"testing"

	"github.com/agenthost/agenthost/host/secret"
)

func TestWhatIsKnownIsHiddenInAllItsForms(t *testing.T) {
	known := &secret.Known{}
	known.Add("db", "hunter2&\"co\"\n")
	known.Add("key", "-----BEGIN KEY-----\nMIIEvQIBADANBgkq\nhkiG9w0BAQEFAASC\n-----END KEY-----")
	known.Add("short", "abc")
	known.Add("long", "hunter2&\"co\" and more")
	for text, want := range map[string]string{
		`login with hunter2&"co" failed`:             `login with [secret db] failed`,
		`{"password":"hunter2\u0026\"co\""}`:         `{"password":"[secret db]"}`,
		`GET /?p=hunter2%26%22co%22`:                 `GET /?p=[secret db]`,
		`Basic aHVudGVyMiYiY28i`:                     `Basic [secret db]`,
		`line: hkiG9w0BAQEFAASC`:                     `line: [secret key]`,
		`abc is in alphabet abcdef`:                  `abc is in alphabet abcdef`,
		`hunter2&"co" and more, then hunter2&"co" .`: `[secret long], then [secret db] .`,
	} {
		if got := known.Hide(text); got != want {
			t.Errorf("%s is shown as %s", text, got)
		}
	}
}

func TestTheValueBeforeIsHiddenToo(t *testing.T) {
	known := &secret.Known{}
	for _, value := range []string{"first-value", "second-value", "second-value"} {
		known.Add("token", value)
	}
	if got := known.Hide("first-value second-value"); got != "[secret token] [secret token]" {
		t.Errorf("it shows %s", got)
	}
	for range 100 {
		known.Add("token", strings.Repeat("x", 8)+"-next")
	}
	var none *secret.Known
	none.Add("a", "value")
	none.AddSettings("token", "value")
	if got := none.Hide("value"); got != "value" {
		t.Errorf("nil shows %s", got)
	}
}

func TestSettingsThatAreSecretByTheirNamesAreKnown(t *testing.T) {
	known := &secret.Known{}
	known.AddSettings("", map[string]any{
		"DB_PASSWORD": "of-the-database", "api": map[string]any{"api-key": "of-the-api", "url": "https://user:of-the-address@example.com/"},
		"tokens": []any{"first-of-list"}, "GOOGLE_APPLICATION_CREDENTIALS": "/etc/secret.json", "MAX_TOKENS_PER_CALL": "4096", "database": "warehouse", "retries": 3.0,
	})
	const text = "of-the-database of-the-api of-the-address first-of-list /etc/secret.json 4096 warehouse user"
	const want = "[secret DB_PASSWORD] [secret api.api-key] [secret api.url] [secret tokens] /etc/secret.json 4096 warehouse user"
	if got := known.Hide(text); got != want {
		t.Errorf("it shows %s", got)
	}
}

func TestAnErrorIsStillWhatItWas(t *testing.T) {
	known := &secret.Known{}
	known.Add("token", "hunter2")
	err := known.HideError(&fs.PathError{Op: "open", Path: "/hunter2", Err: fs.ErrNotExist})
	if err.Error() != "open /[secret token]: file does not exist" || !errors.Is(err, fs.ErrNotExist) {
		t.Errorf("it is %v", err)
	}
	if other := errors.New("other"); known.HideError(other) != other || known.HideError(nil) != nil { //nolint:errorlint // it is to be the same
		t.Error("an error without secrets is another one")
	}
}
