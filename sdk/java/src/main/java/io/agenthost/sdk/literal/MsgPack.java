package io.agenthost.sdk.literal;

import java.io.IOException;
import java.math.BigInteger;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
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
            for (Map.Entry<?, ?> entry : new TreeMap<>(object).entrySet()) {
                packer.packString((String) entry.getKey());
                write(packer, entry.getValue());
            }
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
            case STRING -> new String(payload(unpacker, size, unpacker.unpackRawStringHeader()), java.nio.charset.StandardCharsets.UTF_8);
            case BINARY -> payload(unpacker, size, unpacker.unpackBinaryHeader());
            case ARRAY -> list(unpacker, size, depth);
            case MAP -> object(unpacker, size, depth);
            case EXTENSION -> extension(unpacker);
        };
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

    private static Map<String, Object> object(MessageUnpacker unpacker, int size, int depth) throws IOException {
        int length = unpacker.unpackMapHeader();
        Map<String, Object> object = new LinkedHashMap<>();
        for (int i = 0; i < length; i++) {
            Object name = read(unpacker, size, depth + 1);
            if (!(name instanceof String || name instanceof Number || name instanceof Boolean)) {
                throw new IllegalStateException("it has a key that is neither a text nor a number");
            }
            String key = String.valueOf(name);
            if (object.containsKey(key)) {
                throw new IllegalStateException("two of its keys read as " + key);
            }
            object.put(key, read(unpacker, size, depth + 1));
        }
        return object;
    }

    private static Object extension(MessageUnpacker unpacker) throws IOException {
        ExtensionTypeHeader header = unpacker.unpackExtensionTypeHeader();
        if (!header.isTimestampType()) {
            throw new IllegalStateException("it has an extension of type " + header.getType());
        }
        return unpacker.unpackTimestamp(header);
    }
}
