package io.agenthost.sdk.literal;

import com.fasterxml.jackson.databind.JsonNode;
import com.flyteidl.core.Blob;
import com.flyteidl.core.BlobMetadata;
import com.flyteidl.core.BlobType;
import com.flyteidl.core.Literal;
import com.flyteidl.core.LiteralCollection;
import com.flyteidl.core.LiteralMap;
import com.flyteidl.core.LiteralType;
import com.flyteidl.core.Primitive;
import com.flyteidl.core.Scalar;
import com.flyteidl.core.Schema;
import com.flyteidl.core.SchemaType;
import com.flyteidl.core.SimpleType;
import com.flyteidl.core.StructuredDatasetMetadata;
import com.flyteidl.core.StructuredDatasetType;
import com.flyteidl.core.Union;
import com.flyteidl.core.Void;
import com.google.protobuf.ByteString;
import com.google.protobuf.Struct;
import com.google.protobuf.Timestamp;
import com.google.protobuf.util.Durations;
import com.google.protobuf.util.Timestamps;
import java.lang.reflect.Array;
import java.math.BigDecimal;
import java.math.BigInteger;
import java.time.Duration;
import java.time.Instant;
import java.time.LocalDate;
import java.time.OffsetDateTime;
import java.time.ZoneOffset;
import java.time.ZonedDateTime;
import java.util.ArrayList;
import java.util.Collection;
import java.util.Comparator;
import java.util.Date;
import java.util.List;
import java.util.Map;
import java.util.Optional;

/**
 * Writes literals.
 *
 * @param strict takes only values that are of the declared type already, which is how the variant of a union is chosen: an
 *     int is the integer of union[float, integer], though it could be made a float
 */
record Encoder(boolean strict) {
    static final Encoder LENIENT = new Encoder(false);
    private static final Encoder STRICT = new Encoder(true);

    Literal encode(Object given, LiteralType declared, String path) {
        Object value = given instanceof Optional<?> optional ? optional.orElse(null) : given;
        if (value instanceof Literal ready) {
            return ready;
        }
        if (value instanceof Scalar scalar) {
            return Literal.newBuilder().setScalar(scalar).build();
        }
        return switch (declared.getTypeCase()) {
            case TYPE_NOT_SET -> natural(value, path);
            case UNION_TYPE -> union(value, declared, path);
            case SIMPLE -> simple(value, declared, path);
            case COLLECTION_TYPE -> list(value, declared, declared.getCollectionType(), path);
            case MAP_VALUE_TYPE -> map(value, declared, declared.getMapValueType(), path);
            case ENUM_TYPE -> enumeration(value, declared, path);
            case BLOB -> blob(value, declared, path);
            case STRUCTURED_DATASET_TYPE -> dataset(value, declared, path);
            case SCHEMA -> schema(value, declared, path);
            default -> throw unfit(value, declared, path);
        };
    }

    private static LiteralException unfit(Object value, LiteralType declared, String path) {
        return new LiteralException(path, "%s cannot be written as %s".formatted(Names.of(value), Types.name(declared)));
    }

    private Literal union(Object value, LiteralType declared, String path) {
        for (Encoder attempt : strict ? List.of(STRICT) : List.of(STRICT, LENIENT)) {
            for (LiteralType variant : firstForText(value, declared.getUnionType().getVariantsList())) {
                try {
                    Union.Builder union = Union.newBuilder().setValue(attempt.encode(value, variant, path)).setType(variant);
                    return scalar(Scalar.newBuilder().setUnion(union));
                } catch (LiteralException e) {
                    // The next variant may fit.
                }
            }
        }
        throw unfit(value, declared, path);
    }

    /** Prefers string to enum where both take a text, as flytekit does. */
    private static List<LiteralType> firstForText(Object value, List<LiteralType> variants) {
        if (!(value instanceof String)) {
            return variants;
        }
        return variants.stream().sorted(Comparator.comparing(variant -> variant.getSimple() != SimpleType.STRING)).toList();
    }

    /** Writes a value whose type nobody declared. */
    private Literal natural(Object value, String path) {
        if (value == null) {
            return scalar(Scalar.newBuilder().setNoneType(Void.getDefaultInstance()));
        }
        if (value instanceof FlyteFile file) {
            return blobLiteral(file.uri(), file.format(), BlobType.BlobDimensionality.SINGLE);
        }
        if (value instanceof FlyteDirectory directory) {
            return blobLiteral(directory.uri(), directory.format(), BlobType.BlobDimensionality.MULTIPART);
        }
        if (value instanceof StructuredDataset) {
            return dataset(value, LiteralType.getDefaultInstance(), path);
        }
        if (value instanceof FlyteSchema) {
            return schema(value, LiteralType.getDefaultInstance(), path);
        }
        if (isList(value)) {
            return list(value, LiteralType.getDefaultInstance(), LiteralType.getDefaultInstance(), path);
        }
        return simple(value, Types.simple(naturalKind(value)), path);
    }

