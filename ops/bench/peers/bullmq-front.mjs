// The HTTP accept that a BullMQ queue needs before it can be measured beside Waybill: one POST, one job, 201 once Redis has it on disk.
import { createServer } from 'node:http';
import { Queue } from 'bullmq';

const [port, redisPort] = process.argv.slice(2).map(Number);
const queue = new Queue('bench', {
  connection: { host: '127.0.0.1', port: redisPort },
  // Ended jobs would fill Redis; Waybill's are counted in its own figures.
  defaultJobOptions: { attempts: 4, backoff: { type: 'exponential', delay: 1000 }, removeOnComplete: true },
});
await queue.waitUntilReady();

const server = createServer((request, response) => {
  const parts = [];
  request.on('data', (part) => parts.push(part));
  request.on('end', async () => {
    try {
      const { targetUrl, body } = JSON.parse(Buffer.concat(parts));
      const job = await queue.add('call', { targetUrl, body });
      answer(response, 201, { id: job.id });
    } catch (error) {
      answer(response, 503, { error: String(error) });
    }
  });
});
server.keepAliveTimeout = 60_000;
server.listen(port, '127.0.0.1', 4096);

function answer(response, status, value) {
  const text = JSON.stringify(value);
  response.writeHead(status, { 'content-type': 'application/json', 'content-length': Buffer.byteLength(text) });
  response.end(text);
}
