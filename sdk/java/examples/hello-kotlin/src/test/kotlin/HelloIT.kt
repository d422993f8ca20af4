package hello

import io.agenthost.sdk.ConfigError
import io.agenthost.sdk.Plugin
import io.agenthost.sdk.Resource
import io.agenthost.sdk.testing.AgentTest
import io.agenthost.sdk.testing.TestTask
import io.grpc.StatusRuntimeException
import org.junit.jupiter.api.Assertions.assertEquals
import org.junit.jupiter.api.Assertions.assertThrows
import org.junit.jupiter.api.Assertions.assertTrue
import org.junit.jupiter.api.Test

/** The hello agent as the program that it is, and what data classes are in the SDK. */
class HelloIT {
    @Test
    fun itGreetsOverMutualTls() = AgentTest.command(listOf("java", "-jar", "target/hello-kotlin.jar")).use { test ->
        test.configure(mapOf("signature" to "!"))
        val result = test.run(TestTask.of("hello").input("name", "Ada").input("times_over", 2))
        assertEquals("Hello, Ada, Ada!", result.output("greeting", String::class.java))
    }

    @Test
    fun defaultsAndNullsAreKotlins() = AgentTest.of(plugin()).use { test ->
        test.configure(mapOf("greeting" to null))
        assertEquals("Hello, Ada", test.run(TestTask.of("hello").input("name", "Ada")).output("greeting", String::class.java))
    }

    @Test
    fun aMissingInputIsNamed() = AgentTest.of(plugin()).use { test ->
        test.configure(emptyMap<String, Any>())
        val said = assertThrows(StatusRuntimeException::class.java) { test.create(TestTask.of("hello").input("times_over", "many")) }.message!!
        assertTrue("input \"name\" is missing" in said && "input \"times_over\"" in said, said)
    }

    data class Strict(val hostName: String, val maxRows: Int = 3, val region: String?)

    @Test
    fun aPropertyWithoutDefaultThatIsNotNullableIsRequired() {
        val plugin = Plugin.named("p", "1").sync("s") { Resource.succeeded() }.configure(Strict::class.java) {}
        AgentTest.of(plugin).use { test ->
            assertEquals(listOf(ConfigError("host_name", "is required"), ConfigError("max_rows", "must be an integer, got \"many\"")),
                test.configErrors(mapOf("max_rows" to "many")))
        }
    }
}
