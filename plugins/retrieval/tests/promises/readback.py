"""Prints what readers find in datasets, as JSON: of a parquet file its columns' types and values, as pyarrow has them;
of a csv dataset its rows, as flytekit reads them. Makes a csv dataset with flytekit in the
folder that is named last."""

import json
import sys
from typing import Annotated

import pandas as pd
import pyarrow.parquet as pq
from flytekit import FlyteContextManager, StructuredDataset
from flytekit.core.type_engine import TypeEngine
from flytekit.models import literals
from flytekit.models.literals import StructuredDatasetMetadata
from flytekit.models.types import StructuredDatasetType

parquet, csv, made = sys.argv[1:]
table = pq.read_table(parquet)
columns = {
    name: [str(column.type), repr(column.to_pylist())]
    for name, column in zip(table.column_names, table.columns, strict=False)
}
context = FlyteContextManager.current_context()


def dataset(uri: str) -> literals.Literal:
    metadata = StructuredDatasetMetadata(StructuredDatasetType(format="csv"))
    return literals.Literal(literals.Scalar(structured_dataset=literals.StructuredDataset(uri=uri, metadata=metadata)))


rows = TypeEngine.to_python_value(context, dataset(csv), pd.DataFrame).to_dict("records")
frame = StructuredDataset(pd.DataFrame({"code": ["01234", "x"], "n": [1, 2]}), uri=made)
kind = Annotated[StructuredDataset, "csv"]
literal = TypeEngine.to_literal(context, frame, kind, TypeEngine.to_literal_type(kind))
print(json.dumps({"columns": columns, "rows": rows, "made": literal.scalar.structured_dataset.uri}))
