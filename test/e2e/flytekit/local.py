"""Calls DuckDBQuery tasks as plain Python functions, on the host that AGENTHOST_ADDRESS names.

Prints a JSON object: the three largest airlines of the demo's data, from largest to smallest, and the error of a query
that must fail.
"""

import json

import pandas as pd
from flytekit import FlyteFile, StructuredDataset, kwtypes, workflow

from agenthost.tasks import DuckDBQuery
from cases import DEMO

largest = DuckDBQuery(
    name="largest",
    query_template="""
        select name, count(*) as flights
        from flights join airlines using (carrier)
        group by name order by flights desc limit $n
    """,
    inputs=kwtypes(flights=StructuredDataset, airlines=FlyteFile["csv"], n=int),
    outputs=kwtypes(results=StructuredDataset),
)
order = DuckDBQuery(
    name="by_name",
    query_template="select name from largest order by flights desc",
    inputs=kwtypes(largest=StructuredDataset),
    outputs=kwtypes(results=StructuredDataset),
)
broken = DuckDBQuery(name="broken", query_template="select no_such_column as n", outputs=kwtypes(n=int))


@workflow
def two_steps(flights: StructuredDataset, airlines: FlyteFile["csv"], n: int) -> StructuredDataset:  # noqa: F821
    return order(largest=largest(flights=flights, airlines=airlines, n=n))


def main() -> None:
    flights = StructuredDataset(uri=str(DEMO / "data" / "flights.parquet"), file_format="parquet")
    names = two_steps(flights=flights, airlines=FlyteFile(str(DEMO / "data" / "airlines.csv")), n=3)
    try:
        broken()
        error = ""
    except Exception as e:
        error = str(e)
    print(json.dumps({"airlines": list(names.open(pd.DataFrame).all()["name"]), "error": error}))


if __name__ == "__main__":
    main()
