package query

import (
	"fmt"
	"strings"
	"unicode"
	"unicode/utf8"
)

type kind int

const (
	end kind = iota
	word
	stringLiteral // '…', E'…', $$…$$
	quotedName    // "…"
	lineComment
	blockComment
	parameter // $name
	template  // {{ … }}
	semicolon
	other // anything else, a character at a time
)

type token struct {
	kind kind
	text string
}

// lexer cuts SQL into the pieces that matter for finding its parameters and semicolons, by PostgreSQL's lexical rules,
// which DuckDB's parser keeps: doubled quotes, E” escapes, dollar quotes, nested block comments.
type lexer struct {
	text string
	pos  int
}

func (l *lexer) next() (token, error) {
	rest := l.text[l.pos:]
	if rest == "" {
		return token{kind: end}, nil
	}
	switch {
	case strings.HasPrefix(rest, "--"):
		n := strings.IndexAny(rest, "\r\n")
		if n < 0 {
			n = len(rest)
		}
		return l.cut(lineComment, n), nil
	case strings.HasPrefix(rest, "/*"):
		return l.blockComment(rest)
	case strings.HasPrefix(rest, "{{"):
		n := strings.Index(rest, "}}")
		if n < 0 {
			return token{}, unclosed("template", rest)
		}
		return l.cut(template, n+2), nil
	case rest[0] == ';':
		return l.cut(semicolon, 1), nil
	case rest[0] == '\'':
		return l.quoted(stringLiteral, rest, 0, false)
	case rest[0] == '"':
		return l.quoted(quotedName, rest, 0, false)
	case (rest[0] == 'e' || rest[0] == 'E') && strings.HasPrefix(rest[1:], "'"):
		return l.quoted(stringLiteral, rest, 1, true)
	case rest[0] == '$':
		return l.dollar(rest)
	case startsName(rest):
		return l.cut(word, nameLength(rest, true)), nil
	case rest[0] >= '0' && rest[0] <= '9':
		// A number takes its letters along, so that 1e5 is no word.
		return l.cut(other, 1+nameLength(rest[1:], true)), nil
	}
	_, n := utf8.DecodeRuneInString(rest)
	return l.cut(other, n), nil
}

func (l *lexer) blockComment(rest string) (token, error) {
	depth := 0
	for i := 0; i+1 < len(rest); {
		switch rest[i : i+2] {
		case "/*":
			depth++
			i += 2
		case "*/":
			depth--
			i += 2
			if depth == 0 {
				return l.cut(blockComment, i), nil
			}
		default:
			i++
		}
	}
	return token{}, unclosed("comment", rest)
}

func (l *lexer) quoted(k kind, rest string, open int, backslash bool) (token, error) {
	quote := rest[open]
	for i := open + 1; i < len(rest); i++ {
		switch {
		case backslash && rest[i] == '\\':
			i++
		case rest[i] != quote:
		case i+1 < len(rest) && rest[i+1] == quote:
			i++
		default:
			return l.cut(k, i+1), nil
		}
	}
	return token{}, unclosed("quote", rest)
}

// dollar reads $tag$…$tag$, $name or $1.
func (l *lexer) dollar(rest string) (token, error) {
	tag := 1
	if startsName(rest[1:]) {
		tag += nameLength(rest[1:], false)
	}
	if strings.HasPrefix(rest[tag:], "$") {
		delimiter := rest[:tag+1]
		n := strings.Index(rest[len(delimiter):], delimiter)
		if n < 0 {
			return token{}, unclosed("quote", rest)
		}
		return l.cut(stringLiteral, n+2*len(delimiter)), nil
	}
	if tag > 1 {
		return l.cut(parameter, tag), nil
	}
	return l.cut(other, 1), nil
}

func (l *lexer) cut(k kind, n int) token {
	text := l.text[l.pos : l.pos+n]
	l.pos += n
	return token{kind: k, text: text}
}

func startsName(s string) bool {
	r, _ := utf8.DecodeRuneInString(s)
	return s != "" && (r == '_' || r >= utf8.RuneSelf || unicode.IsLetter(r))
}

func nameLength(s string, dollars bool) int {
	for i, r := range s {
		inside := r == '_' || r >= utf8.RuneSelf || unicode.IsLetter(r) || unicode.IsDigit(r) || dollars && r == '$'
		if !inside {
			return i
		}
	}
	return len(s)
}

func unclosed(what, rest string) error {
	const shown = 40
	if len(rest) > shown {
		rest = strings.ToValidUTF8(rest[:shown], "") + "…"
	}
	return fmt.Errorf("the SQL ends inside a %s that starts at: %s", what, rest)
}
