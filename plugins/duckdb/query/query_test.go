package query_test

import (
	"strings"
	"testing"

	"github.com/google/go-cmp/cmp"
	"pgregory.net/rapid"

	"github.com/agenthost/agenthost/plugins/duckdb/query"
)

func TestParametersBecomeVariablesAndNothingElseDoes(t *testing.T) {
	for _, c := range []struct {
		name, sql string
		want      []string
		params    []string
	}{
		{"a parameter", "select $a", []string{"select getvariable('a')"}, []string{"a"}},
		{"twice", "select $a + $a, $b", []string{"select getvariable('a') + getvariable('a'), getvariable('b')"}, []string{"a", "b"}},
		{"beside punctuation", "f($a,$b)::int", []string{"f(getvariable('a'),getvariable('b'))::int"}, []string{"a", "b"}},
		{"Flyte's template", "select {{ .inputs.a }}, {{.inputs.b}}, {{.Inputs.c}}", []string{"select getvariable('a'), getvariable('b'), getvariable('c')"}, []string{"a", "b", "c"}},
		{"a quoted template needs no quotes", "where d = '{{ .inputs.day }}'", []string{"where d = getvariable('day')"}, []string{"day"}},
		{"in a string", "select '$a', $b", []string{"select '$a', getvariable('b')"}, []string{"b"}},
		{"after a doubled quote", "select 'it''s $a', $b", []string{"select 'it''s $a', getvariable('b')"}, []string{"b"}},
		{"after an escaped quote", `select E'it\'s $a; ', $b`, []string{`select E'it\'s $a; ', getvariable('b')`}, []string{"b"}},
		{"a word that ends in e before a string", `select type'$a'`, []string{`select type'$a'`}, nil},
		{"in a quoted name", `select "$a;" from t`, []string{`select "$a;" from t`}, nil},
		{"in a line comment", "select 1 -- $a; it's\n, $b", []string{"select 1  \n, getvariable('b')"}, []string{"b"}},
		{"in a nested comment", "select /* $a /* ; */ ' */ $b", []string{"select   getvariable('b')"}, []string{"b"}},
		{"in a dollar quote", "select $$ $a; $$, $x$ $$ $b $x$, $c", []string{"select $$ $a; $$, $x$ $$ $b $x$, getvariable('c')"}, []string{"c"}},
		{"inside a name", "select a$b from t", []string{"select a$b from t"}, nil},
		{"positional ones are the engine's to refuse", "select $1, ?", []string{"select $1, ?"}, nil},
		{"letters of any script", "select $größe", []string{"select getvariable('größe')"}, []string{"größe"}},
		{"several statements", "create table t as select 1; ; select * from t;", []string{"create table t as select 1", "select * from t"}, nil},
		{"a semicolon in a string", "select ';'", []string{"select ';'"}, nil},
	} {
		t.Run(c.name, func(t *testing.T) {
			script, err := query.Parse(c.sql)
			if err != nil {
				t.Fatal(err)
			}
			var texts []string
			for _, s := range script.Statements {
				texts = append(texts, s.Text)
			}
			if diff := cmp.Diff(c.want, texts); diff != "" {
				t.Error(diff)
			}
			if diff := cmp.Diff(c.params, script.Parameters); diff != "" {
				t.Error(diff)
			}
		})
	}
}

func TestTextThatIsNoSQLIsRefusedWithTheReason(t *testing.T) {
	for _, c := range []struct{ sql, want string }{
		{"", "no statement"},
		{"  ;\n; ", "no statement"},
		{"/* nothing */", "no statement"},
		{"-- count them select count(*) from t", "flytekit joins"},
		{"select 'open", "inside a quote"},
		{`select "open`, "inside a quote"},
		{"select $$open", "inside a quote"},
		{"select /* open /* */", "inside a comment"},
		{"select {{ .inputs.a", "inside a template"},
		{"select {{ .rawOutputDataPrefix }}", "is no input"},
		{"select '%{{ .inputs.a }}%'", "'a' || $a || 'b'"},
		{`select * from "{{ .inputs.table }}"`, "cannot be a part of a table's"},
	} {
		if _, err := query.Parse(c.sql); err == nil || !strings.Contains(err.Error(), c.want) {
			t.Errorf("Parse(%q) = %v, want an error with %q", c.sql, err, c.want)
		}
	}
}

func TestVerbAndWordsAreThoseOutsideQuotes(t *testing.T) {
	script, err := query.Parse(`/* a */ explain analyze copy (select 'attach' as "export") to 'x'; (select 1)`)
	if err != nil {
		t.Fatal(err)
	}
	s := script.Statements[0]
	if s.Verb() != "EXPLAIN" || !s.Has("COPY") || s.Has("ATTACH") || s.Has("EXPORT") {
		t.Errorf("got verb %q and %+v", s.Verb(), s)
	}
	if got := script.Statements[1].Verb(); got != "" {
		t.Errorf("a parenthesis has the verb %q", got)
	}
}

func TestAStringNeverEndsEarlyWhateverIsInIt(t *testing.T) {
	rapid.Check(t, func(t *rapid.T) {
		inner := rapid.String().Draw(t, "inner")
		if strings.Contains(inner, "{{") {
			return
		}
		script, err := query.Parse("select " + query.Literal(inner) + ", " + query.Name(inner) + ", $p")
		if err != nil {
			t.Fatal(err)
		}
		if len(script.Statements) != 1 || len(script.Parameters) != 1 {
			t.Fatalf("%q gave %+v", inner, script)
		}
	})
}

func FuzzParseNeverPanicsAndKeepsPlainText(f *testing.F) {
	f.Add("select $a; select '{{ .inputs.b }}' -- c\n/* d */ $$e$$ \"f\"")
	f.Fuzz(func(t *testing.T, sql string) {
		script, err := query.Parse(sql)
		if err == nil && len(script.Statements) == 0 {
			t.Errorf("%q parsed to nothing without an error", sql)
		}
	})
}
