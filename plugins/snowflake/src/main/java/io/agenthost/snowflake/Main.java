package io.agenthost.snowflake;

import io.agenthost.sdk.Plugin;
import io.agenthost.sdk.Registration;

/** The program: a plugin that runs SQL in Snowflake. */
public final class Main {
    private Main() {}

    public static void main(String[] args) {
        plugin().serve();
    }

    static Plugin plugin() {
        SnowflakeAgent agent = new SnowflakeAgent();
        return Plugin.named("snowflake", "1.0.0").configure(Settings.class, agent::configure)
                .async("snowflake", agent, new Registration().named("Snowflake")).idempotentCreate();
    }
}
