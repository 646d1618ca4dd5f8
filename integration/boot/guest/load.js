// Clients that never stop: new connections to 443, one after the other, until SIGTERM; then how it went, as one line.
//
//   node load.js ADDRESS
//
// Most only connect, since they are many a second and so see a gap of milliseconds; some go the whole way of HTTP/2. A connection
// that is refused met a host without the mapping: nobody listens on 443.
const fs = require('node:fs');
const net = require('node:net');
const http2 = require('node:http2');
const address = process.argv[2];

const count = { connected: 0, answered: 0, refused: 0, failed: 0 };
let last = '';
let stopping = false;

function lost(err) {
  if (stopping) return;
  count[err.code === 'ECONNREFUSED' ? 'refused' : 'failed'] += 1;
  last = `${err.code || err.message}`;
}

function connect() {
  return new Promise((resolve) => {
    const socket = net.connect({ host: address, port: 443 });
    const patience = setTimeout(() => socket.destroy(new Error('no answer to SYN')), 20000);
    socket.on('connect', () => { count.connected += 1; socket.resetAndDestroy(); });
    socket.on('error', lost);
    socket.on('close', () => { clearTimeout(patience); resolve(); });
  });
}

function ask() {
  return new Promise((resolve) => {
    const session = http2.connect(`https://${address}`, { servername: 'test', rejectUnauthorized: false });
    const patience = setTimeout(() => session.destroy(new Error('no answer over HTTP/2')), 20000);
    session.on('error', lost);
    session.on('close', () => { clearTimeout(patience); resolve(); });
    const stream = session.request({ ':path': '/' });
    stream.on('error', () => {}); // told by the session
    stream.on('response', (headers) => { if (headers[':status'] === 200) count.answered += 1; });
    stream.on('end', () => session.close());
    stream.resume();
  });
}

// A client waits as many times as long as its last turn took, and a little: on an emulated machine the processor is for what is
// tested, on a fast one the table of connection tracking must not fill.
async function repeat(client, times) {
  while (!stopping) {
    const start = Date.now();
    await client();
    await new Promise((resolve) => setTimeout(resolve, 2 + times * (Date.now() - start)));
  }
}

const progress = setInterval(() => fs.writeFileSync('/run/boot/load-progress', `${count.connected} ${count.answered}\n`), 100);
process.on('SIGTERM', () => {
  stopping = true;
  clearInterval(progress);
  console.log(`refused=${count.refused} failed=${count.failed} connected=${count.connected} answered=${count.answered} ${last}`);
  process.exit(0);
});
repeat(connect, 3);
repeat(connect, 3);
repeat(ask, 1);
