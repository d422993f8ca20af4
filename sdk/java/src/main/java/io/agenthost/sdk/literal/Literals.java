package io.agenthost.sdk.literal;

import com.fasterxml.jackson.core.type.TypeReference;
import com.flyteidl.core.Literal;
import com.flyteidl.core.LiteralType;
import io.agenthost.sdk.internal.Json;
import java.lang.reflect.Type;

/**
 * Turns Flyte's literals into Java values and back.
 *
 * <table>
 * <caption>What becomes what</caption>
 * <tr><th>literal</th><th>when Object is asked for</th><th>when asked for by type</th></tr>
 * <tr><td>integer</td><td>Long</td><td>any integer type that holds it, BigInteger, BigDecimal; double, float if exact</td></tr>
 * <tr><td>float</td><td>Double</td><td>double, float, BigDecimal; integer types that hold it exactly</td></tr>
 * <tr><td>string, enum</td><td>String</td><td>String, enums, and what Jackson reads from a string: UUID, URI, …</td></tr>
 * <tr><td>boolean</td><td>Boolean</td><td>boolean</td></tr>
 * <tr><td>datetime</td><td>Instant</td><td>Instant, OffsetDateTime, ZonedDateTime, LocalDate (at midnight in UTC)</td></tr>
 * <tr><td>duration</td><td>Duration</td><td>Duration</td></tr>
 * <tr><td>none</td><td>null</td><td>Optional; an error for everything else</td></tr>
 * <tr><td>collection</td><td>List</td><td>List, Set, Collection, arrays</td></tr>
 * <tr><td>map</td><td>Map</td><td>Map with String keys, records</td></tr>
 * <tr><td>union</td><td>its value</td><td>its value</td></tr>
 * <tr><td>generic, msgpack</td><td>Map, List, …; keys are what they are</td><td>records, beans, maps, JsonNode: what Jackson reads</td></tr>
 * <tr><td>bytes, timestamps in it</td><td>byte[], MsgPackTimestamp</td><td>the same, a timestamp also as Instant</td></tr>
 * <tr><td>other binary</td><td>byte[], or Binary with a tag</td><td>byte[], Binary</td></tr>
 * <tr><td>blob</td><td>FlyteFile, FlyteDirectory</td><td>the same</td></tr>
 * <tr><td>structured dataset</td><td>StructuredDataset</td><td>the same</td></tr>
 * <tr><td>schema</td><td>FlyteSchema</td><td>FlyteSchema, StructuredDataset</td></tr>
 * <tr><td>error</td><td>com.flyteidl.core.Error</td><td>the same</td></tr>
 * </table>
 *
 * <p>A {@link Literal}, at any depth, is passed through both ways for what the table lacks. An Optional takes whatever its
 * content takes, and none.
 *
 * <p>What the Java type cannot hold is refused, and so is what the declared type cannot: nothing is rounded, cut or read as text.
 *
 * <p>Encoding follows the type that the task's interface declares: an int becomes a float where a float is declared, and a
 * union literal names its variant. Without a declared type it takes what is natural for the Java value; records, beans
 * and maps become msgpack, as flytekit writes dataclasses and dicts.
 */
public final class Literals {
    private Literals() {}

    /** Reads a literal. */
    public static <T> T decode(Literal literal, Class<T> type) {
        return decode(literal, (Type) type);
    }

    /** Reads a literal as a generic type, such as {@code new TypeReference<List<Double>>() {}}. */
    public static <T> T decode(Literal literal, TypeReference<T> type) {
        return decode(literal, type.getType());
    }

    /** Reads a literal as any type. */
    @SuppressWarnings("unchecked")
    public static <T> T decode(Literal literal, Type type) {
        return (T) Decoder.decode(literal, Json.MAPPER.constructType(type), "");
    }

    /** Writes a value as the literal that is natural for it. */
    public static Literal encode(Object value) {
        return encode(value, LiteralType.getDefaultInstance());
    }

    /** Writes a value as a literal of the declared type. */
    public static Literal encode(Object value, LiteralType declared) {
        return Encoder.LENIENT.encode(value, declared, "");
    }

    /** Whether a literal is None, perhaps as a variant of a union. */
    public static boolean isNone(Literal literal) {
        Literal at = literal;
        while (at.getScalar().hasUnion()) {
            at = at.getScalar().getUnion().getValue();
        }
        return at.getScalar().hasNoneType();
    }
}
