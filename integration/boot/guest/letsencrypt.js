// Stands for Let's Encrypt: pebble, its ACME server for tests, under the address and with the first path of the real one, so that a
// client needs no option that its user would not have.
const { spawn } = require('node:child_process');
const fs = require('node:fs');
const https = require('node:https');

const pebble = spawn('/opt/boot/pebble', ['-config', '/opt/boot/pebble.json'], {
  stdio: 'inherit',
  env: { ...process.env, PEBBLE_VA_NOSLEEP: '1', PEBBLE_WFE_NONCEREJECT: '0' },
});
pebble.on('exit', () => process.exit(1));

https.createServer({
  cert: fs.readFileSync('/opt/boot/letsencrypt.pem'),
  key: fs.readFileSync('/opt/boot/letsencrypt.key'),
}, (request, response) => {
  const onward = https.request({
    host: '127.0.0.1',
    port: 14000,
    path: request.url === '/directory' ? '/dir' : request.url,
    method: request.method,
    headers: request.headers,
    rejectUnauthorized: false,
  }, (answer) => {
    response.writeHead(answer.statusCode, answer.headers);
    answer.pipe(response);
  });
  onward.on('error', () => response.destroy());
  request.pipe(onward);
}).listen(443);
