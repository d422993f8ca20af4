package io.agenthost.sdk;

import com.google.protobuf.ByteString;
import com.google.protobuf.MessageLite;
import io.agenthost.plugin.v1.Answer;
import io.agenthost.plugin.v1.Answers;
import io.agenthost.plugin.v1.Call;
import io.agenthost.plugin.v1.Calls;
import io.agenthost.plugin.v1.Header;
import io.grpc.Context;
import io.grpc.Deadline;
import io.grpc.Metadata;
import io.grpc.Status;
import io.grpc.protobuf.StatusProto;
import io.grpc.stub.ServerCallStreamObserver;
import io.grpc.stub.StreamObserver;
import java.util.Map;
import java.util.Queue;
import java.util.concurrent.ConcurrentHashMap;
import java.util.concurrent.ConcurrentLinkedQueue;
import java.util.concurrent.TimeUnit;
import java.util.concurrent.atomic.AtomicBoolean;
import java.util.function.Consumer;
import org.slf4j.Logger;
import org.slf4j.LoggerFactory;

/**
 * A stream of calls. They run in workers, on the threads that calls of their own have. Before a worker begins one while there is more to do
 * it sends for another worker, so that no call waits for another, and no answer for a call. Where calls take no time, the first worker has
 * run them all before the other one comes, and their answers leave together.
 */
final class Exchange implements StreamObserver<Calls> {
    private static final Logger LOG = LoggerFactory.getLogger(Exchange.class);
    private static final Header NOT_TAKEN = Header.newBuilder().setName(Contract.NOT_TAKEN_TRAILER).setValue(ByteString.copyFromUtf8("1")).build();
    /** How many bytes the answers of a message have, but for a single larger one. */
    private static final int MAX_ANSWERS = 256 << 10;

    private final Services services;
    private final Map<String, CallService.Method<?, ?>> methods;
    private final ServerCallStreamObserver<Answers> stream;
    private final Consumer<Exchange> forget;
    /** What the calls' contexts are made in: the stream's, without its end, of which the calls are told by {@link #gone}. */
    private final Context base = Context.current().fork();
    private final Queue<Running<?, ?>> waiting = new ConcurrentLinkedQueue<>();
    /** Those that wait, and those that run, by their ids. */
    private final Map<Long, Running<?, ?>> underWay = new ConcurrentHashMap<>();
    private final Queue<Answer> answers = new ConcurrentLinkedQueue<>();
    /** Set while a worker is on its way: it looks for calls and answers when it has come. */
    private final AtomicBoolean sentFor = new AtomicBoolean();
    /** Set by whoever sends: gRPC's stream is for one at a time. */
    private final AtomicBoolean sending = new AtomicBoolean();
    /** The id of the last call that was begun. It stays once the end begins. */
    private long last;
    private volatile boolean ending;
    private volatile boolean halfClosed;
    /** Nothing is sent any more. */
    private volatile boolean ended;

    Exchange(Services services, Map<String, CallService.Method<?, ?>> methods, ServerCallStreamObserver<Answers> stream, Consumer<Exchange> forget) {
        this.services = services;
        this.methods = methods;
        this.stream = stream;
        this.forget = forget;
        stream.setOnReadyHandler(this::wake);
        stream.setOnCancelHandler(this::gone);
    }

    @Override
    public void onNext(Calls message) {
        begin(message);
        wake();
        if (message.getCanceledCount() > 0) { // not on the transport's thread: an author's listeners hear of it, too
            services.threads().execute(() -> message.getCanceledList().forEach(this::cancel));
        }
    }

    private synchronized void begin(Calls message) {
        if (ending) { // the host makes them elsewhere
            return;
        }
        for (Call call : message.getCallsList()) {
            last = call.getId();
            CallService.Method<?, ?> method = methods.get(call.getMethod());
            if (method == null) {
                answers.add(failed(call, Status.UNIMPLEMENTED.withDescription("Method not found: " + call.getMethod().replaceFirst("^/", "")), null).build());
            } else if (!services.calls().begin()) {
                answers.add(failed(call, services.calls().refusal(), null).addTrailers(NOT_TAKEN).build());
            } else {
                Running<?, ?> running = new Running<>(method, call, contextOf(call));
                underWay.put(call.getId(), running);
                waiting.add(running);
            }
        }
    }

    private Context.CancellableContext contextOf(Call call) {
        long timeout = call.getTimeout();
        return timeout == 0 ? base.withCancellation()
                : base.withDeadline(Deadline.after(timeout < 0 ? Long.MAX_VALUE : timeout, TimeUnit.MICROSECONDS), services.timer());
    }

