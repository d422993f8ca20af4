package io.agenthost.sdk.literal;

import static org.junit.jupiter.api.Assertions.assertEquals;

import com.flyteidl.core.Literal;
import com.flyteidl.core.Scalar;
import com.google.protobuf.ByteString;
import java.time.Duration;
import java.time.Instant;
import java.util.List;
import java.util.Map;
import net.jqwik.api.Arbitraries;
import net.jqwik.api.Arbitrary;
import net.jqwik.api.ForAll;
import net.jqwik.api.Property;
import net.jqwik.api.Provide;

/** What holds for values of all kinds. */
class LiteralsPropertiesTest {
    @Property
    void plainValuesComeBackFromMsgPack(@ForAll("plain") Object value) {
        assertEquals(value, MsgPack.read(MsgPack.write(value), ""));
    }

    @Property
    void valuesComeBackFromLiterals(@ForAll("plain") Object value) {
        assertEquals(value, Literals.decode(Literals.encode(value), Object.class));
    }

    @Property
    void integersComeBack(@ForAll long value) {
        assertEquals(value, Literals.decode(Literals.encode(value), long.class));
    }

    @Property
    void timesComeBack(@ForAll("times") Instant time, @ForAll("durations") Duration duration) {
        assertEquals(time, Literals.decode(Literals.encode(time), Instant.class));
        assertEquals(duration, Literals.decode(Literals.encode(duration), Duration.class));
    }

    /** Whatever bytes a task brings, they are read or refused with the one exception that names the input. */
    @Property
    void bytesAreReadOrRefused(@ForAll byte[] bytes) {
        Literal literal = Literal.newBuilder().setScalar(Scalar.newBuilder().setBinary(
                com.flyteidl.core.Binary.newBuilder().setTag(Binary.MSGPACK).setValue(ByteString.copyFrom(bytes)))).build();
        for (Class<?> type : List.of(Object.class, Map.class, LiteralsTest.Point.class, String.class)) {
            try {
                Literals.decode(literal, type);
            } catch (LiteralException refused) {
                // That is the one.
            }
        }
    }

    @Provide
    Arbitrary<Object> plain() {
        Arbitrary<Object> leaf = Arbitraries.oneOf(Arbitraries.longs(), Arbitraries.doubles(), Arbitraries.strings().ofMaxLength(50),
                Arbitraries.of(true, false)).injectNull(0.05).map(value -> value);
        return Arbitraries.recursive(() -> leaf, this::container, 0, 3);
    }

    private Arbitrary<Object> container(Arbitrary<Object> inner) {
        return Arbitraries.oneOf(inner.list().ofMaxSize(5).map(list -> (Object) list),
                Arbitraries.maps(Arbitraries.strings().ofMaxLength(10), inner).ofMaxSize(5).map(map -> (Object) map));
    }

    @Provide
    Arbitrary<Instant> times() {
        return Arbitraries.longs().between(-62_135_596_800L, 253_402_300_799L)
                .flatMap(seconds -> Arbitraries.integers().between(0, 999_999_999).map(nanos -> Instant.ofEpochSecond(seconds, nanos)));
    }

    @Provide
    Arbitrary<Duration> durations() {
        return Arbitraries.longs().between(-315_576_000_000L, 315_575_999_999L)
                .flatMap(seconds -> Arbitraries.integers().between(0, 999_999_999).map(nanos -> Duration.ofSeconds(seconds, nanos)));
    }
}
