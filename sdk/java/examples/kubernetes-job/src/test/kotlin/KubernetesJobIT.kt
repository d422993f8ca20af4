package kubernetesjob

import io.agenthost.sdk.Category
import io.agenthost.sdk.testing.AgentTest
import io.agenthost.sdk.testing.TestTask
import io.grpc.Status
import io.grpc.StatusRuntimeException
import org.junit.jupiter.api.AfterEach
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The plugin as the program that it is, beside an API server. */
class KubernetesJobIT {
    private val server = ApiServer(0)

    @AfterEach
    fun stop() = server.close()

    private fun program() = AgentTest.command(listOf("java", "-XX:+UseSerialGC", "-XX:TieredStopAtLevel=1", "-jar", "target/kubernetes-job.jar"),
        mapOf("_FSEC_CLUSTER_TOKEN" to "hush")).configure(mapOf("server" to server.url, "token" to "cluster_token", "namespace" to "flyte"))

    private fun task(image: String, key: String) = TestTask.of("kubernetes_job").idempotencyKey(key.repeat(64)).input("image", image)

    private fun jobs() = server.client.batch().v1().jobs().inNamespace("flyte").list().items

    @Test
    fun aJobIsMadeOnceAndOutlivesTheProcess() {
        val task = task("busybox", "a").input("command", listOf("echo", "hello")).input("env", mapOf("HOME" to "/tmp"))
        val job = program().use { first ->
            first.create(task)
            first.create(task)
        }
        val made = jobs().single()
        assertEquals("flyte-" + "a".repeat(40), made.metadata.name)
        val container = made.spec.template.spec.containers.single()
        assertEquals(listOf("echo", "hello") to "HOME=/tmp", container.command to container.env.joinToString { "${it.name}=${it.value}" })
        program().use { second ->
            val done = second.job(Category("kubernetes_job", 0), job.meta()).await()
            assertEquals("SUCCEEDED", done.phase(), done.message())
            assertEquals(made.metadata.name, done.output("name", String::class.java))
        }
    }

    @Test
    fun aFailureHasTheReasonOfTheJob() = program().use { test ->
        val failed = test.run(task("broken", "b"))
        assertEquals("FAILED BackoffLimitExceeded", "${failed.phase()} ${failed.code()}")
    }

    @Test
    fun aDeletedJobIsGoneAndSoIsItsPoll() = program().use { test ->
        val job = test.create(task("endless", "c"))
        job.delete()
        job.delete()
        assertTrue(jobs().isEmpty())
        assertEquals("RETRYABLE_FAILED JobGone", job.get().let { "${it.phase()} ${it.code()}" })
    }

    @Test
    fun aServerThatIsAwayIsUnavailable() = program().use { test ->
        server.close()
        val away = assertThrows(StatusRuntimeException::class.java) { test.create(task("busybox", "d")) }.status
        assertEquals(Status.Code.UNAVAILABLE, away.code, away.toString())
        assertTrue("flyte-dddd" in away.description!!, away.description)
    }
}
