// What is read and written without the generated code is what the generated code reads and writes.
import { create, type DescMessage, fromBinary, type MessageInitShape, toBinary } from "@bufbuild/protobuf";
import { expect, test } from "vitest";
import { AnswersSchema, CallsSchema } from "../src/gen/agenthost/plugin/v1/plugin_pb.js";
import { CreateTaskRequestSchema, GetTaskMetricsRequestSchema, GetTaskRequestSchema } from "../src/gen/flyteidl/admin/agent_pb.js";
import { AnswersWriter, categoryOfJob, categoryOfTask, Reader, readCalls } from "../src/wire.js";

function written<D extends DescMessage>(schema: D, init: MessageInitShape<D>): Buffer {
  return Buffer.from(toBinary(schema, create(schema, init)));
}

const NUMBERS = [1, 127, 128, 16_383, 16_384, 2 ** 31, 2 ** 32 + 1, 2 ** 53 - 1];

test("calls are read as they were written", () => {
  const calls = NUMBERS.map((number, i) => ({
    id: BigInt(number),
    method: `/a.Service/Ünary${i}`,
    request: Buffer.alloc(i * 100, i),
    timeout: BigInt(number),
    maxAnswer: BigInt(number),
    headers: [
      { name: "one", value: Buffer.from("first") },
      { name: "one", value: Buffer.from("second") },
      { name: "some-bin", value: Buffer.from([255]) },
    ],
  }));
  const read = readCalls(written(CallsSchema, { calls, canceled: NUMBERS.map(BigInt) }));
  expect(
    read.calls.map(({ id, method, request, timeout, maxAnswer, headers }) => ({ id, method, request, timeout, maxAnswer, headers })),
  ).toEqual(
    calls.map(({ method, request }, i) => {
      const number = NUMBERS[i];
      return { id: number, method, request: new Uint8Array(request), timeout: number, maxAnswer: number, headers: { one: "first" } };
    }),
  );
  expect(read.canceled).toEqual(NUMBERS);
});

test("ids that are not packed, and fields that nobody knows, are read over", () => {
  const group = [0x4b, 0x0a, 0x01, 0x00, 0x08, 0x07, 0x4c];
  const others = [[0x28, 0xff, 0x7f], [0x31, ...new Array(8).fill(1)], [0x3a, 2, 0, 0], group, [0x45, 1, 2, 3, 4]];
  expect(readCalls(Buffer.from([0x10, 5, ...others.flat(), 0x10, 0xac, 0x02]))).toEqual({ calls: [], canceled: [5, 300] });
});

test("what is no message is no endless loop, and nothing beyond its end is read", () => {
  const beyond = (data: number[]) => Buffer.from([...data, 1, 1, 1, 1]).subarray(0, data.length);
  for (const data of [
    [0x0a, 5, 0],
    [0x08],
    [0x10, 0x80],
    [0x4b, 0x08, 1],
    [0x09, 1],
    [0x07],
    [0x4c],
    [0x00, 1],
    new Array(12).fill(0xff),
  ]) {
    expect(() => readCalls(beyond(data))).toThrow("no protobuf message");
  }
});

test("answers are written as they are to be read", () => {
  const writer = new AnswersWriter();
  for (const number of NUMBERS) {
    writer.answer(number, Buffer.alloc(200), 0);
    writer.answer(number, Buffer.alloc(200), 199);
    writer.error(number, 14, "näher".repeat(number % 100), { "agenthost-not-taken": "1" });
  }
  const { answers } = fromBinary(AnswersSchema, writer.take());
  expect(answers).toHaveLength(3 * NUMBERS.length);
  answers.forEach((answer, i) => {
    const number = NUMBERS[Math.floor(i / 3)] as number;
    expect(answer.id).toBe(BigInt(number));
    if (i % 3 === 0) expect(answer.message).toEqual(new Uint8Array(200));
    if (i % 3 === 1) expect(answer.oversize).toBe(200n);
    if (i % 3 < 2) return;
    const status = new Reader(Buffer.from(answer.status)); // a google.rpc.Status
    expect([status.next(), status.tag, status.varint()]).toEqual([true, 0x08, 14]);
    expect([status.next(), status.tag, status.text()]).toEqual([true, 0x12, "näher".repeat(number % 100)]);
    expect(status.more).toBe(false);
    expect(answer.trailers).toMatchObject([{ name: "agenthost-not-taken", value: new Uint8Array([0x31]) }]);
  });
  expect(writer.take()).toHaveLength(0);
});

test("a request is routed by what the generated code finds in it", () => {
  for (const version of [0, 1, 300, -1, 2 ** 31 - 1, -(2 ** 31)]) {
    const category = { name: "größer", version };
    const rest = { taskType: "before", resourceMeta: Buffer.from([0x0a, 1, 0x41]) };
    const found = { taskType: "größer", version };
    const get = written(GetTaskRequestSchema, { ...rest, taskCategory: category, outputPrefix: "s3://there" });
    expect(categoryOfJob(3)(new Reader(get))).toEqual(found);
    const metrics = written(GetTaskMetricsRequestSchema, { ...rest, taskCategory: category, queries: ["x"], startTime: { seconds: 1n } });
    expect(categoryOfJob(7)(new Reader(metrics))).toEqual(found);
    const template = { type: "größer", taskTypeVersion: version, id: { name: "x" }, custom: { a: "b" } };
    expect(categoryOfTask(new Reader(written(CreateTaskRequestSchema, { template, outputPrefix: "s3://there" })))).toEqual(found);
  }
  const before = written(GetTaskRequestSchema, { taskType: "before" });
  expect(categoryOfJob(3)(new Reader(before))).toEqual({ taskType: "before", version: 0 });
});
