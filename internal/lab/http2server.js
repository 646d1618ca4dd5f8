// A server with Node.js' own http2 module, that knows nothing of the port its clients use.
const http2 = require('node:http2');
const fs = require('node:fs');
const [dir, address, port] = process.argv.slice(2);

const server = http2.createSecureServer({
  cert: fs.readFileSync(`${dir}/cert.pem`),
  key: fs.readFileSync(`${dir}/key.pem`),
  allowHTTP1: false,
});
server.on('stream', (stream) => {
  const socket = stream.session.socket;
  stream.respond({ ':status': 200 });
  stream.end(`${socket.remoteAddress.replace('::ffff:', '')} ${socket.localPort} uid=${process.getuid()}`);
});
server.listen(port, address, () => console.log('ready'));
