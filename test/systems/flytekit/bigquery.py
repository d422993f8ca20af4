"""Tasks of flytekitplugins-bigquery."""

from datetime import datetime, timezone

from flytekit import StructuredDataset, kwtypes
from flytekitplugins.bigquery import BigQueryConfig, BigQueryTask

CONFIG = BigQueryConfig(ProjectID="analytics", Location="US")


def query(name, statement, inputs=None, output=StructuredDataset):
    return BigQueryTask(
        name=name,
        inputs=inputs,
        query_template=statement,
        task_config=CONFIG,
        output_structured_dataset_type=output,
    )


def cases(case):
    scalars = kwtypes(n=int, x=float, s=str, b=bool, at=datetime)
    values = {"n": 7, "x": 2.5, "s": "O'Hara", "b": True, "at": datetime(2024, 2, 29, 12, tzinfo=timezone.utc)}
    return [
        case("a-table", query("a_table", "select * from unnest([1, 2, 3]) as n order by n")),
        case(
            "parameters",
            query("parameters", "select @n as n, @x as x, @s as s, @b as b, @at as at", scalars),
            values,
        ),
        case("no-output", query("no_output", "select 1 as one", output=None)),
        case("bad-sql", query("bad_sql", "selec 1"), fails="selec"),
        case("no-such-table", query("no_such_table", "select * from nowhere.nothing"), fails="nowhere"),
    ]
