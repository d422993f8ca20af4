package io.agenthost.snowflake;

import static org.junit.jupiter.api.Assertions.assertEquals;
import static org.junit.jupiter.api.Assertions.assertThrows;
import static org.junit.jupiter.api.Assertions.assertTrue;

import io.agenthost.sdk.AgentException;
import java.time.Duration;
import java.time.Instant;
import java.util.HashMap;
import java.util.List;
import java.util.Map;
import org.junit.jupiter.api.Test;
import org.junit.jupiter.params.ParameterizedTest;
import org.junit.jupiter.params.provider.CsvSource;

class PyformatTest {
    private static final Map<String, Object> INPUTS = Map.of("a", 1L, "b", "x");

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '\0', value = {
        "select %(a)s, %(b)s, %(a)s             | select ?, ?, ?",
        "select '%%(a)s', %(a)s                 | select '%(a)s', ?",
        "select 'it''s %(c)s', %(a)s            | select 'it''s %(c)s', ?",
        "select 'it\\'s %(c)s', %(a)s           | select 'it\\'s %(c)s', ?",
        "select \"%(c)s \"\" %(d)s\", %(a)s     | select \"%(c)s \"\" %(d)s\", ?",
        "select %(a)s /* %(b)s ' */, %(b)s      | select ? /* %(b)s ' */, ?",
        "select %(a)s -- %(b)s '                | select ? -- %(b)s '",
        "select %(a)s // %(b)s '                | select ? // %(b)s '",
        "select $$ %(c)s ' $$, %(b)s            | select $$ %(c)s ' $$, ?",
        "select 5 %% %(a)s, 'a%%'               | select 5 % ?, 'a%'",
        "select %(a)s, '?'                      | select ?, '?'",
        "select %(a)s, 'open                    | select ?, 'open",
    })
    void bindsOutsideOfWhatIsQuoted(String given, String wanted) {
        assertEquals(wanted, Pyformat.bind(given, INPUTS).sql());
    }

    @Test
    void keepsTheOrderOfValues() {
        assertEquals(List.of("x", 1L, "x"), Pyformat.bind("%(b)s %(a)s %(b)s", INPUTS).values());
    }

    @Test
    void leavesAStatementWithoutInputsAlone() {
        assertEquals(new Pyformat.Bound("select 5 %% 3, '%(a)s', ?", List.of()), Pyformat.bind("select 5 %% 3, '%(a)s', ?", Map.of()));
    }

    @Test
    void writesEveryKind() {
        Map<String, Object> inputs = new HashMap<>(Map.of("t", Instant.parse("2026-11-25T06:00:00.5Z"), "d", Duration.ofSeconds(3602), "l", List.of(1L, 2L)));
        inputs.put("n", null);
        Pyformat.Bound bound = Pyformat.bind("%(t)s %(d)s %(n)s in %(l)s", inputs);
        assertEquals("? ? ? in (?, ?)", bound.sql());
        assertEquals(java.util.Arrays.asList("2026-11-25 06:00:00.500000+00:00", "01:00:02.000000", null, 1L, 2L), bound.values());
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '\0', value = {
        "x in (%(l)s)                    | x in (?, ?)",
        "x IN  %(l)s                     | x IN  (?, ?)",
        "x in ( %(l)s, 7)                | x in ( ?, ?, 7)",
        "array_construct(0, %(l)s)       | array_construct(0, ?, ?)",
        "begin_%(l)s                     | begin_?, ?",
    })
    void writesAListAsSnowflakesPythonDriverDoes(String given, String wanted) {
        assertEquals(wanted, Pyformat.bind(given, Map.of("l", List.of(1L, 2L))).sql());
    }

    @ParameterizedTest
    @CsvSource(delimiter = '|', quoteCharacter = '\0', value = {
        "select %(c)s       | no input \"c\"",
        "select %(a)d       | should be %(name)s",
        "select %(a         | should be %(name)s",
        "select %(a)s, ?    | a bare ?",
        "select %(empty)s   | empty list",
        "select 'x %(a)s'   | the input %(a)s within 'x %(a)s'",
        "select \"%(a)s\"   | the input %(a)s within",
        "select $$%(a)s$$   | the input %(a)s within",
        "select %(map)s     | cannot bind",
        "select %(nested)s  | nested[0]",
        "select %(long)s    | 24 hours",
    })
    void saysWhatIsWrong(String given, String wanted) {
        Map<String, Object> inputs = Map.of("a", 1L, "empty", List.of(), "map", Map.of("k", 1L), "nested", List.of(List.of(1L)), "long", Duration.ofDays(2));
        AgentException thrown = assertThrows(AgentException.class, () -> Pyformat.bind(given, inputs));
        assertTrue(thrown.getMessage().contains(wanted), thrown.getMessage());
    }
}
