// Listens to a stream of events as a browser would: node listen.js URL
//
// Prints a line of JSON for each event, {"type": ..., "data": ..., "id": ...}, and {"type": "closed"} when it will not
// connect again.
'use strict';

const { EventSource } = require('eventsource');

const source = new EventSource(process.argv[2]);

for (const type of ['message', 'end', 'fault', 'recovered']) {
  source.addEventListener(type, ({ data, lastEventId }) => {
    console.log(JSON.stringify({ type, data, id: lastEventId }));
  });
}

source.addEventListener('error', () => {
  if (source.readyState === EventSource.CLOSED) {
    console.log(JSON.stringify({ type: 'closed' }));
  }
});
