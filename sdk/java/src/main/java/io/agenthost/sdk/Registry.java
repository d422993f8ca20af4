package io.agenthost.sdk;

import com.flyteidl.admin.Agent;
import com.flyteidl.admin.TaskCategory;
import java.util.ArrayList;
import java.util.Comparator;
import java.util.List;
import java.util.Map;
import java.util.TreeMap;
import java.util.stream.Collectors;

/** The table of agents by category. It is written before serving and only read afterwards. */
final class Registry {
    /** One agent with the categories that it serves. Exactly one of async and sync is set. */
    record Registered(String name, List<Category> categories, boolean idempotentCreate, AsyncAdapter<?> async, SyncAgent sync) {
        String kind() {
            return sync != null ? "synchronous" : "asynchronous";
        }

        /** What an asynchronous agent promises. */
        List<String> capabilities() {
            List<String> promised = new ArrayList<>();
            if (idempotentCreate) {
                promised.add(Contract.CAPABILITY_IDEMPOTENT_CREATE);
            }
            if (async.finds()) {
                promised.add(Contract.CAPABILITY_FIND_BY_KEY);
            }
            return promised;
        }
    }

    private final List<Registered> all = new ArrayList<>();
    private final Map<String, TreeMap<Integer, Registered>> byName = new TreeMap<>();

    List<Registered> all() {
        return all;
    }

    boolean isEmpty() {
        return all.isEmpty();
    }

    void add(String category, Registration how, AsyncAdapter<?> async, SyncAgent sync) {
        List<Category> categories = how.categories(category);
        Registered added = new Registered(how.nameOr(category), categories, how.createIsIdempotent(), async, sync);
        if (added.name.isEmpty()) {
            throw new IllegalArgumentException("an agent needs a name");
        }
        for (Registered other : all) {
            if (other.name.equals(added.name) && !other.kind().equals(added.kind())) {
                throw new IllegalArgumentException("the agent \"%s\" is registered as %s and as %s: give them two names with Registration.named"
                        .formatted(added.name, other.kind(), added.kind()));
            }
        }
        categories.forEach(served -> claim(served, added));
        all.add(added);
    }

    private void claim(Category category, Registered added) {
        if (category.name().isEmpty()) {
            throw new IllegalArgumentException("the agent \"%s\" needs a task category".formatted(added.name));
        }
        TreeMap<Integer, Registered> versions = byName.computeIfAbsent(category.name(), name -> new TreeMap<>());
        Registered taken = versions.get(category.version());
        if (taken != null) {
            throw new IllegalArgumentException("task category \"%s\" version %d has two agents, \"%s\" and \"%s\""
                    .formatted(category.name(), category.version(), taken.name, added.name));
        }
        for (Registered other : versions.values()) {
            if (!other.kind().equals(added.kind())) {
                throw new IllegalArgumentException("task category \"%s\" has agents of both kinds, the %s \"%s\" and the %s \"%s\": Flyte keeps one kind per name"
                        .formatted(category.name(), other.kind(), other.name, added.kind(), added.name));
            }
        }
        versions.put(category.version(), added);
    }

    /** The agent for a category: that of its version, or else that of the highest version of the name. */
    Registered find(Category category) {
        TreeMap<Integer, Registered> versions = byName.get(category.name());
        if (versions == null) {
            throw AgentException.notFound("no agent here serves task category \"%s\"; there are agents for %s".formatted(category.name(),
                    byName.keySet().stream().map(name -> '"' + name + '"').collect(Collectors.joining(", "))));
        }
        return versions.getOrDefault(category.version(), versions.lastEntry().getValue());
    }

    /**
     * Describes the agents as ListAgents does, sorted by name. Within an agent the highest version of a category comes
     * last, which is the one that Flyte 1 keeps.
     */
    @SuppressWarnings("deprecation") // supported_task_types is what Flyte before 1.13 reads
    List<Agent> agents() {
        Map<String, List<Registered>> byAgent = new TreeMap<>();
        all.forEach(registered -> byAgent.computeIfAbsent(registered.name, name -> new ArrayList<>()).add(registered));
        List<Agent> agents = new ArrayList<>();
        byAgent.forEach((name, parts) -> {
            List<Category> categories = parts.stream().flatMap(part -> part.categories.stream())
                    .sorted(Comparator.comparing(Category::name).thenComparing(Category::version)).toList();
            Agent.Builder agent = Agent.newBuilder().setName(name).setIsSync(parts.get(0).sync != null);
            categories.forEach(category -> agent.addSupportedTaskCategories(
                    TaskCategory.newBuilder().setName(category.name()).setVersion(category.version())));
            categories.stream().map(Category::name).distinct().forEach(agent::addSupportedTaskTypes);
            agents.add(agent.build());
        });
        return agents;
    }
}
