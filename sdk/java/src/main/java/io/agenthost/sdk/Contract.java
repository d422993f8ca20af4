package io.agenthost.sdk;

/** The constants of the plugin contract that are not messages: those of proto/agenthost/plugin/v1/contract.go. */
final class Contract {
    static final String MAGIC_COOKIE_KEY = "AGENTHOST_PLUGIN";
    static final String MAGIC_COOKIE_VALUE = "flyte-agent-plugin";
    static final String PROTOCOL_VERSION = "1";
    static final String HEALTH_SERVICE = "plugin";
    static final String IDEMPOTENCY_KEY_HEADER = "agenthost-idempotency-key";
    static final String NOT_TAKEN_TRAILER = "agenthost-not-taken";
    static final String FIND_ONLY_HEADER = "agenthost-find-only";
    static final String ABANDON_HEADER = "agenthost-abandon";
    static final String CAPABILITY_FIND_BY_KEY = "find_by_key";
    static final String CAPABILITY_IDEMPOTENT_CREATE = "idempotent_create";

    private Contract() {}
}
