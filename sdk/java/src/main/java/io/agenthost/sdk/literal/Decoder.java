package io.agenthost.sdk.literal;

import com.fasterxml.jackson.databind.JavaType;
import com.flyteidl.core.BlobType;
import com.flyteidl.core.Literal;
import com.flyteidl.core.LiteralOffloadedMetadata;
import com.flyteidl.core.Primitive;
import com.flyteidl.core.Scalar;
import com.flyteidl.core.Schema;
import com.flyteidl.core.SimpleType;
import com.flyteidl.core.StructuredDatasetType;
import com.google.protobuf.Struct;
import com.google.protobuf.Value;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.Timestamps;
import io.agenthost.sdk.internal.Json;
import java.lang.reflect.Array;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.LocalTime;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.LinkedHashMap;
import java.util.LinkedHashSet;
import java.util.List;
import java.util.Map;
import java.util.Optional;
import java.util.Set;

/** Reads literals. */
final class Decoder {
    private static final Set<Class<?>> OF_STORAGE = Set.of(FlyteFile.class, FlyteDirectory.class, StructuredDataset.class, FlyteSchema.class, Binary.class);

    private Decoder() {}

    static Object decode(Literal literal, JavaType type, String path) {
        Class<?> raw = type.getRawClass();
        if (raw == Literal.class) {
            return literal;
        }
        if (raw == Optional.class) {
            return Literals.isNone(literal) ? Optional.empty() : Optional.of(decode(literal, type.getContentType(), path));
        }
        if (literal.getScalar().hasUnion()) {
            return decode(literal.getScalar().getUnion().getValue(), type, path);
        }
        if (type.isJavaLangObject()) {
            return natural(literal, path);
        }
        return switch (literal.getValueCase()) {
            case SCALAR -> scalar(literal, type, path);
            case COLLECTION -> list(literal, literal.getCollection().getLiteralsList(), type, path);
            case MAP -> map(literal, literal.getMap().getLiteralsMap(), type, path);
            case OFFLOADED_METADATA -> throw offloaded(literal.getOffloadedMetadata(), path);
            default -> throw mismatch(literal, type, path);
        };
    }

    private static LiteralException mismatch(Literal literal, JavaType type, String path) {
        return new LiteralException(path, "%s cannot be read as %s".formatted(Types.name(literal), Names.of(type)));
    }

    private static LiteralException offloaded(LiteralOffloadedMetadata data, String path) {
        return new LiteralException(path, ("Flyte has put the value, of %d bytes, into storage at %s: agents take values inline; "
                + "pass a file or a structured dataset, or raise the size from which propeller offloads literals")
                .formatted(data.getSizeBytes(), data.getUri()));
    }

    private static Object list(Literal literal, List<Literal> elements, JavaType type, String path) {
        Class<?> raw = type.getRawClass();
        boolean collection = raw.isAssignableFrom(ArrayList.class) || raw == Set.class;
        if (!(type.isArrayType() || (type.isCollectionLikeType() && collection)) || raw == byte[].class) {
            throw mismatch(literal, type, path);
        }
        List<Object> values = new ArrayList<>(elements.size());
        for (int i = 0; i < elements.size(); i++) {
            values.add(decode(elements.get(i), type.getContentType(), path + "[" + i + "]"));
        }
        if (raw == Set.class) {
            return new LinkedHashSet<>(values);
        }
        if (!type.isArrayType()) {
            return values;
        }
        Object array = Array.newInstance(type.getContentType().getRawClass(), values.size());
        for (int i = 0; i < values.size(); i++) {
            Array.set(array, i, values.get(i));
        }
        return array;
    }

    private static Object map(Literal literal, Map<String, Literal> entries, JavaType type, String path) {
        if (!type.isMapLikeType()) {
            if (isScalarType(type.getRawClass()) || type.isContainerType()) {
                throw mismatch(literal, type, path);
            }
            return Plain.into(natural(literal, path), type, path);
        }
        if (type.getRawClass() != Map.class || !type.getKeyType().getRawClass().isAssignableFrom(String.class)) {
            throw mismatch(literal, type, path);
        }
        Map<String, Object> values = new LinkedHashMap<>();
        entries.forEach((name, entry) -> values.put(name, decode(entry, type.getContentType(), path + "." + name)));
        return values;
    }

    /** Whether a type stands for a scalar literal, so that a map or a struct is never one. */
    private static boolean isScalarType(Class<?> raw) {
        return raw.isPrimitive() || raw.isEnum() || Number.class.isAssignableFrom(raw) || raw == String.class || raw == Boolean.class
                || raw.getPackageName().equals("java.time") || raw == MsgPackTimestamp.class || OF_STORAGE.contains(raw);
    }

