package secret

import (
	"cmp"
	"encoding/base64"
	"encoding/json"
	"net/url"
	"slices"
	"strings"
	"sync"
	"sync/atomic"
)

const (
	// minHidden is the shortest value that is taken out of texts: what is shorter is in too many words.
	minHidden = 4
	// minHiddenLine is that for a line of a value that has several, as keys in PEM have.
	minHiddenLine = 8
	// maxValues is how many values of a secret are known at once: a process may go on using the one before.
	maxValues = 4
)

// Known are values that must not be shown, and takes them out of texts. The zero value and nil know none. Its methods may be called from any
// goroutine.
type Known struct {
	mu     sync.Mutex
	values map[string][]string // by the secret's name, the newest last
	hide   atomic.Pointer[strings.Replacer]
}

// Add makes a value known, by the name that is shown in its place.
func (k *Known) Add(name, value string) {
	value = strings.TrimSpace(value)
	if k == nil || len(value) < minHidden {
		return
	}
	k.mu.Lock()
	defer k.mu.Unlock()
	if k.values == nil {
		k.values = map[string][]string{}
	}
	if slices.Contains(k.values[name], value) {
		return
	}
	all := slices.Concat(k.values[name], []string{value})
	k.values[name] = all[max(0, len(all)-maxValues):]
	k.hide.Store(replacer(k.values))
}

// replacer puts names in the place of values. Where one value is a part of another the longer one is looked for first.
func replacer(values map[string][]string) *strings.Replacer {
	shown := map[string]string{}
	for name, all := range values {
		for _, value := range all {
			for _, form := range formsOf(value) {
				shown[form] = "[secret " + name + "]"
			}
		}
	}
	forms := make([]string, 0, len(shown))
	for form := range shown {
		forms = append(forms, form)
	}
	slices.SortFunc(forms, func(a, b string) int { return cmp.Or(len(b)-len(a), strings.Compare(a, b)) })
	pairs := make([]string, 0, 2*len(forms))
	for _, form := range forms {
		pairs = append(pairs, form, shown[form])
	}
	return strings.NewReplacer(pairs...)
}

// formsOf are the ways in which a value is printed: as it is, in JSON, in an address, in base64, and line by line.
func formsOf(value string) []string {
	forms := []string{value, url.QueryEscape(value), url.PathEscape(value), base64.StdEncoding.EncodeToString([]byte(value))}
	if quoted, err := json.Marshal(value); err == nil {
		forms = append(forms, string(quoted[1:len(quoted)-1]))
	}
	if lines := strings.Fields(value); strings.Contains(value, "\n") {
		for _, line := range lines {
			if len(line) >= minHiddenLine {
				forms = append(forms, line)
			}
		}
	}
	return forms
}

// Hide is a text without the values that are known.
func (k *Known) Hide(text string) string {
	if k == nil {
		return text
	}
	if hide := k.hide.Load(); hide != nil {
		return hide.Replace(text)
	}
	return text
}

// HideError is an error whose text is without them; it is err itself where nothing is to be hidden.
func (k *Known) HideError(err error) error {
	if err == nil {
		return nil
	}
	text := err.Error()
	if shown := k.Hide(text); shown != text {
		return hidden{err, shown}
	}
	return err
}

type hidden struct {
	error
	text string
}

func (h hidden) Error() string { return h.text }
func (h hidden) Unwrap() error { return h.error }

// AddSettings makes values known that names and values themselves say are secret: of variables and keys that are called a password, a
// token or the like, and passwords in addresses. value is what JSON has: texts, lists and mappings.
func (k *Known) AddSettings(name string, value any) {
	switch value := value.(type) {
	case string:
		if address, err := url.Parse(value); err == nil && address.User != nil {
			if password, set := address.User.Password(); set {
				k.Add(name, password)
			}
		}
		if isSecretName(name) && !strings.HasPrefix(value, "/") { // else it is where the secret is
			k.Add(name, value)
		}
	case []any:
		for _, element := range value {
			k.AddSettings(name, element)
		}
	case map[string]any:
		for key, element := range value {
			k.AddSettings(strings.TrimPrefix(name+"."+key, "."), element)
		}
	}
}

// secretNames end the names of what is secret, in lower case and without what parts words.
var secretNames = []string{
	"password", "passwd", "passphrase", "secret", "secrets", "token", "tokens", "apikey", "accesskey", "secretkey", "privatekey", "signingkey", "encryptionkey", "sharedkey",
	"accountkey", "secretaccesskey", "accesskeyid", "credential", "credentials", "connectionstring", "authorization", "bearer", "webhook",
}

func isSecretName(name string) bool {
	name = strings.Map(func(r rune) rune {
		if strings.ContainsRune("_-. ", r) {
			return -1
		}
		return r
	}, strings.ToLower(name))
	return slices.ContainsFunc(secretNames, func(end string) bool { return strings.HasSuffix(name, end) })
}