    private void cancel(long id) {
        Running<?, ?> running = underWay.get(id);
        if (running != null) {
            running.abandon();
        }
    }

    /** The host has left, and nobody waits for any of the calls. */
    private void gone() {
        ended = true;
        forget.accept(this);
        services.threads().execute(() -> underWay.values().forEach(Running::abandon));
    }

    @Override
    public void onError(Throwable failure) {
        // Then gone is called, too.
    }

    @Override
    public void onCompleted() {
        halfClosed = true;
        wake();
    }

    private void wake() {
        if (!ended) {
            sendForWorker();
        }
    }

    private void sendForWorker() {
        if (sentFor.compareAndSet(false, true)) {
            services.threads().execute(this::work);
        }
    }

    private void work() {
        sentFor.set(false);
        send();
        for (Running<?, ?> next = waiting.poll(); next != null; next = waiting.poll()) {
            if (!waiting.isEmpty() || wantsToSend()) {
                sendForWorker();
            }
            next.run();
        }
        send();
    }

    /** Sends what is answered, unless somebody else does, who then goes on until nothing is left, or the host does not read. */
    private void send() {
        while (wantsToSend() && sending.compareAndSet(false, true)) {
            try {
                sendOne();
            } finally {
                sending.set(false);
            }
        }
    }

    private boolean wantsToSend() {
        return !ended && (isOver() || !answers.isEmpty() && stream.isReady());
    }

    private boolean isOver() {
        return ending || halfClosed && underWay.isEmpty();
    }

    private void sendOne() {
        boolean over = isOver(); // asked first: what is answered by then is among the answers
        if (!answers.isEmpty()) {
            stream.onNext(nextAnswers());
        } else if (over && !ended) {
            ended = true;
            if (ending) {
                stream.onNext(Answers.newBuilder().setLast(last).build());
            }
            stream.onCompleted();
            forget.accept(this);
        }
    }

    private Answers nextAnswers() {
        Answers.Builder message = Answers.newBuilder();
        int size = 0;
        for (Answer next = answers.peek(); next != null && (size == 0 || size + next.getSerializedSize() <= MAX_ANSWERS); next = answers.peek()) {
            size += next.getSerializedSize();
            message.addAnswers(answers.poll());
        }
        return message.build();
    }

    /** Sends what is answered, says which call was the last, and ends the stream. */
    void end() {
        synchronized (this) {
            ending = true;
        }
        send();
    }

    private static Answer.Builder failed(Call call, Status status, Metadata trailers) {
        return Answer.newBuilder().setId(call.getId()).setStatus(StatusProto.fromStatusAndTrailers(status, trailers).toByteString());
    }

    /** A call that waits, or runs. */
    private final class Running<Q extends MessageLite, A extends MessageLite> implements StreamObserver<A> {
        private final CallService.Method<Q, A> method;
        private final Call call;
        private final Context.CancellableContext context;
        private volatile boolean abandoned;
        private Answer answer;

        Running(CallService.Method<Q, A> method, Call call, Context.CancellableContext context) {
            this.method = method;
            this.call = call;
            this.context = context;
        }

        /** Cancels it, as nobody waits for it any more. */
        void abandon() {
            abandoned = true;
            context.cancel(null);
        }

        void run() {
            Context own = Headers.in(context, headers());
            Context before = own.attach();
            try {
                method.handler().accept(method.requests().parseFrom(call.getRequest()), this);
            } catch (Throwable e) { // a request that is no message, above all
                LOG.error("{} failed", call.getMethod(), e);
                onError(Status.UNKNOWN.withDescription("Application error processing RPC").asException());
            } finally {
                own.detach(before);
                context.cancel(null);
            }
            if (!abandoned) {
                answers.add(answer);
            }
            underWay.remove(call.getId());
            services.calls().end();
        }

        private Metadata headers() {
            Metadata headers = new Metadata();
            for (Header header : call.getHeadersList()) {
                Metadata.Key<String> key = Headers.READ.get(header.getName());
                if (key != null) {
                    headers.put(key, header.getValue().toStringUtf8());
                }
            }
            return headers;
        }

        @Override
        public void onNext(A message) {
            int size = message.getSerializedSize();
            boolean oversize = call.getMaxAnswer() != 0 && Long.compareUnsigned(size, call.getMaxAnswer()) > 0;
            Answer.Builder made = Answer.newBuilder().setId(call.getId());
            answer = (oversize ? made.setOversize(size) : made.setMessage(message.toByteString())).build();
        }

        @Override
        public void onError(Throwable failure) {
            answer = failed(call, Status.fromThrowable(failure), Status.trailersFromThrowable(failure)).build();
        }

        @Override
        public void onCompleted() {
            // The answer is the call's only message.
        }
    }
}