    private static Object scalar(Literal literal, JavaType type, String path) {
        Scalar scalar = literal.getScalar();
        Class<?> raw = type.getRawClass();
        boolean msgpack = scalar.hasBinary() && scalar.getBinary().getTag().equals(Binary.MSGPACK);
        if (raw == byte[].class && scalar.hasBinary() && scalar.getBinary().getTag().isEmpty()) {
            return scalar.getBinary().getValue().toByteArray();
        }
        if (raw == Binary.class && scalar.hasBinary()) {
            return new Binary(scalar.getBinary().getValue().toByteArray(), scalar.getBinary().getTag());
        }
        if (raw == StructuredDataset.class && scalar.hasSchema()) {
            return dataset(scalar.getSchema());
        }
        if (raw == Struct.class && scalar.hasGeneric()) {
            return scalar.getGeneric();
        }
        // An attribute of a dataclass travels as msgpack, too: there a scalar is welcome.
        if ((msgpack && !OF_STORAGE.contains(raw)) || (scalar.hasGeneric() && !isScalarType(raw))) {
            return Plain.into(natural(literal, path), type, path);
        }
        if (scalar.hasPrimitive()) {
            return primitive(literal, scalar.getPrimitive(), type, path);
        }
        Object value = natural(literal, path);
        if (!raw.isInstance(value)) {
            throw mismatch(literal, type, path);
        }
        return value;
    }

    private static Object primitive(Literal literal, Primitive primitive, JavaType type, String path) {
        Class<?> raw = boxed(type.getRawClass());
        Object value = natural(literal, path);
        if (raw.isInstance(value)) {
            return value;
        }
        if (value instanceof Long || value instanceof Double) {
            return number(literal, value instanceof Long ? new BigDecimal((Long) value) : null, (Number) value, type, raw, path);
        }
        if (value instanceof Instant instant) {
            return datetime(literal, instant, type, path);
        }
        if (value instanceof String text && !Number.class.isAssignableFrom(raw) && raw != Boolean.class && !type.isContainerType()
                && raw != Instant.class && raw != Duration.class) {
            return fromText(literal, text, type, path);
        }
        throw mismatch(literal, type, path);
    }

    private static Object fromText(Literal literal, String text, JavaType type, String path) {
        try {
            return Json.MAPPER.convertValue(text, type);
        } catch (IllegalArgumentException e) {
            if (type.isEnumType()) {
                List<String> names = new ArrayList<>();
                for (Object constant : type.getRawClass().getEnumConstants()) {
                    names.add(Json.MAPPER.convertValue(constant, String.class));
                }
                throw new LiteralException(path, "\"%s\" is not one of %s".formatted(text, String.join(", ", names)));
            }
            throw mismatch(literal, type, path);
        }
    }

    private static Object datetime(Literal literal, Instant instant, JavaType type, String path) {
        Class<?> raw = type.getRawClass();
        if (raw == OffsetDateTime.class) {
            return instant.atOffset(ZoneOffset.UTC);
        }
        if (raw == ZonedDateTime.class) {
            return instant.atZone(ZoneOffset.UTC);
        }
        if (raw == LocalDate.class) {
            OffsetDateTime time = instant.atOffset(ZoneOffset.UTC);
            if (!time.toLocalTime().equals(LocalTime.MIDNIGHT)) {
                throw new LiteralException(path, "the datetime %s has a time of day, and cannot be read as %s".formatted(instant, Names.of(type)));
            }
            return time.toLocalDate();
        }
        throw mismatch(literal, type, path);
    }

    private static Object number(Literal literal, BigDecimal exact, Number value, JavaType type, Class<?> raw, String path) {
        double real = value.doubleValue();
        if (exact == null && (Double.isNaN(real) || Double.isInfinite(real))) {
            if (raw == Float.class) {
                return (float) real;
            }
            throw mismatch(literal, type, path);
        }
        BigDecimal decimal = exact != null ? exact : new BigDecimal(real);
        try {
            if (raw == Integer.class) {
                return decimal.intValueExact();
            } else if (raw == Long.class) {
                return decimal.longValueExact();
            } else if (raw == Short.class) {
                return decimal.shortValueExact();
            } else if (raw == Byte.class) {
                return decimal.byteValueExact();
            } else if (raw == BigInteger.class) {
                return decimal.toBigIntegerExact();
            }
        } catch (ArithmeticException e) {
            throw decimal.stripTrailingZeros().scale() > 0
                    ? mismatch(literal, type, path)
                    : new LiteralException(path, "%s is out of the range of %s".formatted(decimal.toBigInteger(), Names.of(type)));
        }
        if (raw == BigDecimal.class) {
            return exact != null ? exact : BigDecimal.valueOf(real);
        }
        if (raw == Float.class && exact == null) {
            if (Float.isInfinite((float) real)) {
                throw new LiteralException(path, "%s is out of the range of %s".formatted(real, Names.of(type)));
            }
            return (float) real;
        }
        if (raw == Double.class || raw == Float.class) {
            double back = raw == Float.class ? value.floatValue() : real;
            if (new BigDecimal(back).compareTo(decimal) != 0) {
                throw new LiteralException(path, "%s has more digits than %s".formatted(decimal, Names.of(type)));
            }
            return raw == Float.class ? (Object) value.floatValue() : (Object) real;
        }
        throw mismatch(literal, type, path);
    }

