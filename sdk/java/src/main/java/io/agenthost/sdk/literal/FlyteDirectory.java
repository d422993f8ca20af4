package io.agenthost.sdk.literal;

/**
 * A folder in storage: flytekit's FlyteDirectory.
 *
 * @param uri where it is
 * @param format its kind as the task's interface names it; empty for any
 */
public record FlyteDirectory(String uri, String format) {
    /** A folder of any kind. */
    public FlyteDirectory(String uri) {
        this(uri, "");
    }
}
