"""The flytekit task class for the task type `openai-embeddings`: copy it, or take it as a model for one of your own."""

from typing import Any, Optional

from flytekit import kwtypes
from flytekit.configuration import SerializationSettings
from flytekit.core.base_task import PythonTask
from flytekit.core.interface import Interface
from flytekit.extend.backend.base_connector import SyncConnectorExecutorMixin


class EmbeddingsTask(SyncConnectorExecutorMixin, PythonTask):
    """Turns `texts` into `embeddings`, one vector a text; with `many=False`, `text` into `embedding`."""

    def __init__(
        self,
        name: str,
        embeddings_config: dict[str, Any],
        openai_organization: Optional[str] = None,
        many: bool = True,
        **kwargs: Any,
    ):
        if "model" not in embeddings_config:
            raise ValueError("embeddings_config needs a model")
        if many:
            interface = Interface(inputs=kwtypes(texts=list[str]), outputs=kwtypes(embeddings=list[list[float]]))
        else:
            interface = Interface(inputs=kwtypes(text=str), outputs=kwtypes(embedding=list[float]))
        super().__init__(task_type="openai-embeddings", name=name, interface=interface, **kwargs)
        self._custom = {"openai_organization": openai_organization, "embeddings_config": embeddings_config}

    def get_custom(self, settings: SerializationSettings) -> dict[str, Any]:
        return self._custom
