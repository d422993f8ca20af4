// Makes src/gen: the SDK's version, and the messages of the contract from proto/contract.binpb, which is what protoc does with the plugin
// protoc-gen-es, without protoc.
import { spawnSync } from "node:child_process";
import { mkdirSync, readFileSync, rmSync, writeFileSync } from "node:fs";
import { createRequire } from "node:module";
import { dirname, join } from "node:path";
import { fileURLToPath } from "node:url";
import { create, fromBinary, toBinary } from "@bufbuild/protobuf";
import { CodeGeneratorRequestSchema, CodeGeneratorResponseSchema, FileDescriptorSetSchema } from "@bufbuild/protobuf/wkt";

const sdk = dirname(dirname(fileURLToPath(import.meta.url)));
const out = join(sdk, "src", "gen");
const contract = fromBinary(FileDescriptorSetSchema, readFileSync(join(sdk, "..", "..", "proto", "contract.binpb")));
const request = create(CodeGeneratorRequestSchema, {
  parameter: "target=ts,import_extension=js",
  protoFile: contract.file,
  // What is google's own comes with @bufbuild/protobuf.
  fileToGenerate: contract.file.map((file) => file.name).filter((name) => !name.startsWith("google/")),
});
const plugin = createRequire(import.meta.url).resolve("@bufbuild/protoc-gen-es/bin/protoc-gen-es");
const ran = spawnSync(process.execPath, [plugin], { input: toBinary(CodeGeneratorRequestSchema, request), maxBuffer: 64 << 20 });
if (ran.status !== 0) throw new Error(`protoc-gen-es: ${ran.stderr}`);
const response = fromBinary(CodeGeneratorResponseSchema, ran.stdout);
if (response.error) throw new Error(`protoc-gen-es: ${response.error}`);

rmSync(out, { recursive: true, force: true });
for (const { name, content } of response.file) {
  mkdirSync(dirname(join(out, name)), { recursive: true });
  writeFileSync(join(out, name), content);
}

// The SDK's version as a module: a program that a bundler has made one file of does not find package.json.
const { version } = JSON.parse(readFileSync(join(sdk, "package.json"), "utf8"));
writeFileSync(join(out, "version.ts"), `export const version = ${JSON.stringify(version)};\n`);
