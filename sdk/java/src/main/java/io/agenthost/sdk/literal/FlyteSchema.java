package io.agenthost.sdk.literal;

import com.flyteidl.core.SchemaType.SchemaColumn.SchemaColumnType;
import java.util.List;

/**
 * flytekit's deprecated FlyteSchema: a folder of parquet files with typed columns. A schema can also be read as a
 * {@link StructuredDataset}.
 */
public record FlyteSchema(String uri, List<Column> columns) {
    /** One column. */
    public record Column(String name, SchemaColumnType type) {}
}
