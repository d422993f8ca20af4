package io.agenthost.sdk;

import com.google.protobuf.Empty;
import io.agenthost.goplugin.GRPCControllerGrpc;
import io.agenthost.goplugin.GRPCStdioGrpc;
import io.agenthost.goplugin.StdioData;
import io.grpc.BindableService;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.stub.StreamObserver;
import java.util.ArrayList;
import java.util.List;
import java.util.function.Consumer;

/** go-plugin's own services: the request to stop, and the stream of prints, which stays empty: prints go to the log. */
final class Control {
    private final List<StreamObserver<StdioData>> open = new ArrayList<>();
    private boolean released;
    private Consumer<Deadline> onShutdown = deadline -> {};

    /** Sets what the host's request to stop does. It may take until the deadline, which may be null. */
    void onShutdown(Consumer<Deadline> action) {
        onShutdown = action;
    }

    BindableService controller() {
        return new GRPCControllerGrpc.GRPCControllerImplBase() {
            @Override
            public void shutdown(io.agenthost.goplugin.Empty request, StreamObserver<io.agenthost.goplugin.Empty> answer) {
                onShutdown.accept(Context.current().getDeadline());
                answer.onNext(io.agenthost.goplugin.Empty.getDefaultInstance());
                answer.onCompleted();
            }
        };
    }

    BindableService stdio() {
        return new GRPCStdioGrpc.GRPCStdioImplBase() {
            @Override
            public void streamStdio(Empty request, StreamObserver<StdioData> answer) {
                hold(answer);
            }
        };
    }

    private synchronized void hold(StreamObserver<StdioData> answer) {
        if (released) {
            answer.onCompleted();
        } else {
            open.add(answer);
        }
    }

    /** Ends the streams, so that the server can end. */
    synchronized void release() {
        released = true;
        for (StreamObserver<StdioData> answer : open) {
            try {
                answer.onCompleted();
            } catch (RuntimeException e) {
                // The host has hung up before.
            }
        }
        open.clear();
    }
}
