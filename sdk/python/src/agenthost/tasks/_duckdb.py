from __future__ import annotations

from typing import Any

from flytekit.types.structured import StructuredDataset

from ._local import RunsOnHost
from ._sql import Statement


class DuckDBQuery(RunsOnHost, Statement):
    """A task that runs one SQL query in DuckDB.

        from agenthost.tasks import DuckDBQuery
        from flytekit import StructuredDataset, kwtypes

        long_flights = DuckDBQuery(
            name="long_flights",
            query_template="select * from flights where distance > $min_distance",
            inputs=kwtypes(flights=StructuredDataset, min_distance=int),
            outputs=kwtypes(results=StructuredDataset),
        )

    Inputs. A StructuredDataset or FlyteFile is a table of its input's name. Every other input is a parameter: write
    `$min_distance`, or Flyte's `{{ .inputs.min_distance }}`, and the value is bound to it, never pasted into the text,
    so it needs no quoting.

    Outputs. One StructuredDataset takes the whole result. Outputs of other types take the columns of their names from
    a result of one row: `outputs=kwtypes(n=int)` for `select count(*) as n from flights`. A query that is run for its
    effect alone has no outputs.

    The statement reaches DuckDB as it is written here, comments and line breaks included.
    """

    TASK_TYPE = "duckdb_query"

    def __init__(
        self,
        name: str,
        query_template: str,
        inputs: dict[str, type[Any]] | None = None,
        outputs: dict[str, type[Any]] | None = None,
        output_structured_dataset_type: type[StructuredDataset] | None = None,
        **kwargs: Any,
    ) -> None:
        """
        :param name: the task's name, unique within its Flyte project and domain.
        :param query_template: the SQL.
        :param inputs: names and types of the inputs, as `kwtypes` makes them.
        :param outputs: names and types of the outputs, likewise.
        :param output_structured_dataset_type: short for `outputs=kwtypes(results=…)`, as in flytekit's other SQL tasks.
        :param kwargs: passed on to flytekit's SQLTask: `metadata`, `environment`, `docs`, …
        :raises ValueError: the query uses a parameter that is no input, or both ways of naming outputs are used.
        """
        super().__init__(
            name=name,
            query_template=query_template,
            task_type=self.TASK_TYPE,
            custom={"engine": "duckdb"},
            inputs=inputs,
            outputs=outputs,
            output_structured_dataset_type=output_structured_dataset_type,
            **kwargs,
        )
