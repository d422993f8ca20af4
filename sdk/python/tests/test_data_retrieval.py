"""What FlytePropeller is sent for a DataRetrieval, what is refused before it gets that far."""

from collections import OrderedDict
from typing import Any

import pytest
from flyteidl.core import tasks_pb2, types_pb2
from flytekit import FlyteFile, StructuredDataset, kwtypes, workflow
from flytekit.configuration import Image, ImageConfig, SerializationSettings
from flytekit.exceptions.user import FlyteUserException
from flytekit.tools.translator import get_serializable

from agenthost.tasks import DataRetrieval, _local

SETTINGS = SerializationSettings(
    project="demo", domain="development", version="v1", image_config=ImageConfig(Image("default", "flytekit", "1"))
)


def compiled(task: DataRetrieval) -> tasks_pb2.TaskTemplate:
    return get_serializable(OrderedDict(), SETTINGS, task).template.to_flyte_idl()


def test_the_template_is_what_the_plugin_expects() -> None:
    template = compiled(
        DataRetrieval(
            name="top_carriers",
            query_template="""
                -- who flies far
                select carrier from flights join airlines using (carrier) where distance > $least
            """,
            inputs=kwtypes(flights=StructuredDataset, least=int),
            outputs=kwtypes(carrier=list[str]),
            sources={
                "airlines": "s3://bucket/airlines.csv",
                "odd": {"uri": ["/a", "/b"], "format": "csv", "options": {"delimiter": ";"}},
            },
            destination="s3://bucket/result.parquet",
        )
    )
    assert template.type == "data_retrieval"
    assert template.task_type_version == 0
    assert template.sql.statement.startswith("-- who flies far\n")
    assert template.custom["engine"] == "datafusion"
    assert template.custom["destination"] == "s3://bucket/result.parquet"
    sources = template.custom["sources"]
    assert sources["airlines"]["uri"] == "s3://bucket/airlines.csv"
    assert list(sources["odd"]["uri"]) == ["/a", "/b"]
    assert sources["odd"]["options"]["delimiter"] == ";"
    assert template.interface.outputs.variables["carrier"].type.collection_type.simple == types_pb2.STRING


def test_a_dataset_output_can_be_asked_for_as_in_other_sql_tasks() -> None:
    task = DataRetrieval(name="q", query_template="select 1", output_structured_dataset_type=StructuredDataset)
    assert set(compiled(task).interface.outputs.variables) == {"results"}
    assert dict(compiled(task).custom) == {"engine": "datafusion"}


@pytest.mark.parametrize(
    ("wrong", "message"),
    [
        ({"query_template": "select $n"}, r"the query uses \$n, but its inputs are: none"),
        ({"sources": {"t": {"format": "csv"}}}, "source 't' has no uri"),
        ({"sources": {"t": {"uri": "/a", "endpoint": "x"}}}, "source 't' has 'endpoint', but there are uri"),
        ({"sources": {"t": {"uri": "/a", "format": "avro"}}}, "source 't' has format 'avro', but there are parquet"),
        ({"sources": {"t": {"uri": "/a", "options": {"sep": ";"}}}}, "source 't' has no option 'sep'"),
        ({"sources": {"t": "/a"}, "inputs": kwtypes(t=str)}, "'t' is an input and a source"),
        (
            {"outputs": kwtypes(a=int), "output_structured_dataset_type": StructuredDataset},
            "give outputs or output_structured_dataset_type, not both",
        ),
    ],
)
def test_what_the_plugin_would_refuse_is_refused_at_once(wrong: dict[str, Any], message: str) -> None:
    with pytest.raises(ValueError, match=f"t: {message}"):
        DataRetrieval(**{"name": "t", "query_template": "select 1", **wrong})


def test_it_takes_its_place_in_a_workflow() -> None:
    names = DataRetrieval(
        name="names",
        query_template="select name from airlines",
        inputs=kwtypes(airlines=FlyteFile),
        outputs=kwtypes(name=list[str]),
    )

    @workflow
    def ask(airlines: FlyteFile) -> list[str]:
        return names(airlines=airlines)  # type: ignore[no-any-return]

    (node,) = get_serializable(OrderedDict(), SETTINGS, ask).template.nodes
    assert node.task_node.reference_id.name == "names"


def test_without_a_host_the_error_says_how_to_get_one(monkeypatch: pytest.MonkeyPatch) -> None:
    monkeypatch.setattr(_local.ConnectorRegistry, "_REGISTRY", {})
    monkeypatch.setattr(_local.ConnectorRegistry, "_METADATA", {})
    monkeypatch.delenv(_local.ADDRESS, raising=False)
    with pytest.raises(FlyteUserException, match=r"start a host .* and set AGENTHOST_ADDRESS"):
        DataRetrieval(name="one", query_template="select 1 as n", outputs=kwtypes(n=int))()