    private static SimpleType naturalKind(Object value) {
        if (value instanceof Boolean) {
            return SimpleType.BOOLEAN;
        } else if (isWhole(value)) {
            return SimpleType.INTEGER;
        } else if (value instanceof Number) {
            return SimpleType.FLOAT;
        } else if (instant(value) != null) {
            return SimpleType.DATETIME;
        } else if (value instanceof Duration) {
            return SimpleType.DURATION;
        } else if (value instanceof byte[] || value instanceof Binary) {
            return SimpleType.BINARY;
        } else if (value instanceof com.flyteidl.core.Error) {
            return SimpleType.ERROR;
        }
        return text(value) != null ? SimpleType.STRING : SimpleType.STRUCT;
    }

    private Literal simple(Object value, LiteralType declared, String path) {
        SimpleType kind = declared.getSimple();
        if (value == null) {
            if (kind != SimpleType.NONE) {
                throw unfit(value, declared, path);
            }
            return natural(null, path);
        }
        Literal written = switch (kind) {
            case INTEGER -> integer(value, path);
            case FLOAT -> real(value, path);
            case STRING -> text(value) == null ? null : string(text(value), path);
            case BOOLEAN -> value instanceof Boolean truth ? primitive(Primitive.newBuilder().setBoolean(truth)) : null;
            case DATETIME -> datetime(value, path);
            case DURATION -> value instanceof Duration duration ? duration(duration, path) : null;
            case BINARY -> Types.isPickle(declared) && !isPickled(value) ? null : binary(value);
            case ERROR -> value instanceof com.flyteidl.core.Error error ? scalar(Scalar.newBuilder().setError(error)) : null;
            case STRUCT -> object(value, path);
            default -> null;
        };
        if (written == null) {
            throw unfit(value, declared, path);
        }
        return written;
    }

    private static boolean isWhole(Object value) {
        return value instanceof Long || value instanceof Integer || value instanceof Short || value instanceof Byte || value instanceof BigInteger;
    }

    private Literal integer(Object value, String path) {
        if (!(value instanceof Number number) || (strict && !isWhole(value))) {
            return null;
        }
        double real = number.doubleValue();
        if (Double.isNaN(real) || Double.isInfinite(real)) {
            throw new LiteralException(path, "%s is not a whole number, and integer is declared".formatted(value));
        }
        try {
            return primitive(Primitive.newBuilder().setInteger(new BigDecimal(value.toString()).longValueExact()));
        } catch (ArithmeticException e) {
            throw new LiteralException(path, isWhole(value)
                    ? "%s is out of the range of integer".formatted(value)
                    : "%s is not a whole number, and integer is declared".formatted(value));
        }
    }

    private Literal real(Object value, String path) {
        if (!(value instanceof Number number) || (strict && isWhole(value))) {
            return null;
        }
        double real = number.doubleValue();
        if (isWhole(value) && (Double.isInfinite(real) || new BigDecimal(real).compareTo(new BigDecimal(value.toString())) != 0)) {
            throw new LiteralException(path, "%s has more digits than a float".formatted(value));
        }
        if (value instanceof BigDecimal decimal) {
            try {
                real = Plain.real(decimal);
            } catch (IllegalArgumentException e) {
                throw new LiteralException(path, e.getMessage());
            }
        }
        return primitive(Primitive.newBuilder().setFloatValue(real));
    }

    /** The text that a value is: strings, characters, enums, and what Jackson writes as a string, such as a UUID. */
    private static String text(Object value) {
        if (value instanceof CharSequence || value instanceof Character) {
            return value.toString();
        }
        if (value instanceof Number || value instanceof Boolean || value instanceof byte[] || value instanceof Duration || isList(value)
                || value instanceof Map || value instanceof Generic || value instanceof com.google.protobuf.Message || instant(value) != null) {
            return null;
        }
        try {
            JsonNode node = Plain.tree(value);
            return node.isTextual() ? node.textValue() : null;
        } catch (IllegalArgumentException e) {
            return null; // what has no JSON is told where JSON is made of it
        }
    }

    private static Instant instant(Object value) {
        if (value instanceof Instant instant) {
            return instant;
        } else if (value instanceof MsgPackTimestamp stamp) {
            return stamp.time();
        } else if (value instanceof OffsetDateTime time) {
            return time.toInstant();
        } else if (value instanceof ZonedDateTime time) {
            return time.toInstant();
        } else if (value instanceof LocalDate date) {
            return date.atStartOfDay(ZoneOffset.UTC).toInstant();
        }
        return value instanceof Date date ? Instant.ofEpochMilli(date.getTime()) : null;
    }

