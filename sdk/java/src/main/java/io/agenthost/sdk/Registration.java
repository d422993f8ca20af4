package io.agenthost.sdk;

import java.util.ArrayList;
import java.util.List;

/**
 * How an agent is registered beyond its category: under another name, at another version, for more categories.
 * {@code Registration.atVersion(2).named("warehouse")}.
 *
 * @param name the agent's name in ListAgents and in errors, or null for its category; registrations of one name and kind
 *     are listed as one agent
 * @param version the version of the category that the registration names
 * @param also further categories
 */
public record Registration(String name, int version, List<Category> also) {
    static final Registration PLAIN = new Registration(null, 0, List.of());

    /** Sets the agent's name. */
    public static Registration as(String name) {
        return PLAIN.named(name);
    }

    /** Sets the category's version. */
    public static Registration atVersion(int version) {
        return new Registration(null, version, List.of());
    }

    /** Makes the agent serve further categories. */
    public static Registration alsoFor(Category... categories) {
        return PLAIN.also(categories);
    }

    /** Sets the agent's name. */
    public Registration named(String name) {
        return new Registration(name, version, also);
    }

    /** Makes the agent serve further categories. */
    public Registration also(Category... categories) {
        List<Category> all = new ArrayList<>(also);
        all.addAll(List.of(categories));
        return new Registration(name, version, List.copyOf(all));
    }
}
