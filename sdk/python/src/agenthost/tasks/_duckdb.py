from __future__ import annotations

import re
from typing import Any

from flytekit.configuration import SerializationSettings
from flytekit.extend import SQLTask
from flytekit.models.task import Sql
from flytekit.types.structured import StructuredDataset

from ._local import RunsOnHost


# The base classes come untyped from flytekit.
class DuckDBQuery(RunsOnHost, SQLTask[None]):  # type: ignore[misc]
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
        if output_structured_dataset_type is not None:
            if outputs is not None:
                raise ValueError(f"{name}: give outputs or output_structured_dataset_type, not both")
            outputs = {"results": output_structured_dataset_type}

        statement = query_template.strip()
        _check_parameters(name, statement, inputs or {})

        super().__init__(
            name=name,
            query_template=statement,
            task_type=self.TASK_TYPE,
            inputs=inputs,
            outputs=outputs,
            **kwargs,
        )
        # SQLTask joins all lines with single spaces. That would turn everything behind a `--` comment into comment,
        # and change the text within quotes.
        self._query_template = statement

    def get_custom(self, settings: SerializationSettings) -> dict[str, Any]:
        # Flyte 2 fails a connector's task whose template has no custom part, before it asks the connector.
        return {"engine": "duckdb"}

    def get_sql(self, settings: SerializationSettings) -> Sql:
        return Sql(statement=self.query_template, dialect=Sql.Dialect.ANSI)


# Where a dollar sign is no parameter: quoted text and names, comments (which nest), dollar-quoted text, inside a name.
_OPAQUE = r"""
    (?<!\w)[eE]'(?:[^'\\]|\\.|'')*'
  | '(?:[^']|'')*'
  | "(?:[^"]|"")*"
  | --[^\n]*
  | /\*(?: (?!/\*|\*/). | /\*(?:(?!\*/).)*\*/ )*\*/
  | (?<![\w$])\$(?P<tag>(?:[^\W\d]\w*)?)\$.*?\$(?P=tag)\$
"""
_PARAMETER = re.compile(_OPAQUE + r"| (?<![\w$])\$(?P<parameter>[^\W\d]\w*)", re.VERBOSE | re.DOTALL)
_TEMPLATE = re.compile(r"{{\s*\.(?P<path>[^}]*?)\s*}}")


def _check_parameters(task: str, statement: str, inputs: dict[str, type[Any]]) -> None:
    """Finds at compile time what would otherwise fail when the task runs."""
    used = {match[0]: match["parameter"] for match in _PARAMETER.finditer(statement) if match["parameter"]}
    for template in _TEMPLATE.finditer(statement):
        kind, _, name = template["path"].partition(".")
        if kind.lower() != "inputs":
            raise ValueError(f"{task}: the query uses {template[0]}, but only inputs can be used in a query")
        used[template[0]] = name

    for text, name in used.items():
        if name not in inputs:
            raise ValueError(f"{task}: the query uses {text}, but its inputs are: {', '.join(inputs) or 'none'}")
