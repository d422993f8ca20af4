package kubernetesjob

import io.agenthost.sdk.AgentException
import io.agenthost.sdk.AsyncAgent
import io.agenthost.sdk.Job
import io.agenthost.sdk.Plugin
import io.agenthost.sdk.Resource
import io.agenthost.sdk.SecretRef
import io.agenthost.sdk.Task
import io.fabric8.kubernetes.api.model.EnvVar
import io.fabric8.kubernetes.api.model.batch.v1.JobBuilder
import io.fabric8.kubernetes.client.ConfigBuilder
import io.fabric8.kubernetes.client.KubernetesClient
import io.fabric8.kubernetes.client.KubernetesClientBuilder
import io.fabric8.kubernetes.client.KubernetesClientException

/** Without a server it is that of the cluster which the plugin runs in, or of the kubeconfig. */
data class Config(val server: String?, val token: SecretRef?, val certificateAuthority: String?, val namespace: String = "default")

data class Inputs(val image: String, val command: List<String> = emptyList(), val env: Map<String, String> = emptyMap(), val retries: Int = 0)

/** What Flyte keeps: where the Job is. */
data class Made(val namespace: String, val name: String)

/** Runs a task's image as a Job of Kubernetes. */
class KubernetesJob : AsyncAgent<Made>, AutoCloseable {
    private lateinit var config: Config
    private lateinit var client: KubernetesClient

    fun configure(config: Config) {
        this.config = config
        val settings = if (config.server == null) ConfigBuilder() else ConfigBuilder().withAutoConfigure(false).withMasterUrl(config.server)
        settings.withRequestRetryBackoffLimit(2) // the rest is Flyte's to repeat
        config.certificateAuthority?.let { settings.withCaCertFile(it) }
        config.token?.let { token -> settings.withOauthTokenProvider { token.get().reveal() } } // each time: it may change
        client = KubernetesClientBuilder().withConfig(settings.build()).build()
    }

    /** The name is the attempt's own: a create that comes again finds the Job that is there. */
    override fun create(task: Task): Made {
        val inputs = task.inputs(Inputs::class.java)
        val made = Made(config.namespace, "flyte-${task.idempotencyKey().take(40)}")
        val job = JobBuilder().withNewMetadata().withName(made.name).withNamespace(made.namespace).addToLabels(MANAGED_BY, "agenthost").endMetadata()
            .withNewSpec().withBackoffLimit(inputs.retries).withNewTemplate().withNewSpec().withRestartPolicy("Never")
            .addNewContainer().withName("task").withImage(inputs.image).withCommand(inputs.command)
            .withEnv(inputs.env.map { EnvVar(it.key, it.value, null) }).endContainer()
            .endSpec().endTemplate().endSpec().build()
        asking(made) {
            try {
                client.resource(job).create()
            } catch (e: KubernetesClientException) {
                if (e.code != ALREADY_EXISTS) throw e
            }
        }
        return made
    }

    override fun get(job: Job<Made>): Resource {
        val found = asking(job.meta()) { at(job.meta()).get() }
            ?: return Resource.retryableFailed("Job ${job.meta().name} is gone from namespace ${job.meta().namespace}").withSystemError("JobGone")
        val condition = found.status?.conditions.orEmpty().find { it.status == "True" && it.type in listOf("Complete", "Failed") }
        return when {
            condition?.type == "Complete" -> Resource.succeeded(mapOf("name" to job.meta().name))
            condition != null -> Resource.failed(condition.message ?: "it failed").withUserError(condition.reason ?: "JobFailed")
            (found.status?.active ?: 0) == 0 -> Resource.queued("Job ${job.meta().name} has no pod yet")
            else -> Resource.running("Job ${job.meta().name}").withInfo("ready", found.status?.ready ?: 0)
        }
    }

    /** Ends the Job with its pods. It is fine if there is none. */
    override fun delete(job: Job<Made>) {
        asking(job.meta()) { at(job.meta()).delete() }
    }

    override fun close() {
        if (::client.isInitialized) client.close()
    }

    private fun at(job: Made) = client.batch().v1().jobs().inNamespace(job.namespace).withName(job.name)

    /** Tells what can pass by itself (no server, too many requests, its own fault) from what cannot. */
    private fun <T> asking(job: Made, call: () -> T): T = try {
        call()
    } catch (e: KubernetesClientException) {
        val why = generateSequence<Throwable>(e) { it.cause }.map { it.message ?: it.javaClass.simpleName }.distinct().joinToString(": ")
        val said = "Job ${job.name} in namespace ${job.namespace}: $why"
        throw when {
            e.code < BAD_REQUEST || e.code == TOO_MANY_REQUESTS || e.code >= INTERNAL -> AgentException.unavailable(said)
            e.code == UNAUTHORIZED || e.code == FORBIDDEN -> AgentException.failedPrecondition(said)
            else -> AgentException.invalidArgument(said)
        }.causedBy(e)
    }

    private companion object {
        const val MANAGED_BY = "app.kubernetes.io/managed-by"
        const val BAD_REQUEST = 400 // what is less is no answer
        const val UNAUTHORIZED = 401
        const val FORBIDDEN = 403
        const val ALREADY_EXISTS = 409
        const val TOO_MANY_REQUESTS = 429
        const val INTERNAL = 500
    }
}

fun main() {
    val agent = KubernetesJob()
    Plugin.named("kubernetes-job", "1.0.0").async("kubernetes_job", agent).configure(Config::class.java, agent::configure).idempotentCreate().serve()
}
