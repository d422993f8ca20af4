package io.agenthost.sdk.literal;

/**
 * One file in storage: flytekit's FlyteFile.
 *
 * @param uri where it is
 * @param format its kind as the task's interface names it, such as "csv"; empty for any
 */
public record FlyteFile(String uri, String format) {
    /** A file of any kind. */
    public FlyteFile(String uri) {
        this(uri, "");
    }
}
