// Takes jobs and POSTs each to its target over kept connections.
import { Worker } from 'bullmq';
import { call } from './call.mjs';

const [redisPort, slots] = process.argv.slice(2).map(Number);
const worker = new Worker('bench', ({ data }) => call(data.targetUrl, data.body), {
  connection: { host: '127.0.0.1', port: redisPort },
  concurrency: slots,
});
worker.on('error', (error) => console.error(error));
worker.on('failed', (_, error) => console.error(error));
