# Answers of a language model, from any server that speaks OpenAI's API: vLLM, Ollama, LiteLLM, OpenAI's own. An answer
# comes within the call, so this is a sync agent: nothing is kept, and Flyte repeats a call that broke off.
from dataclasses import dataclass

import openai

from agenthost.agent import (
    Plugin,
    Resource,
    SecretRef,
    SyncAgent,
    SystemFailure,
    Task,
    UserFailure,
    failed,
    retryable_failed,
    succeeded,
)


@dataclass
class Config:
    """The plugin's `config:` in the host's file."""

    base_url: str  # such as http://vllm:8000/v1
    model: str  # for tasks that name none
    api_key: SecretRef  # the name of a secret


class Chat(SyncAgent):
    task_type = "model_server"

    async def configure(self, config: Config) -> None:
        async def key() -> str:
            return config.api_key.get().reveal()  # before each request: it may have been renewed

        self.model = config.model
        # The client waits as a busy server says (Retry-After) and tries again; what is left is told below.
        self.client = openai.AsyncOpenAI(base_url=config.base_url, api_key=key, max_retries=2)

    async def execute(self, task: Task) -> Resource:
        model = task.input("model", str, self.model)
        prompt = task.input("prompt", str)
        # FlytePropeller waits for a sync call only so long, and what comes later is paid for nothing.
        client = self.client.with_options(timeout=task.seconds_left or 60.0)
        try:
            answer = await client.chat.completions.create(model=model, messages=[{"role": "user", "content": prompt}])
        except (openai.APIConnectionError, openai.RateLimitError, openai.InternalServerError) as e:
            return retryable_failed(SystemFailure("Unavailable", f"{client.base_url}: {e}"))  # costs one retry
        except (openai.AuthenticationError, openai.PermissionDeniedError) as e:
            return failed(SystemFailure("Refused", f"{client.base_url}: {e}"))  # which the operator can mend
        except openai.APIStatusError as e:
            return failed(UserFailure("BadRequest", f"{client.base_url}: {e}"))
        choice = answer.choices[0]
        if choice.finish_reason != "stop" or choice.message.content is None:  # half an answer is none
            return failed(UserFailure("NoAnswer", f"{model} ended with {choice.finish_reason}, before its answer did"))
        tokens = answer.usage.total_tokens if answer.usage else 0
        return succeeded({"answer": choice.message.content}).with_info(model=answer.model, tokens=tokens)

    async def close(self) -> None:
        await self.client.close()


if __name__ == "__main__":
    chat = Chat()
    Plugin("model_server", "1.0.0", [chat]).configure(Config, chat.configure).serve()
