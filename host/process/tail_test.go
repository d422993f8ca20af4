package process

import (
	"fmt"
	"strings"
	"testing"
)

// What runtimes print when a program ends, after lines of its log, and the line of it that says why.
func TestAnExcerptHoldsTheLineThatSaysWhyTheProcessEnded(t *testing.T) {
	stack := func(format string, n int) string {
		var b strings.Builder
		for i := range n {
			fmt.Fprintf(&b, format+"\n", i)
		}
		return b.String()
	}
	structured := func(message string) string {
		return string(marshal(map[string]any{keyMessage: message, keyLevel: levelError}))
	}
	for name, c := range map[string]struct{ printed, want string }{
		"go":              {"panic: index out of cheese\n\ngoroutine 7 [running]:\n" + stack("main.f%d()\n\t/src/main.go:3 +0x1d", 4) + "exit status 2", "panic: index out of cheese"},
		"go, deep":        {"panic: index out of cheese\n\ngoroutine 7 [running]:\n" + stack("main.f%d()", 700), "panic: index out of cheese"},
		"go, nil":         {"panic: runtime error: nil\n[signal SIGSEGV: segmentation violation]\n\ngoroutine 7 [running]:\n" + stack("main.f%d()", 9), "panic: runtime error: nil"},
		"go, fatal":       {"fatal error: all goroutines are asleep - deadlock!\n\ngoroutine 1 [chan receive]:\n" + stack("main.f%d()", 9), "deadlock!"},
		"python":          {"Traceback (most recent call last):\n" + stack(`  File "a.py", line %d, in f`, 5) + "__main__.OutOfCheese: none left\n" + stack("closing %d", 9), "__main__.OutOfCheese: none left"},
		"python, chained": {"Traceback (most recent call last):\n  File \"a.py\"\nKeyError: 'a'\n\nDuring handling of the above exception, another exception occurred:\n\nTraceback (most recent call last):\n  File \"b.py\"\nValueError: none left\n" + stack("closing %d", 9), "ValueError: none left"},
		"python, native":  {"Fatal Python error: Segmentation fault\n\nCurrent thread 0x1 (most recent call first):\n" + stack(`  File "a.py", line %d in f`, 30), "Fatal Python error: Segmentation fault"},
		"java": {"Exception in thread \"main\" java.lang.IllegalStateException: cannot begin\n" + stack("\tat a.B.c(B.java:%d)", 30) + "Caused by: java.io.IOException: no such host\n" +
			stack("\tat a.B.c(B.java:%d)", 30) + "\t... 3 more", "Caused by: java.io.IOException: no such host"},
		"java, no class":                 {"Error: Could not find or load main class a.B\nCaused by: java.lang.ClassNotFoundException: a.B", "ClassNotFoundException: a.B"},
		"rust":                           {"thread 'main' panicked at src/main.rs:3:5:\nindex out of cheese\nstack backtrace:\n" + stack("   %d: core::panicking", 40), "index out of cheese"},
		"rust, an id":                    {"thread 'tokio-runtime-worker' (7) panicked at src/main.rs:3:5:\nindex out of cheese\nnote: run with `RUST_BACKTRACE=1`\n" + stack("closing %d", 9), "index out of cheese"},
		"node":                           {"/src/a.js:3\n  throw new Error('x')\n  ^\n\nTypeError: no cheese\n" + stack("    at f (/src/a.js:%d)", 9) + "\nNode.js v22.1.0", "TypeError: no cheese"},
		"deno":                           {"error: Uncaught (in promise) TypeError: no cheese\n" + stack("    at f (/src/a.js:%d)", 9), "TypeError: no cheese"},
		"c++":                            {"terminate called after throwing an instance of 'std::runtime_error'\n  what():  no cheese\n" + stack("frame %d", 30), "what(): no cheese"},
		"the loader":                     {"./a: error while loading shared libraries: libcheese.so.1: cannot open shared object file\n" + stack("hint %d", 9), "libcheese.so.1"},
		"a program":                      {"error: no cheese\n" + stack("usage %d", 15), "error: no cheese"},
		"a stack in one structured line": {structured("the agent failed\nTraceback (most recent call last):\n" + stack(`  File "a.py", line %d, in f`, 40) + "Boom: no cheese"), "Boom: no cheese"},
		"a long line":                    {"java.lang.IllegalStateException: " + strings.Repeat("wrapped in ", 40) + "no cheese\n" + stack("closing %d", 9), "no cheese"},
	} {
		t.Run(name, func(t *testing.T) {
			var last tail
			for i := range 9 {
				last.add(fmt.Appendf(nil, "listening %d", i))
			}
			for line := range strings.Lines(c.printed) {
				last.add([]byte(strings.TrimRight(line, "\n")))
			}
			for _, most := range []int{4, 6} {
				if got := Excerpt(last.texts(), most); !strings.Contains(got, c.want) || strings.Count(got, " | ") > 2*most {
					t.Errorf("of %d lines: %s", most, got)
				}
			}
		})
	}
}

func TestAnExcerptOfFewLinesIsAllOfThem(t *testing.T) {
	for want, lines := range map[string][]string{
		"":                  nil,
		"a":                 {"a"},
		"a | b | c":         {"a", " b", "c"},
		"a | … | d | e | f": {"a", "b", "c", "d", "e", "f"},
	} {
		if got := Excerpt(lines, 4); got != want {
			t.Errorf("%q: got %q, want %q", lines, got, want)
		}
	}
}

func TestAThreadThatDiedLongAgoIsNoReason(t *testing.T) {
	var last tail
	last.add([]byte("thread 'worker' panicked at src/main.rs:3:5:"))
	last.add([]byte("one call failed"))
	for range staleCrash {
		last.add([]byte("polled"))
	}
	if got := Excerpt(last.texts(), 6); strings.Contains(got, "one call failed") {
		t.Error(got)
	}
}
