// One HTTP call by the fastest client that Node has; what is no success throws, so that it is tried again.
import { Agent, request } from 'undici';

const dispatcher = new Agent({ connections: 512, pipelining: 1, keepAliveTimeout: 60_000 });

export async function call(targetUrl, body) {
  const answer = await request(targetUrl, { method: 'POST', body, dispatcher, headers: { 'content-type': 'text/plain' } });
  await answer.body.dump();
  if (answer.statusCode >= 300) throw new Error(`the target answered ${answer.statusCode}`);
}
