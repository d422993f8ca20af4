package inkotlin

import io.agenthost.sdk.AsyncAgent
import io.agenthost.sdk.Job
import io.agenthost.sdk.Plugin
import io.agenthost.sdk.Resource
import io.agenthost.sdk.Task
import kotlin.system.exitProcess

data class Config(val greeting: String = "Hello")

data class Work(val name: String)

data class Counted(val name: Int)

data class Wired(val results: Thread)

/** An agent whose creations go wrong. */
abstract class Mistaken<M> : AsyncAgent<M> {
    override fun get(job: Job<M>): Resource = Resource.succeeded()

    override fun delete(job: Job<M>) {}
}

class WrongType : Mistaken<Counted>() {
    override fun create(task: Task) = task.inputs(Counted::class.java)
}

class Metadata : Mistaken<Wired>() {
    override fun create(task: Task) = Wired(Thread())
}

class Null : Mistaken<Work>() {
    override fun create(task: Task): Work? = null
}

class Panic : Mistaken<Work>() {
    override fun create(task: Task) = Work(emptyArray<String>()[3])
}

class Block : Mistaken<Work>() {
    override fun create(task: Task): Work {
        Thread.sleep(Long.MAX_VALUE)
        return Work("")
    }
}

class MissingSecret : Mistaken<Work>() {
    override fun create(task: Task) = Work(task.secret("token").reveal())
}

class Exit : Mistaken<Work>() {
    override fun create(task: Task): Work {
        println("no license found")
        exitProcess(1)
    }
}

/** Makes an author's mistakes, each in the creation of a task type of its own. */
fun main() = Plugin.named("mistakes", "1.0.0")
    .async("wrong_type", WrongType())
    .async("metadata", Metadata())
    .async("null", Null())
    .async("panic", Panic())
    .async("block", Block())
    .async("secret", MissingSecret())
    .async("exit", Exit())
    .configure(Config::class.java) {}
    .serve()
