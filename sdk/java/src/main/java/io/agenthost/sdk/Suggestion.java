package io.agenthost.sdk;

import java.util.List;
import java.util.Locale;

/** Says which name was meant, or which there are. */
final class Suggestion {
    private static final int NEAR = 2;

    private Suggestion() {}

    static String of(String name, List<String> known) {
        String best = null;
        int distance = NEAR + 1;
        for (String candidate : known) {
            int d = distance(name.toLowerCase(Locale.ROOT), candidate.toLowerCase(Locale.ROOT));
            if (d < distance) {
                best = candidate;
                distance = d;
            }
        }
        if (best != null) {
            return "did you mean \"%s\"?".formatted(best);
        }
        return known.isEmpty() ? "there are no keys here" : "the keys are " + String.join(", ", known);
    }

    /** Levenshtein's distance. */
    private static int distance(String a, String b) {
        int[] previous = new int[b.length() + 1];
        for (int j = 0; j <= b.length(); j++) {
            previous[j] = j;
        }
        for (int i = 1; i <= a.length(); i++) {
            int[] current = new int[b.length() + 1];
            current[0] = i;
            for (int j = 1; j <= b.length(); j++) {
                int replaced = previous[j - 1] + (a.charAt(i - 1) == b.charAt(j - 1) ? 0 : 1);
                current[j] = Math.min(replaced, 1 + Math.min(previous[j], current[j - 1]));
            }
            previous = current;
        }
        return previous[b.length()];
    }
}
