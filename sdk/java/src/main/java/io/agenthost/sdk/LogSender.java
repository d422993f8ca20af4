package io.agenthost.sdk;

import com.flyteidl.admin.GetTaskLogsResponse;
import com.flyteidl.admin.GetTaskLogsResponseBody;
import com.flyteidl.admin.GetTaskLogsResponseHeader;
import com.flyteidl.admin.LogLineOriginator;
import com.google.protobuf.Timestamp;
import io.grpc.stub.ServerCallStreamObserver;
import java.util.List;

/** Sends log lines to the caller, as fast as the caller takes them. */
final class LogSender implements LogStream {
    private final ServerCallStreamObserver<GetTaskLogsResponse> answer;

    LogSender(ServerCallStreamObserver<GetTaskLogsResponse> answer) {
        this.answer = answer;
        answer.setOnReadyHandler(this::wake);
        answer.setOnCancelHandler(this::wake);
    }

    private synchronized void wake() {
        notifyAll();
    }

    @Override
    @SuppressWarnings("deprecation") // results, which Flyte before structured lines reads
    public void send(List<LogLine> lines) throws InterruptedException {
        if (lines.isEmpty()) {
            return;
        }
        GetTaskLogsResponseBody.Builder body = GetTaskLogsResponseBody.newBuilder();
        for (LogLine line : lines) {
            body.addResults(line.message());
            com.flyteidl.admin.LogLine.Builder structured = com.flyteidl.admin.LogLine.newBuilder().setMessage(line.message())
                    .setOriginator(LogLineOriginator.valueOf(line.originator().name()));
            if (line.time() != null) {
                structured.setTimestamp(Timestamp.newBuilder().setSeconds(line.time().getEpochSecond()).setNanos(line.time().getNano()));
            }
            body.addStructuredLines(structured);
        }
        send(GetTaskLogsResponse.newBuilder().setBody(body).build());
    }

    @Override
    public void nextToken(String token) throws InterruptedException {
        send(GetTaskLogsResponse.newBuilder().setHeader(GetTaskLogsResponseHeader.newBuilder().setToken(token)).build());
    }

    private synchronized void send(GetTaskLogsResponse part) throws InterruptedException {
        while (!answer.isReady() && !answer.isCancelled()) {
            wait();
        }
        if (answer.isCancelled()) {
            throw new InterruptedException("the caller is gone");
        }
        answer.onNext(part);
    }
}
