from __future__ import annotations

from collections.abc import Mapping
from typing import Any

from flytekit.types.structured import StructuredDataset

from ._local import RunsOnHostAtOnce
from ._sql import Statement

FORMATS = ("parquet", "csv", "tsv", "json", "ndjson")
OPTIONS = ("delimiter", "quote", "escape", "comment", "header", "infer_rows")


class DataRetrieval(RunsOnHostAtOnce, Statement):
    """A task that fetches rows, columns or files by SQL from where they lie, within one call.

        from agenthost.tasks import DataRetrieval
        from flytekit import StructuredDataset, kwtypes

        top_carriers = DataRetrieval(
            name="top_carriers",
            query_template="select carrier from flights where distance > $least group by carrier",
            inputs=kwtypes(flights=StructuredDataset, least=int),
            outputs=kwtypes(carrier=list[str]),
        )

    Tables. An input that is a StructuredDataset, a FlyteFile, a list of these or a str with a URI is a table of its
    name, and so is each of `sources`. Every other input is a parameter: write `$least`, or Flyte's
    `{{ .inputs.least }}`, and the value is bound to it, never pasted into the text.

    Outputs. One StructuredDataset or FlyteFile takes the whole result. Values take the columns of their names: a list
    the whole column, anything else the value of the only row. A `list[dict]` alone takes the rows, and a `dict` alone
    the only row.

    Names in the SQL are case-sensitive as they are written.
    """

    TASK_TYPE = "data_retrieval"

    def __init__(
        self,
        name: str,
        query_template: str,
        inputs: dict[str, type[Any]] | None = None,
        outputs: dict[str, type[Any]] | None = None,
        sources: Mapping[str, str | list[str] | dict[str, Any]] | None = None,
        destination: str | None = None,
        output_structured_dataset_type: type[StructuredDataset] | None = None,
        **kwargs: Any,
    ) -> None:
        """
        :param name: the task's name, unique within its Flyte project and domain.
        :param query_template: the SQL, one SELECT.
        :param inputs: names and types of the inputs, as `kwtypes` makes them.
        :param outputs: names and types of the outputs, likewise.
        :param sources: further tables by name: a URI, a list of URIs, or `{"uri": …, "format": "csv", "options":
            {"delimiter": ";", "header": False}}`.
        :param destination: the URI of the file that the result is written to, where the plugin's configuration lets it.
            By default it goes to Flyte's own storage.
        :param output_structured_dataset_type: short for `outputs=kwtypes(results=…)`, as in flytekit's other SQL tasks.
        :param kwargs: passed on to flytekit's SQLTask: `metadata`, `docs`, …
        :raises ValueError: the query uses a parameter that is no input, or an argument makes no sense.
        """
        custom: dict[str, Any] = {"engine": "datafusion"}
        if sources:
            custom["sources"] = {table: _source(name, table, inputs or {}, sources[table]) for table in sources}
        if destination is not None:
            custom["destination"] = destination
        super().__init__(
            name=name,
            query_template=query_template,
            task_type=self.TASK_TYPE,
            custom=custom,
            inputs=inputs,
            outputs=outputs,
            output_structured_dataset_type=output_structured_dataset_type,
            **kwargs,
        )


def _source(task: str, table: str, inputs: dict[str, Any], source: str | list[str] | dict[str, Any]) -> dict[str, Any]:
    """Finds at compile time what would otherwise fail when the task runs."""
    if table in inputs:
        raise ValueError(f"{task}: {table!r} is an input and a source")
    if not isinstance(source, dict):
        return {"uri": source}
    if "uri" not in source:
        raise ValueError(f"{task}: source {table!r} has no uri")
    for key in source:
        if key not in ("uri", "format", "options"):
            raise ValueError(f"{task}: source {table!r} has {key!r}, but there are uri, format, options")
    if source.get("format", "parquet") not in FORMATS:
        raise ValueError(
            f"{task}: source {table!r} has format {source['format']!r}, but there are {', '.join(FORMATS)}"
        )
    for key in source.get("options", {}):
        if key not in OPTIONS:
            raise ValueError(f"{task}: source {table!r} has no option {key!r}, but there are {', '.join(OPTIONS)}")
    return source
