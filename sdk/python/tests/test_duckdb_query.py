"""What FlytePropeller is sent for a DuckDBQuery, and what is refused before it gets that far."""

from collections import OrderedDict
from datetime import datetime, timedelta
from typing import Any, Optional

import pytest
from flyteidl.core import tasks_pb2, types_pb2
from flytekit import FlyteFile, StructuredDataset, TaskMetadata, kwtypes, workflow
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.tools.translator import get_serializable

from agenthost.tasks import DuckDBQuery

SETTINGS = SerializationSettings(
    project="demo", domain="development", version="v1", image_config=ImageConfig(Image("default", "flytekit", "1"))
)


def compiled(task: DuckDBQuery) -> tasks_pb2.TaskTemplate:
    return get_serializable(OrderedDict(), SETTINGS, task).template.to_flyte_idl()


def query(statement: str, **inputs: type[Any]) -> DuckDBQuery:
    return DuckDBQuery(name="q", query_template=statement, inputs=inputs)


def test_the_template_is_what_the_plugin_expects() -> None:
    template = compiled(
        DuckDBQuery(
            name="top_routes",
            query_template="select * from flights where distance > $min_distance",
            inputs=kwtypes(flights=StructuredDataset, airlines=FlyteFile["csv"], min_distance=int),
            outputs=kwtypes(results=StructuredDataset),
            metadata=TaskMetadata(retries=2, timeout=timedelta(minutes=5)),
        )
    )
    assert template.type == "duckdb_query"
    assert template.task_type_version == 0
    assert (template.id.project, template.id.domain, template.id.name) == ("demo", "development", "top_routes")
    assert template.sql.statement == "select * from flights where distance > $min_distance"
    assert template.WhichOneof("target") == "sql"
    assert dict(template.custom) == {"engine": "duckdb"}
    assert template.metadata.retries.retries == 2
    assert template.metadata.timeout.seconds == 300

    inputs = {name: variable.type for name, variable in template.interface.inputs.variables.items()}
    assert set(inputs) == {"flights", "airlines", "min_distance"}
    assert inputs["flights"].HasField("structured_dataset_type")
    assert inputs["airlines"].blob.format == "csv"
    assert inputs["min_distance"].simple == types_pb2.INTEGER
    outputs = template.interface.outputs.variables
    assert set(outputs) == {"results"}
    assert outputs["results"].type.HasField("structured_dataset_type")


def test_outputs_can_be_scalars() -> None:
    template = compiled(
        DuckDBQuery(
            name="count",
            query_template="select count(*) as n, max(time_hour) as last from flights",
            inputs=kwtypes(flights=StructuredDataset),
            outputs=kwtypes(n=int, last=datetime),
        )
    )
    outputs = {name: variable.type.simple for name, variable in template.interface.outputs.variables.items()}
    assert outputs == {"n": types_pb2.INTEGER, "last": types_pb2.DATETIME}


def test_a_dataset_output_can_be_asked_for_as_in_other_sql_tasks() -> None:
    task = DuckDBQuery(name="q", query_template="select 1", output_structured_dataset_type=StructuredDataset)
    assert set(compiled(task).interface.outputs.variables) == {"results"}


def test_a_query_may_have_no_outputs() -> None:
    assert not compiled(query("select 1")).interface.outputs.variables


def test_outputs_are_named_one_way_only() -> None:
    with pytest.raises(ValueError, match="q: give outputs or output_structured_dataset_type, not both"):
        DuckDBQuery(
            name="q",
            query_template="select 1",
            outputs=kwtypes(n=int),
            output_structured_dataset_type=StructuredDataset,
        )


def test_the_statement_keeps_its_lines_comments_and_spaces() -> None:
    statement = "select count(*) -- of all rows\nfrom flights\n    where note = 'two  spaces'"
    assert compiled(query(f"\n{statement}\n\n")).sql.statement == statement


def test_flytes_template_syntax_names_inputs_only() -> None:
    statement = "select {{ .inputs.n }}, '{{.Inputs.n}}'"
    assert compiled(query(statement, n=int)).sql.statement == statement
    with pytest.raises(ValueError, match=r"q: the query uses {{ \.inputs\.m }}, but its inputs are: n"):
        query("select {{ .inputs.m }}", n=int)
    with pytest.raises(ValueError, match=r"q: the query uses {{\.rawOutputDataPrefix}}, but only inputs can be used"):
        query("copy t to '{{.rawOutputDataPrefix}}'")


def test_a_parameter_that_is_no_input_is_refused_by_name() -> None:
    with pytest.raises(ValueError, match=r"q: the query uses \$min, but its inputs are: flights, minimum"):
        query("from flights where a > $min", flights=StructuredDataset, minimum=int)
    with pytest.raises(ValueError, match="but its inputs are: none"):
        query("select $a")


@pytest.mark.parametrize(
    "statement",
    [
        "select $n",
        "select 'costs $5 or $x'",
        "select 'it''s $x'",
        r"select E'it\'s $x'",
        'select "$x" from t',
        "select 1 -- not $x\n",
        "select 1 /* nor\n $x */",
        "select 1 /* nor /* $x */ $x */, $n",
        "select $$ $x $$",
        "select $tag$ $x $$ $tag$",
        "select a$x from t",
        "select {'a': {'b': 1}}",
    ],
)
def test_what_only_looks_like_a_parameter_is_left_alone(statement: str) -> None:
    assert compiled(query(statement, n=int)).sql.statement == statement.strip()


@pytest.mark.parametrize("statement", ["select 'a' || $x", "select $$a$$, $x", "select 1 -- $n\n, $x", "select -$x"])
def test_a_parameter_beside_quotes_and_comments_is_seen(statement: str) -> None:
    with pytest.raises(ValueError, match=r"uses \$x"):
        query(statement, n=int)


def test_it_takes_its_place_in_a_workflow() -> None:
    count = DuckDBQuery(
        name="count",
        query_template="select count(*) as n from flights where carrier = coalesce($carrier, carrier)",
        inputs=kwtypes(flights=StructuredDataset, carrier=Optional[str]),
        outputs=kwtypes(n=int),
    )

    @workflow
    def flights_of(flights: StructuredDataset) -> int:
        return count(flights=flights, carrier="UA")  # type: ignore[no-any-return]

    specification = get_serializable(OrderedDict(), SETTINGS, flights_of)
    (node,) = specification.template.nodes
    assert node.task_node.reference_id.name == "count"
