package io.agenthost.snowflake;

import io.agenthost.sdk.AgentException;
import java.util.ArrayList;
import java.util.Collections;
import java.util.List;
import java.util.Map;
import java.util.TreeSet;
import java.util.regex.Matcher;
import java.util.regex.Pattern;

/**
 * Turns {@code %(name)s} into {@code ?} and the values to bind. Strings, quoted identifiers, comments and {@code $$} bodies
 * are left as they are, but for {@code %%}, which is a per cent sign everywhere in a statement with inputs, as in Python. An input
 * within quotes is refused: Python would paste it there, and what cannot be bound must not stay another text unnoticed.
 */
final class Pyformat {
    private static final Pattern PLACEHOLDER = Pattern.compile("%\\(([^)]*)\\)s");
    private static final Pattern AFTER_IN = Pattern.compile("\\bin\\s*$", Pattern.CASE_INSENSITIVE);

    private final String sql;
    private final Map<String, Object> inputs;
    private final StringBuilder out = new StringBuilder();
    private final List<Object> values = new ArrayList<>();
    private int at;

    /** A statement with question marks, and what they stand for. */
    record Bound(String sql, List<Object> values) {}

    private Pyformat(String sql, Map<String, Object> inputs) {
        this.sql = sql;
        this.inputs = inputs;
    }

    /** Binds a task's inputs. A statement without inputs stays what it is. */
    static Bound bind(String sql, Map<String, Object> inputs) {
        return inputs.isEmpty() ? new Bound(sql, List.of()) : new Pyformat(sql, inputs).bind();
    }

    private Bound bind() {
        boolean questioned = false;
        while (at < sql.length()) {
            if (quoted()) {
                continue;
            }
            char c = sql.charAt(at);
            questioned |= c == '?';
            if (sql.startsWith("%(", at)) {
                placeholder();
            } else {
                copyTo(at + 1);
            }
        }
        if (questioned && !values.isEmpty()) {
            throw AgentException.invalidArgument("the statement has both %(name)s and a bare ?, which Snowflake would take for an input: "
                    + "give it an input, too, or quote it");
        }
        return new Bound(out.toString(), values);
    }

    /** Copies what is quoted or a comment, if that is what comes. */
    private boolean quoted() {
        if (sql.startsWith("'", at)) {
            literalTo(endOfString());
        } else if (sql.startsWith("\"", at)) {
            literalTo(endOf("\"", at + 1)); // A doubled quote is two identifiers to this loop, with the same end.
        } else if (sql.startsWith("$$", at)) {
            literalTo(endOf("$$", at + 2));
        } else if (sql.startsWith("/*", at)) {
            copyTo(endOf("*/", at + 2));
        } else if (sql.startsWith("--", at) || sql.startsWith("//", at)) {
            copyTo(endOf("\n", at + 2));
        } else {
            return false;
        }
        return true;
    }

    private int endOf(String mark, int from) {
        int found = sql.indexOf(mark, from);
        return found < 0 ? sql.length() : found + mark.length();
    }

    /** A doubled quote is two strings to the loop, with the same end; a backslash hides what follows. */
    private int endOfString() {
        for (int i = at + 1; i < sql.length(); i++) {
            if (sql.charAt(i) == '\\') {
                i++;
            } else if (sql.charAt(i) == '\'') {
                return i + 1;
            }
        }
        return sql.length();
    }

    /** Copies what is quoted, which has room for no input. */
    private void literalTo(int end) {
        String literal = sql.substring(at, end);
        Matcher placeholder = PLACEHOLDER.matcher(literal.replace("%%", ""));
        if (placeholder.find() && inputs.containsKey(placeholder.group(1))) {
            throw AgentException.invalidArgument(("the statement has the input %s within %s, where Snowflake binds nothing: put it outside of the "
                    + "quotes, such as 'day ' || %s; write %%%% for a per cent sign").formatted(placeholder.group(), literal, placeholder.group()));
        }
        copyTo(end);
    }

    private void copyTo(int end) {
        if (end == at + 1 && sql.startsWith("%%", at)) {
            end++;
        }
        out.append(sql.substring(at, end).replace("%%", "%"));
        at = end;
    }

    private void placeholder() {
        int end = sql.indexOf(')', at);
        if (end < 0 || end + 1 == sql.length() || sql.charAt(end + 1) != 's') {
            throw AgentException.invalidArgument("the statement has \"%s\", which should be %%(name)s; write %%%% for a per cent sign"
                    .formatted(sql.substring(at, Math.min(sql.length(), at + 20))));
        }
        String name = sql.substring(at + 2, end);
        if (!inputs.containsKey(name)) {
            throw AgentException.invalidArgument("the statement has %%(%s)s, but the task has no input \"%s\": it has %s"
                    .formatted(name, name, String.join(", ", new TreeSet<>(inputs.keySet()))));
        }
        value(name, inputs.get(name));
        at = end + 2;
    }

    /**
     * A list becomes one bind for each element, with commas between them and nothing around, which is what Snowflake's own
     * Python driver makes of one: a statement says {@code in (%(l)s)} or {@code array_construct(%(l)s)}. Right after IN, where
     * that could only fail, it gets parentheses.
     */
    private void value(String name, Object value) {
        if (!(value instanceof List<?> list)) {
            out.append('?');
            values.add(Values.bindable(name, value));
            return;
        }
        if (list.isEmpty()) {
            throw AgentException.invalidArgument("input \"%s\" is an empty list, and Snowflake has no IN ()".formatted(name));
        }
        boolean bare = AFTER_IN.matcher(out).find();
        out.append(bare ? "(" : "").append(String.join(", ", Collections.nCopies(list.size(), "?"))).append(bare ? ")" : "");
        for (int i = 0; i < list.size(); i++) {
            values.add(Values.bindable("%s[%d]".formatted(name, i), list.get(i)));
        }
    }
}
