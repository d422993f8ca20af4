// Package query reads the text of a task's SQL without a database: it splits it into statements and gives its
// parameters their values' places.
//
// A parameter is written `$name`, DuckDB's own form, or `{{ .inputs.name }}`, Flyte's. Neither is ever replaced by the
// value's text. Both become `getvariable('name')`, a constant with the input's exact type, so a value can stand wherever
// DuckDB takes a constant (a LIMIT, an argument of read_csv, a view), and no value can change what the statement says.
package query

import (
	"fmt"
	"regexp"
	"slices"
	"strings"
)

// Statement is one SQL statement, ready for DuckDB.
type Statement struct {
	// Text is the statement without its semicolon, parameters replaced by getvariable calls.
	Text string
	// words are the statement's bare words in upper case: keywords and unquoted names.
	words []string
}

// Verb is the first word in upper case, such as SELECT; "" for a statement that starts with a parenthesis.
func (s Statement) Verb() string {
	if len(s.words) == 0 || strings.HasPrefix(strings.TrimSpace(s.Text), "(") {
		return ""
	}
	return s.words[0]
}

// Has tells whether an upper-case word occurs in the statement outside strings, quoted names and comments.
func (s Statement) Has(word string) bool { return slices.Contains(s.words, word) }

// Script is a task's whole SQL.
type Script struct {
	// Statements in the order in which they run; at least one.
	Statements []Statement
	// Parameters are the names that the statements use, each once, in order of first use.
	Parameters []string
}

// Parse reads SQL text. The errors are for the person who wrote it: no statement at all, a text that ends inside a
// string or comment, a `{{ … }}` that names no input or stands where no value can stand.
func Parse(text string) (Script, error) {
	p := parser{lexer: lexer{text: text}}
	for {
		tok, err := p.lexer.next()
		if err != nil {
			return Script{}, err
		}
		if tok.kind == end {
			break
		}
		if err := p.take(tok); err != nil {
			return Script{}, err
		}
	}
	p.finish()
	if len(p.script.Statements) > 0 {
		return p.script, nil
	}
	if p.sawLineComment {
		return Script{}, fmt.Errorf("the SQL has no statement, only a comment: flytekit joins a query's lines into one, so a `--` comment swallows all that follows it; write /* … */ instead")
	}
	return Script{}, fmt.Errorf("the SQL has no statement")
}

type parser struct {
	lexer          lexer
	script         Script
	text           strings.Builder
	words          []string
	sawLineComment bool
}

func (p *parser) take(tok token) error {
	switch tok.kind {
	case semicolon:
		p.finish()
		return nil
	case parameter:
		p.use(tok.text[1:])
		return nil
	case template:
		name, err := templateInput(tok.text)
		if err != nil {
			return err
		}
		p.use(name)
		return nil
	case stringLiteral, quotedName:
		if inner := templatePattern.FindString(tok.text); inner != "" {
			return p.takeQuotedTemplate(tok, inner)
		}
	case lineComment, blockComment:
		p.sawLineComment = p.sawLineComment || tok.kind == lineComment
		p.text.WriteString(" ")
		return nil
	case word:
		p.words = append(p.words, strings.ToUpper(tok.text))
	}
	p.text.WriteString(tok.text)
	return nil
}

// takeQuotedTemplate handles '{{ .inputs.day }}', which people write where the template would become bare text: the
// value needs no quotes here. A template that is only a part of a string cannot be a value.
func (p *parser) takeQuotedTemplate(tok token, inner string) error {
	name, err := templateInput(inner)
	if err != nil {
		return err
	}
	switch {
	case tok.text == "'"+inner+"'":
		p.use(name)
		return nil
	case tok.kind == quotedName:
		return fmt.Errorf("%s stands inside the quoted name %s: an input is a value, it cannot be a part of a table's or column's name", inner, tok.text)
	default:
		return fmt.Errorf("%s stands inside the string %s: inputs are bound as values, never pasted into text; join the strings instead, such as 'a' || $%s || 'b'", inner, tok.text, name)
	}
}

func (p *parser) use(name string) {
	if !slices.Contains(p.script.Parameters, name) {
		p.script.Parameters = append(p.script.Parameters, name)
	}
	p.words = append(p.words, "GETVARIABLE")
	p.text.WriteString("getvariable(" + Literal(name) + ")")
}

func (p *parser) finish() {
	if text := strings.TrimSpace(p.text.String()); text != "" {
		p.script.Statements = append(p.script.Statements, Statement{Text: text, words: p.words})
	}
	p.text.Reset()
	p.words = nil
}

var (
	templatePattern = regexp.MustCompile(`\{\{.*?\}\}`)
	inputPattern    = regexp.MustCompile(`^\{\{-?\s*[.$]?[iI]nputs\.([A-Za-z_][A-Za-z0-9_]*)\s*-?\}\}$`)
)

func templateInput(text string) (string, error) {
	m := inputPattern.FindStringSubmatch(text)
	if m == nil {
		return "", fmt.Errorf("%s is no input: write {{ .inputs.NAME }} or $NAME", text)
	}
	return m[1], nil
}

// Literal quotes a text as an SQL string.
func Literal(text string) string { return "'" + strings.ReplaceAll(text, "'", "''") + "'" }

// Name quotes a text as an SQL name.
func Name(text string) string { return `"` + strings.ReplaceAll(text, `"`, `""`) + `"` }
