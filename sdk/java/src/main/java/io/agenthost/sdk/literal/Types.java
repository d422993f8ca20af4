package io.agenthost.sdk.literal;

import com.flyteidl.core.BlobType;
import com.flyteidl.core.Literal;
import com.flyteidl.core.LiteralType;
import com.flyteidl.core.Scalar;
import com.flyteidl.core.SimpleType;
import com.flyteidl.core.UnionType;
import java.util.List;
import java.util.Locale;
import java.util.stream.Collectors;

/** Makes literal types, and names them for people. */
public final class Types {
    /** Marks declared types whose values Flyte 2's SDK pickles, since it has no type for them: bytes, Decimal, Any, …. */
    private static final String PICKLE_TYPE = "FlytePickle";

    private Types() {}

    /** The literal type of a simple kind. */
    public static LiteralType simple(SimpleType kind) {
        return LiteralType.newBuilder().setSimple(kind).build();
    }

    /** The literal type of a list. */
    public static LiteralType listOf(LiteralType element) {
        return LiteralType.newBuilder().setCollectionType(element).build();
    }

    /** The literal type of a map from strings. */
    public static LiteralType mapOf(LiteralType value) {
        return LiteralType.newBuilder().setMapValueType(value).build();
    }

    /** The literal type of a union. */
    public static LiteralType unionOf(LiteralType... variants) {
        return LiteralType.newBuilder().setUnionType(UnionType.newBuilder().addAllVariants(List.of(variants))).build();
    }

    /** The literal type of a value that may be None. */
    public static LiteralType optional(LiteralType of) {
        return unionOf(of, simple(SimpleType.NONE));
    }

    /** Names a declared type, such as "list[integer]". */
    public static String name(LiteralType type) {
        return switch (type.getTypeCase()) {
            case SIMPLE -> isPickle(type) ? "pickle" : type.getSimple().name().toLowerCase(Locale.ROOT);
            case COLLECTION_TYPE -> "list[" + name(type.getCollectionType()) + "]";
            case MAP_VALUE_TYPE -> "map[string, " + name(type.getMapValueType()) + "]";
            case UNION_TYPE -> type.getUnionType().getVariantsList().stream().map(Types::name).collect(Collectors.joining(", ", "union[", "]"));
            case ENUM_TYPE -> "enum[" + String.join(", ", type.getEnumType().getValuesList()) + "]";
            case BLOB -> type.getBlob().getDimensionality() == BlobType.BlobDimensionality.MULTIPART ? "directory" : "file";
            case SCHEMA -> "schema";
            case STRUCTURED_DATASET_TYPE -> "structured dataset";
            default -> "unknown type";
        };
    }

    /** Whether a binary of a declared type is a pickle. Whoever reads it unpickles it, so that other bytes do not belong there. */
    static boolean isPickle(LiteralType declared) {
        return declared.getSimple() == SimpleType.BINARY && declared.getStructure().getTag().equals(PICKLE_TYPE);
    }

    /** Names what a literal is. */
    static String name(Literal literal) {
        return switch (literal.getValueCase()) {
            case COLLECTION -> "a list";
            case MAP -> "a map";
            case OFFLOADED_METADATA -> "an offloaded literal";
            case SCALAR -> name(literal.getScalar());
            default -> "an empty literal";
        };
    }

    private static String name(Scalar scalar) {
        return switch (scalar.getValueCase()) {
            case PRIMITIVE -> switch (scalar.getPrimitive().getValueCase()) {
                case INTEGER -> "an integer";
                case FLOAT_VALUE -> "a float";
                case STRING_VALUE -> "a string";
                case BOOLEAN -> "a boolean";
                case DATETIME -> "a datetime";
                case DURATION -> "a duration";
                default -> "an empty primitive";
            };
            case BLOB -> scalar.getBlob().getMetadata().getType().getDimensionality() == BlobType.BlobDimensionality.MULTIPART
                    ? "a directory" : "a file";
            case BINARY -> "a binary with tag \"%s\"".formatted(scalar.getBinary().getTag());
            case SCHEMA -> "a schema";
            case NONE_TYPE -> "none";
            case ERROR -> "an error";
            case GENERIC -> "a JSON object";
            case STRUCTURED_DATASET -> "a structured dataset";
            case UNION -> "a union";
            default -> "an empty scalar";
        };
    }
}