    private static Literal datetime(Object value, String path) {
        Instant instant = instant(value);
        if (instant == null) {
            return null;
        }
        Timestamp stamp = Timestamp.newBuilder().setSeconds(instant.getEpochSecond()).setNanos(instant.getNano()).build();
        if (!Timestamps.isValid(stamp)) {
            throw new LiteralException(path, "the time %s cannot be a datetime: it must be in the years 1 to 9999".formatted(instant));
        }
        return primitive(Primitive.newBuilder().setDatetime(stamp));
    }

    private static Literal duration(Duration value, String path) {
        // Java's nanoseconds are never negative; protobuf's have the sign of the seconds.
        boolean borrow = value.getSeconds() < 0 && value.getNano() > 0;
        com.google.protobuf.Duration written = com.google.protobuf.Duration.newBuilder()
                .setSeconds(borrow ? value.getSeconds() + 1 : value.getSeconds())
                .setNanos(borrow ? value.getNano() - 1_000_000_000 : value.getNano()).build();
        if (!Durations.isValid(written)) {
            throw new LiteralException(path, "the duration %s is longer than a literal's can be, 10,000 years".formatted(value));
        }
        return primitive(Primitive.newBuilder().setDuration(written));
    }

    /** A pickle that came as an input. Others are not made outside Python. */
    private static boolean isPickled(Object value) {
        return value instanceof Binary binary && binary.tag().equals(Binary.PICKLE);
    }

    private static Literal binary(Object value) {
        if (value instanceof byte[] bytes) {
            return binaryLiteral(bytes, "");
        }
        return value instanceof Binary binary ? binaryLiteral(binary.value(), binary.tag()) : null;
    }

    /** Writes a dataclass, a dict or whatever else JSON can say. */
    private Literal object(Object value, String path) {
        if (value instanceof Struct struct) {
            return scalar(Scalar.newBuilder().setGeneric(struct));
        }
        if (value instanceof Binary binary) {
            return binaryLiteral(binary.value(), binary.tag());
        }
        if (value instanceof StructuredDataset || value instanceof FlyteSchema || value instanceof FlyteFile || value instanceof FlyteDirectory) {
            return null;
        }
        Object plain = plain(value instanceof Generic generic ? generic.value() : value, path);
        if (value instanceof Generic) {
            if (!(plain instanceof Map<?, ?> object)) {
                throw new LiteralException(path, "the value is not a JSON object, and a generic literal can hold nothing else");
            }
            try {
                return scalar(Scalar.newBuilder().setGeneric(Plain.toStruct(object)));
            } catch (IllegalArgumentException e) {
                throw new LiteralException(path, e.getMessage());
            }
        }
        if (!(plain instanceof Map) && !(plain instanceof List && !strict)) {
            return null;
        }
        try {
            return binaryLiteral(MsgPack.write(plain), Binary.MSGPACK);
        } catch (IllegalArgumentException e) { // of whole numbers
            throw new LiteralException(path, "%s cannot be written as msgpack: %s".formatted(Names.of(value), e.getMessage()));
        }
    }

    private static Object plain(Object value, String path) {
        try {
            return Plain.of(value);
        } catch (IllegalArgumentException e) {
            throw new LiteralException(path, "%s cannot be written as JSON: %s".formatted(Names.of(value), e.getMessage()));
        }
    }

    private static boolean isList(Object value) {
        return value instanceof Collection || (value != null && value.getClass().isArray() && !(value instanceof byte[]));
    }

    private Literal list(Object value, LiteralType declared, LiteralType element, String path) {
        if (!isList(value)) {
            throw unfit(value, declared, path);
        }
        List<Object> values = new ArrayList<>();
        if (value instanceof Collection<?> collection) {
            values.addAll(collection);
        } else {
            for (int i = 0; i < Array.getLength(value); i++) {
                values.add(Array.get(value, i));
            }
        }
        LiteralCollection.Builder literals = LiteralCollection.newBuilder();
        for (int i = 0; i < values.size(); i++) {
            literals.addLiterals(encode(values.get(i), element, path + "[" + i + "]"));
        }
        return Literal.newBuilder().setCollection(literals).build();
    }

    private Literal map(Object value, LiteralType declared, LiteralType element, String path) {
        if (!(value instanceof Map<?, ?> map)) {
            throw unfit(value, declared, path);
        }
        LiteralMap.Builder literals = LiteralMap.newBuilder();
        map.forEach((name, entry) -> {
            if (!(name instanceof String key)) {
                throw new LiteralException(path, "the key %s is %s, not a string".formatted(name, Names.of(name)));
            }
            string(key, path); // refuses what is no UTF-8
            literals.putLiterals(key, encode(entry, element, path + "." + key));
        });
        return Literal.newBuilder().setMap(literals).build();
    }

