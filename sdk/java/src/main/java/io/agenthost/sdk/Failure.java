package io.agenthost.sdk;

/**
 * What more there is to say of a failure.
 *
 * @param code a short name that groups failures, such as "BadSQL"; Flyte shows it before the message
 * @param origin whose fault it is
 */
public record Failure(String code, Origin origin) {
    /** Who can mend a failure. */
    public enum Origin {
        UNKNOWN,
        /** The task's author can mend it. */
        USER,
        /** The task's author cannot mend it. */
        SYSTEM
    }
}
