// A handler with one durable step: the POST to the target. Invoked through Restate's ingress, which answers once the invocation is durable.
import { createServer } from 'node:http2';
import * as restate from '@restatedev/restate-sdk';
import { call } from './call.mjs';

// Node 20 and older lack what the SDK calls.
Promise.withResolvers ??= () => {
  let resolve, reject;
  const promise = new Promise((...both) => ([resolve, reject] = both));
  return { promise, resolve, reject };
};

const port = Number(process.argv[2]);
const bench = restate.service({
  name: 'bench',
  handlers: {
    deliver: async (context, { targetUrl, body }) => {
      await context.run('call', () => call(targetUrl, body));
    },
  },
});
createServer(restate.createEndpointHandler({ services: [bench] })).listen(port, '127.0.0.1');
