package io.agenthost.sdk.literal;

import com.flyteidl.core.LiteralType;
import java.util.List;

/**
 * A table that lies in storage: flytekit's StructuredDataset.
 *
 * @param uri where it is, such as "s3://bucket/a/b" or "bq://project:dataset.table"
 * @param format how it is stored: "parquet", "csv", or empty where the URI says it all
 * @param columns its columns, in order; empty when unknown
 */
public record StructuredDataset(String uri, String format, List<Column> columns) {
    /**
     * One column.
     *
     * @param type the type of its values, such as {@code Types.simple(SimpleType.INTEGER)}
     */
    public record Column(String name, LiteralType type) {}

    /** A table of unknown columns. */
    public StructuredDataset(String uri, String format) {
        this(uri, format, List.of());
    }
}
