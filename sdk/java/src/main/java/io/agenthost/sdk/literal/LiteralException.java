package io.agenthost.sdk.literal;

/** Says why a literal and a Java value do not fit. */
public class LiteralException extends IllegalArgumentException {
    private static final long serialVersionUID = 1;
    private final String path;
    private final String problem;

    LiteralException(String path, String problem) {
        super(path.isEmpty() ? problem : "at " + path + ": " + problem);
        this.path = path;
        this.problem = problem;
    }

    /** Leads to the part in question, such as "[3].name"; empty for the value as a whole. */
    public String path() {
        return path;
    }

    /** What is there and what was asked for. */
    public String problem() {
        return problem;
    }
}
