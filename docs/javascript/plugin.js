// A Flyte agent plugin without an SDK: what agenthost asks of a program, in one file. Task type `hello`: name -> greeting.
import { readFileSync, mkdtempSync, rmSync } from 'node:fs';
import { tmpdir } from 'node:os';
import { join } from 'node:path';
import grpc from '@grpc/grpc-js';
import { loadFileDescriptorSetFromBuffer } from '@grpc/proto-loader';
import { HealthImplementation } from 'grpc-health-check';
import { generate } from 'selfsigned';

// The contract is a descriptor set: Flyte's agent services, go-plugin's two, and agenthost's optional one. Integers come as text: a number
// would round those beyond 2^53. What an answer has that its message has not, such as a phase "SUCCEDED", is left out without a word.
const contract = readFileSync(process.env.AGENTHOST_CONTRACT ?? new URL('../../proto/contract.binpb', import.meta.url));
const proto = grpc.loadPackageDefinition(loadFileDescriptorSetFromBuffer(contract, { enums: String, longs: String, defaults: true }));
const { service } = proto.flyteidl;
const { status } = grpc;

// 1. Only a host starts a plugin, and says so with a cookie.
if (process.env.AGENTHOST_PLUGIN !== 'flyte-agent-plugin' || !(process.env.PLUGIN_PROTOCOL_VERSIONS ?? '').split(',').includes('1')) {
  console.error('This is a Flyte agent plugin: give it to agenthost, as plugins: {hello: {command: [node, plugin.js]}}.');
  process.exit(1);
}

// 2. Logs are JSON lines on stderr; stdout belongs to the handshake.
function log(level, message, fields = {}) {
  const time = new Date().toISOString().replace(/(\.\d{3})Z$/, '$1000Z'); // six digits, or the line counts as raw text
  process.stderr.write(JSON.stringify({ '@level': level, '@message': message, '@timestamp': time, ...fields }) + '\n');
}
process.on('SIGINT', () => {}); // a Ctrl-C at the host is the host's to act on

// 3. The agent: create answers with what names the job, get says how it is, delete ends it.
const categories = [{ name: 'hello', version: 0 }];
const agent = { name: 'hello', is_sync: false, supported_task_categories: categories };
const category = (request) => request.template?.type ?? (request.task_category?.name || request.task_type);
const serves = (handler) => (call, answer) => {
  const name = category(call.request);
  if (name !== 'hello') return answer({ code: status.NOT_FOUND, details: `no agent here serves task type ${name}; there is hello` });
  try {
    answer(null, handler(call.request));
  } catch (error) {
    log('error', 'a call failed', { task_type: name, error: String(error) });
    answer({ code: status.INVALID_ARGUMENT, details: `hello: ${error.message}` });
  }
};
// A map<string, Literal> is a list of pairs, as on the wire: that is how proto-loader reads it from descriptors.
const text = (key, value) => ({ key, value: { scalar: { primitive: { string_value: value } } } });
const unimplemented = (call, answer) => answer({ code: status.UNIMPLEMENTED, details: 'hello has neither logs nor metrics' });
const asyncAgent = {
  createTask: serves(({ inputs }) => {
    const name = inputs?.literals.find(({ key }) => key === 'name')?.value.scalar?.primitive?.string_value;
    if (name === undefined) throw new Error('the task has no input "name" of type str');
    return { resource_meta: Buffer.from(JSON.stringify({ name })) };
  }),
  getTask: serves(({ resource_meta }) => {
    const { name } = JSON.parse(resource_meta);
    return { resource: { phase: 'SUCCEEDED', outputs: { literals: [text('greeting', `Hello, ${name}`)] } } };
  }),
  deleteTask: serves(() => ({})),
  getTaskMetrics: unimplemented,
  getTaskLogs: (stream) => stream.emit('error', { code: status.UNIMPLEMENTED, details: 'hello has neither logs nor metrics' }),
};
const metadata = {
  listAgents: (call, answer) => answer(null, { agents: [agent] }),
  getAgent: ({ request }, answer) => request.name === 'hello' ? answer(null, { agent })
    : answer({ code: status.NOT_FOUND, details: `there is no agent ${request.name}; there is hello` }),
};

// 4. go-plugin's own services. A shutdown lets the calls under way end.
const server = new grpc.Server({ 'grpc.max_receive_message_length': -1, 'grpc.max_send_message_length': -1 });
const held = new Set(); // go-plugin's log streams, which would keep the server open
function stop() {
  held.forEach((stream) => stream.end());
  server.tryShutdown(() => process.exit(0));
  setTimeout(() => process.exit(0), 10_000).unref();
}
process.on('SIGTERM', stop);
server.addService(proto.plugin.GRPCController.service, { shutdown: (call, answer) => { answer(null, {}); setImmediate(stop); } });
server.addService(proto.plugin.GRPCStdio.service, { streamStdio: (stream) => held.add(stream) });
server.addService(service.AsyncAgentService.service, asyncAgent);
server.addService(service.AgentMetadataService.service, metadata);
new HealthImplementation({ plugin: 'SERVING' }).addToServer(server);

// 5. Mutual TLS: the host's certificate comes in the environment, ours goes into the handshake.
const client = process.env.PLUGIN_CLIENT_CERT; // absent where the host's configuration says tls: off
const ours = await generate([{ name: 'commonName', value: 'localhost' }], { keyType: 'ec', curve: 'P-256', algorithm: 'sha256' });
const pair = { private_key: Buffer.from(ours.private), cert_chain: Buffer.from(ours.cert) };
const credentials = client ? grpc.ServerCredentials.createSsl(Buffer.from(client), [pair], true) : grpc.ServerCredentials.createInsecure();

// 6. A socket in the host's private directory, and the one line on stdout.
const directory = process.env.PLUGIN_UNIX_SOCKET_DIR || mkdtempSync(join(tmpdir(), 'plugin-'));
const socket = join(directory, `hello-${process.pid}.sock`);
process.on('exit', () => rmSync(socket, { force: true }));
server.bindAsync(`unix:${socket}`, credentials, (error) => {
  if (error) throw error;
  const leaf = client && ours.cert.replace(/-----[^-]+-----|\s/g, '').replace(/=+$/, '');
  process.stdout.write(`1|1|unix|${socket}|grpc|${leaf ?? ''}\n`);
  log('info', 'serving', { task_types: 'hello' });
});
