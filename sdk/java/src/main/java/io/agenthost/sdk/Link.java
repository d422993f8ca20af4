package io.agenthost.sdk;

/**
 * Leads to a page about the job.
 *
 * @param showWhilePending shows the link before the task runs
 * @param hideOnceFinished takes it away afterwards
 */
public record Link(String name, String uri, boolean showWhilePending, boolean hideOnceFinished) {
    /** A link that is shown from the time that the task runs. */
    public Link(String name, String uri) {
        this(name, uri, false, false);
    }
}
