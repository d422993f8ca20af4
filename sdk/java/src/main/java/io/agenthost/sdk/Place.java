package io.agenthost.sdk;

import java.util.List;
import java.util.Optional;
import java.util.Set;
import java.util.stream.Stream;

/** Where in an author's code an exception began. */
final class Place {
    /** Which classes call agents. */
    private static final Set<String> CALLERS = Set.of(AsyncAdapter.class.getName(), SyncService.class.getName());

    private Place() {}

    /**
     * The deepest line of the agent's package, such as " (Warehouse.java:53)", rather than that of a library which it calls. In a future
     * the package is that in which its thread began. Empty where no line is known.
     */
    static String of(Throwable thrown) {
        List<StackTraceElement> above = Stream.of(thrown.getStackTrace()).takeWhile(frame -> !CALLERS.contains(frame.getClassName()))
                .filter(frame -> frame.getLineNumber() > 0 && !isOfTheJdk(frame)).toList();
        if (above.isEmpty()) {
            return "";
        }
        String agents = packageOf(above.get(above.size() - 1));
        Optional<StackTraceElement> deepest = above.stream().filter(frame -> packageOf(frame).equals(agents)).findFirst();
        return deepest.map(frame -> " (%s:%d)".formatted(frame.getFileName(), frame.getLineNumber())).orElse("");
    }

    private static boolean isOfTheJdk(StackTraceElement frame) {
        String module = frame.getModuleName();
        return module != null && (module.startsWith("java.") || module.startsWith("jdk."));
    }

    private static String packageOf(StackTraceElement frame) {
        return frame.getClassName().substring(0, frame.getClassName().lastIndexOf('.') + 1);
    }
}
