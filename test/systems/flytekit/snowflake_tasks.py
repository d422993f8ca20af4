"""Tasks of flytekitplugins-snowflake."""

from datetime import datetime, timezone

from flytekit import StructuredDataset, kwtypes
from flytekitplugins.snowflake import SnowflakeConfig, SnowflakeTask

CONFIG = SnowflakeConfig(user="FLYTE", account="acme-eu1", database="LAKE", schema="PUBLIC", warehouse="SMALL")


def query(name, statement, inputs=None, output=StructuredDataset):
    return SnowflakeTask(
        name=name,
        inputs=inputs,
        query_template=statement,
        task_config=CONFIG,
        output_schema_type=output,
    )


def cases(case):
    scalars = kwtypes(n=int, x=float, s=str, b=bool, at=datetime)
    values = {"n": 7, "x": 2.5, "s": "O'Hara 100% ?", "b": True, "at": datetime(2024, 2, 29, 12, tzinfo=timezone.utc)}
    within = "select carrier from (values ('AA'), ('UA')) as c(carrier) where carrier in (%(carriers)s)"
    return [
        case("a-table", query("a_table", "select * from (values (1), (2)) as n(n) order by n")),
        case(
            "parameters",
            query("parameters", "select %(n)s as n, %(x)s as x, %(s)s as s, %(b)s as b, %(at)s as at", scalars),
            values,
        ),
        case("a-list", query("a_list", within, kwtypes(carriers=list[str])), {"carriers": ["AA", "DL"]}),
        case("no-output", query("no_output", "select 1 as one", output=None)),
        case("bad-sql", query("bad_sql", "selec 1"), fails="selec"),
        case("no-such-table", query("no_such_table", "select * from no_such_table"), fails="NO_SUCH_TABLE"),
    ]
