package hello

import io.agenthost.sdk.AsyncAgent
import io.agenthost.sdk.Job
import io.agenthost.sdk.Plugin
import io.agenthost.sdk.Resource
import io.agenthost.sdk.Task

/** The inputs name, and perhaps times_over. */
data class Inputs(val name: String, val timesOver: Int = 1)

data class Greeting(val names: List<String>)

data class Config(val greeting: String = "Hello", val signature: String?)

/** The hello agent in Kotlin: inputs, metadata and configuration are data classes. */
class Hello : AsyncAgent<Greeting> {
    @Volatile var config = Config(signature = null)

    override fun create(task: Task) = task.inputs(Inputs::class.java).let { Greeting(List(it.timesOver) { _ -> it.name }) }

    override fun get(job: Job<Greeting>): Resource =
        Resource.succeeded(mapOf("greeting" to "${config.greeting}, ${job.meta().names.joinToString()}${config.signature ?: ""}"))

    override fun delete(job: Job<Greeting>) {}
}

fun plugin(): Plugin = Hello().let { agent ->
    Plugin.named("hello-kotlin", "1.0.0").async("hello", agent).configure(Config::class.java) { agent.config = it }
}

fun main() = plugin().serve()
