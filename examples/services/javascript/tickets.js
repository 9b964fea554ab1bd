// Opens a ticket for each event, and acknowledges the event when the ticket is on disk.
'use strict';

const fs = require('node:fs');
const amqp = require('amqplib');

const urls = (process.env.CLUSTERBUS_URL || '').split(/\s+/).filter(Boolean);
const queue = `clusterbus.svc.${process.env.CLUSTERBUS_SERVICE || 'tickets'}`;
const file = process.env.TICKETS_FILE || 'tickets.jsonl';
const PRIORITY = { warning: 'low', error: 'normal', critical: 'high' };
const ATTEMPTS = 5;
const LONGEST_PAUSE = 10000;

let stopping = false;
let connection = null;
let working = Promise.resolve();

const pause = (milliseconds) => new Promise((resolve) => { setTimeout(resolve, milliseconds); });

// The tickets are the memory of which events are handled. A line that a kill has cut off does not count.
function readTickets() {
  if (!fs.existsSync(file)) return new Set();
  const text = fs.readFileSync(file, 'utf8');
  const whole = text.slice(0, text.lastIndexOf('\n') + 1);
  if (whole.length < text.length) fs.truncateSync(file, Buffer.byteLength(whole));
  return new Set(whole.split('\n').filter(Boolean).map((line) => JSON.parse(line).event));
}

const handled = readTickets();

// Both content modes of CloudEvents: in binary mode, attributes are headers and the body is the data.
function eventOf(message) {
  const body = JSON.parse(message.content.toString());
  if ((message.properties.contentType || '').startsWith('application/cloudevents')) return body;
  const attributes = Object.entries(message.properties.headers || {})
    .filter(([name]) => name.startsWith('ce-'))
    .map(([name, value]) => [name.slice('ce-'.length), value]);
  return { ...Object.fromEntries(attributes), data: body };
}

function openTicket(event) {
  if (handled.has(event.id)) return;
  const [, name] = event.type.split('.');
  const title = `[${PRIORITY[event.severity]}] ${name} on ${event.node}: ${event.subject || event.cluster}`;
  fs.writeFileSync(file, `${JSON.stringify({ event: event.id, title })}\n`, { flag: 'a', flush: true });
  handled.add(event.id);
  console.log('ticket opened:', title);
}

async function handle(channel, message) {
  let event;
  try {
    event = eventOf(message);
  } catch (error) {
    console.error('not an event:', error.message);
    channel.reject(message, false); // to the dead-letter queue
    return;
  }
  if (!(event.severity in PRIORITY)) {
    channel.reject(message, false);
    return;
  }
  for (let attempt = 1; ; attempt += 1) {
    try {
      openTicket(event);
      channel.ack(message);
      return;
    } catch (error) {
      console.error(`attempt ${attempt} failed:`, error.message);
      if (stopping) return; // not acknowledged: it comes again
      if (attempt === ATTEMPTS) {
        channel.reject(message, false);
        return;
      }
      await pause(2 ** (attempt - 1) * 1000);
    }
  }
}

// Sends what is settled, and closes; a connection that is closed already is no error.
async function disconnect() {
  if (connection) await connection.close().catch(() => {});
}

// Reads the queue until the connection is lost or cannot be made.
async function read(url) {
  connection = await amqp.connect(url, { heartbeat: 15, timeout: 10000 });
  const closed = new Promise((resolve) => {
    connection.on('error', (error) => console.error('connection:', error.message));
    connection.on('close', resolve);
  });
  try {
    const channel = await connection.createChannel();
    channel.on('error', (error) => console.error('channel:', error.message));
    channel.on('close', disconnect);
    await channel.prefetch(10);
    await channel.consume(queue, (message) => {
      if (message === null) {
        disconnect(); // the queue was deleted
        return;
      }
      // One after another, in the order of the queue. A lost channel throws; the broker delivers again.
      working = working.then(() => (stopping ? undefined : handle(channel, message)))
        .catch((error) => console.error('not settled:', error.message));
    });
    console.log('reading', queue);
    await closed;
  } finally {
    await disconnect();
  }
}

async function main() {
  if (urls.length === 0) throw new Error('set CLUSTERBUS_URL, such as amqps://USER:PASSWORD@HOST/');
  for (let attempt = 0; !stopping; attempt += 1) {
    const began = Date.now();
    try {
      await read(urls[attempt % urls.length]);
    } catch (error) {
      // Wrong password, missing queue or right: only a person can put that right.
      if (/ACCESS_REFUSED|NOT_FOUND|NOT_ALLOWED/.test(error.message)) throw error;
      console.error('broker:', error.message);
    }
    if (Date.now() - began > LONGEST_PAUSE) attempt = 0;
    if (!stopping) await pause(Math.random() * Math.min(LONGEST_PAUSE, 500 * 2 ** attempt));
  }
}

for (const signal of ['SIGTERM', 'SIGINT']) {
  process.on(signal, async () => {
    stopping = true;
    await working;
    await disconnect();
    process.exit(0);
  });
}

main().catch((error) => {
  console.error('tickets:', error.message);
  process.exit(1);
});
