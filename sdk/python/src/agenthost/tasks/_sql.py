from __future__ import annotations

import re
from typing import Any

from flytekit.configuration import SerializationSettings
from flytekit.extend import SQLTask
from flytekit.models.task import Sql
from flytekit.types.structured import StructuredDataset


# The base class comes untyped from flytekit.
class Statement(SQLTask[None]):  # type: ignore[misc]
    """A task that is an SQL statement, which reaches its plugin as it is written."""

    def __init__(
        self,
        name: str,
        query_template: str,
        task_type: str,
        custom: dict[str, Any],
        inputs: dict[str, type[Any]] | None,
        outputs: dict[str, type[Any]] | None,
        output_structured_dataset_type: type[StructuredDataset] | None,
        **kwargs: Any,
    ) -> None:
        if output_structured_dataset_type is not None:
            if outputs is not None:
                raise ValueError(f"{name}: give outputs or output_structured_dataset_type, not both")
            outputs = {"results": output_structured_dataset_type}

        statement = query_template.strip()
        _check_parameters(name, statement, inputs or {})

        super().__init__(
            name=name,
            query_template=statement,
            task_type=task_type,
            inputs=inputs,
            outputs=outputs,
            **kwargs,
        )
        # SQLTask joins all lines with single spaces. That would turn everything behind a `--` comment into comment,
        # and change the text within quotes.
        self._query_template = statement
        self._custom = custom

    def get_custom(self, settings: SerializationSettings) -> dict[str, Any]:
        # Flyte 2 fails a connector's task whose template has no custom part, before it asks the connector.
        return self._custom

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
