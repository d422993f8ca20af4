package io.agenthost.sdk.literal;

import java.io.IOException;
import java.math.BigInteger;
import java.nio.ByteBuffer;
import java.nio.charset.CharacterCodingException;
import java.nio.charset.StandardCharsets;
import java.time.Instant;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import org.msgpack.core.ExtensionTypeHeader;
import org.msgpack.core.MessageBufferPacker;
import org.msgpack.core.MessageInsufficientBufferException;
import org.msgpack.core.MessagePack;
import org.msgpack.core.MessagePackException;
import org.msgpack.core.MessageUnpacker;

/** Plain values as msgpack. */
final class MsgPack {
    /** Bounds the nesting of what is read: a stack overflow is no answer. */
    private static final int MAX_DEPTH = 1000;

    /** An order of entries, so that equal values are equal bytes: texts come in theirs. */
    private static final Comparator<Map.Entry<?, ?>> BY_KEY = Comparator
            .<Map.Entry<?, ?>, String>comparing(entry -> String.valueOf(entry.getKey()))
            .thenComparing(entry -> entry.getKey() == null ? "" : entry.getKey().getClass().getName());

    private MsgPack() {}

    static byte[] write(Object plain) {
        try (MessageBufferPacker packer = MessagePack.newDefaultBufferPacker()) {
            write(packer, plain);
            return packer.toByteArray();
        } catch (IOException e) {
            throw new IllegalStateException("msgpack in memory", e);
        }
    }

    private static void write(MessageBufferPacker packer, Object plain) throws IOException {
        if (plain == null) {
            packer.packNil();
        } else if (plain instanceof Boolean truth) {
            packer.packBoolean(truth);
        } else if (plain instanceof Long integer) {
            packer.packLong(integer);
        } else if (plain instanceof BigInteger integer) {
            packer.packBigInteger(integer);
        } else if (plain instanceof Double number) {
            packer.packDouble(number);
        } else if (plain instanceof String text) {
            packer.packString(text);
        } else if (plain instanceof byte[] bytes) {
            packer.packBinaryHeader(bytes.length);
            packer.writePayload(bytes);
        } else if (plain instanceof List<?> list) {
            packer.packArrayHeader(list.size());
            for (Object element : list) {
                write(packer, element);
            }
        } else if (plain instanceof Map<?, ?> object) {
            packer.packMapHeader(object.size());
            for (Map.Entry<?, ?> entry : object.entrySet().stream().sorted(BY_KEY).toList()) {
                write(packer, entry.getKey());
                write(packer, entry.getValue());
            }
        } else if (plain instanceof MsgPackTimestamp stamp) {
            packer.packTimestamp(stamp.time());
        } else {
            throw new IllegalArgumentException(plain.getClass() + " is not a plain value");
        }
    }

    /** Reads the one value that the bytes hold. */
    static Object read(byte[] data, String path) {
        try (MessageUnpacker unpacker = MessagePack.newDefaultUnpacker(data)) {
            Object value = read(unpacker, data.length, 0);
            if (unpacker.hasNext()) {
                throw new LiteralException(path, "the msgpack is followed by %d more bytes".formatted(data.length - unpacker.getTotalReadBytes()));
            }
            return value;
        } catch (MessageInsufficientBufferException e) {
            throw new LiteralException(path, "the msgpack ends early");
        } catch (IOException | MessagePackException | IllegalStateException e) {
            throw new LiteralException(path, "the msgpack is broken: " + e.getMessage());
        }
    }

    private static Object read(MessageUnpacker unpacker, int size, int depth) throws IOException {
        if (depth > MAX_DEPTH) {
            throw new IllegalStateException("it is nested deeper than " + MAX_DEPTH);
        }
        return switch (unpacker.getNextFormat().getValueType()) {
            case NIL -> {
                unpacker.unpackNil();
                yield null;
            }
            case BOOLEAN -> unpacker.unpackBoolean();
            case INTEGER -> Plain.whole(unpacker.unpackBigInteger());
            case FLOAT -> unpacker.unpackDouble();
            case STRING -> text(payload(unpacker, size, unpacker.unpackRawStringHeader()));
            case BINARY -> payload(unpacker, size, unpacker.unpackBinaryHeader());
            case ARRAY -> list(unpacker, size, depth);
            case MAP -> object(unpacker, size, depth);
            case EXTENSION -> extension(unpacker, size);
        };
    }

    private static String text(byte[] utf8) {
        try {
            return StandardCharsets.UTF_8.newDecoder().decode(ByteBuffer.wrap(utf8)).toString();
        } catch (CharacterCodingException e) {
            throw new IllegalStateException("a text is no UTF-8", e);
        }
    }

    /** Reads no more than there is: a length of four gigabytes takes five bytes to claim. */
    private static byte[] payload(MessageUnpacker unpacker, int size, int length) throws IOException {
        if (length > size - unpacker.getTotalReadBytes()) {
            throw new MessageInsufficientBufferException();
        }
        return unpacker.readPayload(length);
    }

    private static List<Object> list(MessageUnpacker unpacker, int size, int depth) throws IOException {
        int length = unpacker.unpackArrayHeader();
        List<Object> list = new ArrayList<>(Math.min(length, 16));
        for (int i = 0; i < length; i++) {
            list.add(read(unpacker, size, depth + 1));
        }
        return list;
    }

    private static Map<Object, Object> object(MessageUnpacker unpacker, int size, int depth) throws IOException {
        int length = unpacker.unpackMapHeader();
        Map<Object, Object> object = new LinkedHashMap<>();
        for (int i = 0; i < length; i++) {
            Object name = read(unpacker, size, depth + 1);
            if (!(name == null || name instanceof String || name instanceof Number || name instanceof Boolean)) {
                throw new IllegalStateException("it has a key that is neither a text nor a number");
            }
            if (object.containsKey(name)) {
                throw new IllegalStateException("two of its keys are " + name);
            }
            object.put(name, read(unpacker, size, depth + 1));
        }
        return object;
    }

    /** Reads timestamps, which the library would move into the next second where their nanoseconds are too many. */
    private static MsgPackTimestamp extension(MessageUnpacker unpacker, int size) throws IOException {
        ExtensionTypeHeader header = unpacker.unpackExtensionTypeHeader();
        ByteBuffer data = ByteBuffer.wrap(payload(unpacker, size, header.getLength()));
        if (!header.isTimestampType()) {
            throw new IllegalStateException("it has an extension of type " + header.getType());
        }
        long seconds;
        long nanos = 0;
        switch (header.getLength()) {
            case 4 -> seconds = Integer.toUnsignedLong(data.getInt());
            case 8 -> {
                long both = data.getLong();
                seconds = both & ((1L << 34) - 1);
                nanos = both >>> 34;
            }
            case 12 -> {
                nanos = Integer.toUnsignedLong(data.getInt());
                seconds = data.getLong();
            }
            default -> throw new IllegalStateException("it has a timestamp of %d bytes".formatted(header.getLength()));
        }
        if (nanos > 999_999_999 || seconds < Instant.MIN.getEpochSecond() || seconds > Instant.MAX.getEpochSecond()) {
            throw new IllegalStateException("it has a timestamp of %d s and %d ns, which is no time of Java's".formatted(seconds, nanos));
        }
        return new MsgPackTimestamp(Instant.ofEpochSecond(seconds, nanos));
    }
}
