package io.agenthost.sdk.literal;

import java.util.Arrays;

/**
 * Bytes with the name of their encoding. A byte[] is a Binary without a tag; the tag {@link #MSGPACK} marks what
 * flytekit 1.14 and newer send for dataclasses and dicts, which is better read as a record or a map.
 */
public record Binary(byte[] value, String tag) {
    /** The tag of a binary literal that holds a dataclass, a pydantic model or a dict. */
    public static final String MSGPACK = "msgpack";
    /** The tag that the host gives what Flyte 2's SDK has pickled: bytes, Decimal, and all that it has no type for. */
    public static final String PICKLE = "pickle";

    @Override
    public boolean equals(Object other) {
        return other instanceof Binary binary && Arrays.equals(value, binary.value) && tag.equals(binary.tag);
    }

    @Override
    public int hashCode() {
        return 31 * Arrays.hashCode(value) + tag.hashCode();
    }

    @Override
    public String toString() {
        return "Binary[%d bytes, tag=%s]".formatted(value.length, tag);
    }
}
