package record

import (
	"bytes"
	"errors"
	"strings"
	"testing"
	"time"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"
)

func parse(t testing.TB, text string) *Keys {
	t.Helper()
	keys, err := ParseKeys([]byte(text))
	if err != nil {
		t.Fatal(err)
	}
	return keys
}

func TestARecordComesBackAsItWasSealed(t *testing.T) {
	keys := parse(t, string(NewKey()))
	rapid.Check(t, func(t *rapid.T) {
		bytesOrNil := rapid.Custom(func(t *rapid.T) []byte {
			if rapid.Bool().Draw(t, "nil") {
				return nil
			}
			return rapid.SliceOfN(rapid.Byte(), 1, -1).Draw(t, "bytes")
		})
		r := Record{
			Plugin: rapid.String().Draw(t, "plugin"), Accepted: time.UnixMilli(rapid.Int64Range(0, 1<<50).Draw(t, "accepted")),
			Request: bytesOrNil.Draw(t, "request"), End: bytesOrNil.Draw(t, "end"),
		}
		if rapid.Bool().Draw(t, "local") {
			r.Host, r.Intent = "host", rapid.String().Draw(t, "intent")
		}
		sealed := r.Seal(keys)
		if !Is(sealed) || !Envelope(sealed) || Newer(sealed) {
			t.Fatalf("not known as a record: %x", sealed)
		}
		got, err := Open(keys, sealed)
		if diff := cmp.Diff(r, got); err != nil || diff != "" {
			t.Fatalf("%v\n%s", err, diff)
		}
		if again := r.Seal(keys); bytes.Equal(again, sealed) {
			t.Fatal("two seals are equal: whoever sees them learns that the tasks are")
		}
	})
}

func TestKeysAreReplacedOneAfterTheOther(t *testing.T) {
	first, second := string(NewKey()), string(NewKey())
	old, both, fresh := parse(t, first), parse(t, "\n"+second+"\n"+first), parse(t, second)
	r := Record{Plugin: "p", Request: []byte("request")}
	for name, test := range map[string]struct {
		seal, open *Keys
		want       error
	}{
		"the former key opens":   {old, both, nil},
		"the new key seals":      {both, fresh, nil},
		"the former one is gone": {old, fresh, ErrForeign},
		"it is not there yet":    {both, old, ErrForeign},
	} {
		if _, err := Open(test.open, r.Seal(test.seal)); !errors.Is(err, test.want) {
			t.Errorf("%s: %v, want %v", name, err, test.want)
		}
	}
}

func TestWhatIsNoKeyIsRefusedWithoutBeingShown(t *testing.T) {
	for name, text := range map[string]string{
		"nothing": "", "blank lines": "\n \n", "too short": "c2VjcmV0", "no base64": "this is not base64 at all, it is a sentence",
		"the second line": string(NewKey()) + "c2VjcmV0", "too long": "c2VjcmV0" + string(NewKey()), "hex": strings.Repeat("0f", KeySize),
	} {
		_, err := ParseKeys([]byte(text))
		if err == nil || !strings.Contains(err.Error(), "openssl rand -base64 32") || text != "" && strings.TrimSpace(text) != "" && strings.Contains(err.Error(), strings.TrimSpace(text)) {
			t.Errorf("%s: %v", name, err)
		}
	}
}

func TestARecordHoldsNothingInClear(t *testing.T) {
	sealed := Record{Plugin: "bigquery-of-the-treasury", Request: []byte("select balance from accounts")}.Seal(parse(t, string(NewKey())))
	for _, part := range []string{"bigquery", "treasury", "balance", "accounts"} {
		if bytes.Contains(sealed, []byte(part)) {
			t.Errorf("%q can be read", part)
		}
	}
}

func TestATypicalTaskTakesLittleRoom(t *testing.T) {
	request := []byte(strings.Repeat("flytesnacks development etl.queries.daily select * from flights where day = {{ .inputs.day }} ", 20))
	if sealed := (Record{Plugin: "duckdb", Request: request}).Seal(parse(t, string(NewKey()))); len(sealed) > 400 {
		t.Errorf("%d bytes of %d", len(sealed), len(request))
	}
}

func FuzzOpen(f *testing.F) {
	keys := parse(f, string(NewKey()))
	sealed := Record{Plugin: "p", Request: []byte("request"), End: []byte("end")}.Seal(keys)
	f.Add(sealed)
	f.Add(sealed[:len(sealed)-1])
	f.Add([]byte(family))
	f.Add(append([]byte(family), 3))
	f.Add(append(bytes.Clone(mark), keys.seal.id[:]...))
	f.Fuzz(func(t *testing.T, meta []byte) {
		if Is(meta) && Newer(meta) {
			t.Error("it is this host's and a newer one's")
		}
		if !Is(meta) {
			return
		}
		if _, err := Open(keys, meta); err == nil && !bytes.Equal(meta, sealed) {
			t.Errorf("what nobody has sealed was opened: %x", meta)
		}
	})
}