    private static Literal enumeration(Object value, LiteralType declared, String path) {
        String text = value == null ? null : text(value);
        if (text == null) {
            throw unfit(value, declared, path);
        }
        if (!declared.getEnumType().getValuesList().contains(text)) {
            throw new LiteralException(path, "\"%s\" is not one of %s".formatted(text, Types.name(declared)));
        }
        return string(text, path);
    }

    private Literal blob(Object value, LiteralType declared, String path) {
        BlobType type = declared.getBlob();
        String format;
        String uri;
        BlobType.BlobDimensionality dimensionality;
        if (value instanceof FlyteFile file) {
            uri = file.uri();
            format = file.format();
            dimensionality = BlobType.BlobDimensionality.SINGLE;
        } else if (value instanceof FlyteDirectory directory) {
            uri = directory.uri();
            format = directory.format();
            dimensionality = BlobType.BlobDimensionality.MULTIPART;
        } else if (value instanceof String text && !strict) {
            uri = text;
            format = "";
            dimensionality = type.getDimensionality();
        } else {
            throw unfit(value, declared, path);
        }
        if (dimensionality != type.getDimensionality()) {
            throw unfit(value, declared, path);
        }
        return blobLiteral(uri, format.isEmpty() ? type.getFormat() : format, dimensionality);
    }

    private Literal dataset(Object value, LiteralType declared, String path) {
        StructuredDatasetType type = declared.getStructuredDatasetType();
        StructuredDataset dataset;
        if (value instanceof StructuredDataset given) {
            dataset = given;
        } else if (value instanceof String uri && !strict) {
            dataset = new StructuredDataset(uri, "");
        } else {
            throw unfit(value, declared, path);
        }
        StructuredDatasetType.Builder written = type.toBuilder();
        if (!dataset.format().isEmpty()) {
            written.setFormat(dataset.format());
        }
        if (!dataset.columns().isEmpty()) {
            written.clearColumns();
        }
        for (StructuredDataset.Column column : dataset.columns()) {
            written.addColumns(StructuredDatasetType.DatasetColumn.newBuilder().setName(column.name()).setLiteralType(column.type()));
        }
        return scalar(Scalar.newBuilder().setStructuredDataset(com.flyteidl.core.StructuredDataset.newBuilder()
                .setUri(dataset.uri()).setMetadata(StructuredDatasetMetadata.newBuilder().setStructuredDatasetType(written))));
    }

    private Literal schema(Object value, LiteralType declared, String path) {
        FlyteSchema schema;
        if (value instanceof FlyteSchema given) {
            schema = given;
        } else if (value instanceof String uri && !strict) {
            schema = new FlyteSchema(uri, List.of());
        } else {
            throw unfit(value, declared, path);
        }
        SchemaType.Builder written = SchemaType.newBuilder();
        if (schema.columns().isEmpty()) {
            written.addAllColumns(declared.getSchema().getColumnsList());
        }
        for (FlyteSchema.Column column : schema.columns()) {
            written.addColumns(SchemaType.SchemaColumn.newBuilder().setName(column.name()).setType(column.type()));
        }
        return scalar(Scalar.newBuilder().setSchema(Schema.newBuilder().setUri(schema.uri()).setType(written)));
    }

    private static Literal scalar(Scalar.Builder scalar) {
        return Literal.newBuilder().setScalar(scalar).build();
    }

    private static Literal primitive(Primitive.Builder primitive) {
        return scalar(Scalar.newBuilder().setPrimitive(primitive));
    }

    private static Literal string(String value, String path) {
        try {
            return primitive(Primitive.newBuilder().setStringValue(Plain.utf8(value)));
        } catch (IllegalArgumentException e) {
            throw new LiteralException(path, e.getMessage());
        }
    }

    private static Literal binaryLiteral(byte[] value, String tag) {
        return scalar(Scalar.newBuilder().setBinary(com.flyteidl.core.Binary.newBuilder().setValue(ByteString.copyFrom(value)).setTag(tag)));
    }

    private static Literal blobLiteral(String uri, String format, BlobType.BlobDimensionality dimensionality) {
        BlobType type = BlobType.newBuilder().setFormat(format).setDimensionality(dimensionality).build();
        return scalar(Scalar.newBuilder().setBlob(Blob.newBuilder().setUri(uri).setMetadata(BlobMetadata.newBuilder().setType(type))));
    }
}