    private static Class<?> boxed(Class<?> raw) {
        return java.lang.invoke.MethodType.methodType(raw).wrap().returnType();
    }

    /** The Java value that the table of {@link Literals} names for a literal. */
    static Object natural(Literal literal, String path) {
        switch (literal.getValueCase()) {
            case COLLECTION -> {
                List<Object> list = new ArrayList<>();
                for (Literal element : literal.getCollection().getLiteralsList()) {
                    list.add(natural(element, path + "[" + list.size() + "]"));
                }
                return list;
            }
            case MAP -> {
                Map<String, Object> object = new LinkedHashMap<>();
                literal.getMap().getLiteralsMap().forEach((name, entry) -> object.put(name, natural(entry, path + "." + name)));
                return object;
            }
            case OFFLOADED_METADATA -> throw offloaded(literal.getOffloadedMetadata(), path);
            default -> {
                return naturalScalar(literal, path);
            }
        }
    }

    private static Object naturalScalar(Literal literal, String path) {
        Scalar scalar = literal.getScalar();
        return switch (scalar.getValueCase()) {
            case PRIMITIVE -> naturalPrimitive(literal, scalar.getPrimitive(), path);
            case NONE_TYPE -> null;
            case UNION -> natural(scalar.getUnion().getValue(), path);
            case GENERIC -> {
                if (literal.getMetadataOrDefault("format", "").equals("pickle")) {
                    throw new LiteralException(path, "Python has pickled the dict, into %s: only Python can read it"
                            .formatted(scalar.getGeneric().getFieldsOrDefault("pickle_file", Value.getDefaultInstance()).getStringValue()));
                }
                yield Plain.ofStruct(scalar.getGeneric());
            }
            case BINARY -> {
                byte[] bytes = scalar.getBinary().getValue().toByteArray();
                yield switch (scalar.getBinary().getTag()) {
                    case "" -> bytes;
                    case Binary.MSGPACK -> MsgPack.read(bytes, path);
                    default -> new Binary(bytes, scalar.getBinary().getTag());
                };
            }
            case BLOB -> {
                BlobType type = scalar.getBlob().getMetadata().getType();
                yield type.getDimensionality() == BlobType.BlobDimensionality.MULTIPART
                        ? new FlyteDirectory(scalar.getBlob().getUri(), type.getFormat())
                        : new FlyteFile(scalar.getBlob().getUri(), type.getFormat());
            }
            case STRUCTURED_DATASET -> {
                StructuredDatasetType type = scalar.getStructuredDataset().getMetadata().getStructuredDatasetType();
                yield new StructuredDataset(scalar.getStructuredDataset().getUri(), type.getFormat(), type.getColumnsList().stream()
                        .map(column -> new StructuredDataset.Column(column.getName(), column.getLiteralType())).toList());
            }
            case SCHEMA -> new FlyteSchema(scalar.getSchema().getUri(), scalar.getSchema().getType().getColumnsList().stream()
                    .map(column -> new FlyteSchema.Column(column.getName(), column.getType())).toList());
            case ERROR -> scalar.getError();
            default -> throw new LiteralException(path, Types.name(literal) + " has no value");
        };
    }

    private static Object naturalPrimitive(Literal literal, Primitive primitive, String path) {
        return switch (primitive.getValueCase()) {
            case INTEGER -> primitive.getInteger();
            case FLOAT_VALUE -> primitive.getFloatValue();
            case STRING_VALUE -> primitive.getStringValue();
            case BOOLEAN -> primitive.getBoolean();
            case DATETIME -> {
                if (!Timestamps.isValid(primitive.getDatetime())) {
                    throw new LiteralException(path, "the datetime is not one");
                }
                yield Instant.ofEpochSecond(primitive.getDatetime().getSeconds(), primitive.getDatetime().getNanos());
            }
            case DURATION -> {
                if (!Durations.isValid(primitive.getDuration())) {
                    throw new LiteralException(path, "the duration is not one");
                }
                yield Duration.ofSeconds(primitive.getDuration().getSeconds(), primitive.getDuration().getNanos());
            }
            default -> throw new LiteralException(path, Types.name(literal) + " has no value");
        };
    }

    /** A schema as a structured dataset: FlyteSchema always stores parquet. */
    private static StructuredDataset dataset(Schema schema) {
        return new StructuredDataset(schema.getUri(), "parquet", schema.getType().getColumnsList().stream()
                .map(column -> new StructuredDataset.Column(column.getName(), Types.simple(SimpleType.valueOf(column.getType().name()))))
                .toList());
    }
}
