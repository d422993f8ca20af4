package io.agenthost.sdk;

/**
 * Implemented by an {@link AsyncAgent} whose job metadata is not JSON, such as one that takes over the jobs of another
 * program.
 *
 * @param <M> a job's metadata
 */
public interface MetaCodec<M> {
    byte[] encodeMeta(M meta) throws Exception;

    M decodeMeta(byte[] data) throws Exception;
}
