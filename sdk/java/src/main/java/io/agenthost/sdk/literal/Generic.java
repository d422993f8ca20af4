package io.agenthost.sdk.literal;

/**
 * Marks a value to be written as a generic literal (a protobuf Struct) instead of msgpack, for readers that are older
 * than flytekit 1.14. Its numbers become floats.
 *
 * @param value what JSON writes as an object
 */
public record Generic(Object value) {}
