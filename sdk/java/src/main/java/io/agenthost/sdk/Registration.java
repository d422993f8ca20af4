package io.agenthost.sdk;

import java.util.ArrayList;
import java.util.List;

/**
 * How an agent is registered beyond its category: under another name, at another version, for more categories, with a promise.
 * Each method returns a copy.
 *
 * <pre>{@code
 * Plugin plugin = Plugin.named("warehouse", "1.0.0")
 *         .async("warehouse_query", new Warehouse(), new Registration().named("Warehouse").atVersion(2).idempotentCreate());
 * }</pre>
 */
public final class Registration {
    private final String name;
    private final int version;
    private final List<Category> also;
    private final boolean createIsIdempotent;

    /** Under its category's name, at version 0. */
    public Registration() {
        this(null, 0, List.of(), false);
    }

    private Registration(String name, int version, List<Category> also, boolean createIsIdempotent) {
        this.name = name;
        this.version = version;
        this.also = also;
        this.createIsIdempotent = createIsIdempotent;
    }

    /** Names the agent in ListAgents and in errors. Registrations of one name and kind are listed as one agent. */
    public Registration named(String name) {
        return new Registration(name, version, also, createIsIdempotent);
    }

    /** At another version of the category that it is registered for. */
    public Registration atVersion(int version) {
        return new Registration(name, version, also, createIsIdempotent);
    }

    /** For further categories. */
    public Registration also(Category... categories) {
        List<Category> all = new ArrayList<>(also);
        all.addAll(List.of(categories));
        return new Registration(name, version, List.copyOf(all), createIsIdempotent);
    }

    /**
     * Promises that two create calls with the same {@link Task#idempotencyKey} make one job. Only then does the host repeat a
     * create whose answer was lost in a crash. {@link Plugin#idempotentCreate} promises it for all agents.
     */
    public Registration idempotentCreate() {
        return new Registration(name, version, also, true);
    }

    String nameOr(String category) {
        return name == null ? category : name;
    }

    List<Category> categories(String category) {
        List<Category> all = new ArrayList<>(List.of(new Category(category, version)));
        all.addAll(also);
        return List.copyOf(all);
    }

    boolean createIsIdempotent() {
        return createIsIdempotent;
    }
}
