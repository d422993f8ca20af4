package kubernetesjob

import io.fabric8.kubernetes.api.model.batch.v1.Job
import io.fabric8.kubernetes.api.model.batch.v1.JobBuilder
import io.fabric8.kubernetes.client.KubernetesClient
import io.fabric8.kubernetes.client.informers.ResourceEventHandler
import io.fabric8.kubernetes.client.server.mock.KubernetesCrudDispatcher
import io.fabric8.kubernetes.client.server.mock.KubernetesMockServer
import io.fabric8.kubernetes.client.utils.Serialization
import io.fabric8.mockwebserver.Context
import io.fabric8.mockwebserver.MockWebServer
import java.net.InetAddress
import java.util.concurrent.Executors
import java.util.concurrent.TimeUnit

/** fabric8's API server, which keeps what it is given, and what it has no controller for: one that lets Jobs run, and those of the image "broken" fail. */
class ApiServer(port: Int) : AutoCloseable {
    private val server = KubernetesMockServer(Context(Serialization.jsonMapper()), MockWebServer(), HashMap(), KubernetesCrudDispatcher(), false)
    private val clock = Executors.newSingleThreadScheduledExecutor { Thread(it, "jobs").apply { isDaemon = true } }
    val client: KubernetesClient

    init {
        server.init(InetAddress.getLoopbackAddress(), port)
        client = server.createClient()
        client.batch().v1().jobs().inAnyNamespace().inform(object : ResourceEventHandler<Job> {
            override fun onAdd(job: Job) {
                clock.execute { edit(job) { it.editOrNewStatus().withActive(1).withReady(1).endStatus() } }
                clock.schedule({ end(job) }, 300, TimeUnit.MILLISECONDS)
            }

            override fun onUpdate(before: Job, after: Job) {}

            override fun onDelete(job: Job, unknown: Boolean) {}
        })
    }

    val url: String get() = server.url("/")

    private fun end(job: Job) = when (job.spec.template.spec.containers[0].image) {
        "endless" -> Unit
        "broken" -> edit(job) { condition(it, "Failed", "BackoffLimitExceeded", "Job has reached the specified backoff limit") }
        else -> edit(job) { condition(it, "Complete", "CompletionsReached", "Reached expected number of succeeded pods") }
    }

    private fun condition(job: JobBuilder, type: String, reason: String, message: String) = job.editOrNewStatus().withActive(0).withReady(0)
        .addNewCondition().withType(type).withStatus("True").withReason(reason).withMessage(message).endCondition().endStatus()

    private fun edit(job: Job, change: (JobBuilder) -> JobBuilder) {
        val at = client.batch().v1().jobs().inNamespace(job.metadata.namespace).withName(job.metadata.name)
        if (at.get() != null) at.editStatus { change(JobBuilder(it)).build() }
    }

    override fun close() {
        clock.shutdownNow()
        client.close()
        server.destroy()
    }
}

fun main(args: Array<String>) {
    ApiServer(args[0].toInt())
    Thread.currentThread().join()
}
