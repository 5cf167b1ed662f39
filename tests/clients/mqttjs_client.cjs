// MQTT.js against the broker: mqttjs_client.cjs PORT VERSION SCENARIO... Exits with 0 when all is as it should be.
// In the environment, TRANSPORT is tls, ws or wss instead of tcp, and CA the file of the authority to trust; CERT and KEY
// are the client's own, and with UNCHECKED it trusts everybody.
'use strict'
const assert = require('node:assert/strict')
const { once } = require('node:events')
const { readFileSync } = require('node:fs')
const mqtt = require('mqtt')
const { WebSocket } = require('ws')

const [port, version, ...words] = process.argv.slice(2)
const v5 = version === '5'
// Begins the names of a scenario's clients, so that none meets one of an earlier scenario.
let running
// A bound for what never comes.
const PATIENCE = 30_000
const { TRANSPORT = 'tcp', CA, CERT, KEY, UNCHECKED } = process.env
const transport = {
  protocol: { tcp: 'mqtt', tls: 'mqtts', ws: 'ws', wss: 'wss' }[TRANSPORT],
  path: '/mqtt',
  ca: CA && readFileSync(CA),
  cert: CERT && readFileSync(CERT),
  key: KEY && readFileSync(KEY),
  rejectUnauthorized: !UNCHECKED
}

function within (promise, what) {
  const late = new Promise((resolve, reject) => setTimeout(() => reject(new Error(`waited in vain for ${what}`)), PATIENCE).unref())
  return Promise.race([promise, late])
}

class Client {
  // `properties` are those of CONNECT in 5.0; `more` are options of MQTT.js, `prepare` gets it before it connects.
  static async connect (name, {
    clean = true, will, keepalive = 60, reconnectPeriod = 0, properties = {}, more = {}, prepare = () => {}
  } = {}) {
    const client = new this()
    client.messages = []
    client.waiting = []
    client.mqtt = mqtt.connect({
      host: '127.0.0.1',
      port: Number(port),
      clientId: `js-${version}-${running}-${name}`,
      protocolVersion: v5 ? 5 : version === '3.1' ? 3 : 4,
      protocolId: version === '3.1' ? 'MQIsdp' : 'MQTT',
      clean,
      will,
      keepalive,
      reconnectPeriod,
      ...transport,
      properties: v5 ? { ...(clean ? {} : { sessionExpiryInterval: 100 }), ...properties } : undefined,
      ...more
    })
    client.mqtt.on('message', (topic, payload, packet) => {
      client.messages.push([topic, payload.toString(), packet.qos, packet.retain, packet.properties])
      client.waiting.shift()?.()
    })
    prepare(client.mqtt)
    const [connack] = await within(once(client.mqtt, 'connect'), 'connect')
    client.sessionPresent = connack.sessionPresent
    client.connack = connack
    return client
  }

  async subscribe (topic, qos) {
    const [granted] = await within(this.mqtt.subscribeAsync(topic, { qos }), 'suback')
    assert.equal(granted.qos, qos)
  }

  publish (topic, payload, qos, retain = false) {
    return within(this.mqtt.publishAsync(topic, payload, { qos, retain }), 'puback')
  }

  async next (what) {
    if (this.messages.length === 0) await within(new Promise(resolve => this.waiting.push(resolve)), what)
    return this.messages.shift()
  }

  async expect (topic, payload, qos, retain = false) {
    const got = await this.next(`${topic} ${payload.slice(0, 20)}`)
    assert.deepEqual(got.slice(0, 4), [topic, payload, qos, retain])
    return got[4]
  }

  leave () {
    return within(this.mqtt.endAsync(), 'the end')
  }

  vanish () {
    this.mqtt.stream.destroy()
  }
}

// Options with which a WebSocket is kept, and the code that it will be closed with.
function watched () {
  let closed
  const createWebsocket = (url, protocols) => {
    const socket = new WebSocket(url, protocols, { ca: transport.ca })
    closed = once(socket, 'close').then(([code]) => code)
    return socket
  }
  return [{ createWebsocket }, () => within(closed, 'the code')]
}

const scenarios = {
  async qos () {
    for (const qos of [0, 1, 2]) {
      const subscriber = await Client.connect(`s${qos}`)
      const publisher = await Client.connect(`p${qos}`)
      await subscriber.subscribe(`qos/${qos}`, qos)
      const published = []
      for (let number = 0; number < 100; number++) published.push(publisher.publish(`qos/${qos}`, `${number}`, qos))
      for (let number = 0; number < 100; number++) await subscriber.expect(`qos/${qos}`, `${number}`, qos)
      await Promise.all(published)
    }
  },

  async retained () {
    const publisher = await Client.connect('p')
    await publisher.publish('kept/a', 'old', 1, true)
    await publisher.publish('kept/a', 'new', 1, true)
    await publisher.publish('kept/b', 'gone', 1, true)
    await publisher.publish('kept/b', '', 1, true)
    const subscriber = await Client.connect('s')
    await subscriber.subscribe('kept/+', 1)
    await subscriber.expect('kept/a', 'new', 1, true)
    await publisher.publish('kept/a', 'live', 1, true)
    await subscriber.expect('kept/a', 'live', 1, false)
    await publisher.publish('kept/a', '', 1, true)
    await subscriber.expect('kept/a', '', 1, false)
  },

  async will () {
    const watcher = await Client.connect('watcher')
    await watcher.subscribe('will', 1)
    const will = payload => ({ topic: 'will', payload, qos: 1, retain: false })
    await (await Client.connect('polite', { will: will('polite') })).leave()
    ;(await Client.connect('rude', { will: will('rude') })).vanish()
    await watcher.expect('will', 'rude', 1)
  },

  async persistent () {
    const first = await Client.connect('s', { clean: false })
    assert.equal(first.sessionPresent, false)
    await first.subscribe('away/#', 2)
    await first.leave()
    const publisher = await Client.connect('p')
    // MQTT.js hands a QoS 2 message over when it is released, after QoS 1 messages that came later.
    const qos = number => number < 10 ? 1 : 2
    for (let number = 0; number < 20; number++) await publisher.publish('away/x', `${number}`, qos(number))
    const second = await Client.connect('s', { clean: false })
    assert.equal(second.sessionPresent, true)
    for (let number = 0; number < 20; number++) await second.expect('away/x', `${number}`, qos(number))
    await second.leave()
    assert.equal((await Client.connect('s')).sessionPresent, false)
  },

  async wildcards () {
    const subscriber = await Client.connect('s')
    const publisher = await Client.connect('p')
    await subscriber.subscribe('w/+/x', 0)
    await subscriber.subscribe('w/#', 1)
    for (const topic of ['v/1/x', 'w/1/x', 'w/1/y', 'w']) await publisher.publish(topic, topic, 1)
    await subscriber.expect('w/1/x', 'w/1/x', 1)
    await subscriber.expect('w/1/y', 'w/1/y', 1)
    await subscriber.expect('w', 'w', 1)
  },

  async system () {
    const everything = await Client.connect('e')
    const watcher = await Client.connect('w')
    const publisher = await Client.connect('p')
    await everything.subscribe('#', 0)
    await watcher.subscribe('$SYS/broker/uptime', 0)
    // The first may be the retained one; the second is published now.
    for (let seen = 0; seen < 2; seen++) assert.equal((await watcher.next('uptime'))[0], '$SYS/broker/uptime')
    await publisher.publish('system', 'the first that # matches', 1)
    await everything.expect('system', 'the first that # matches', 0)
  },

  async large () {
    const subscriber = await Client.connect('s')
    const publisher = await Client.connect('p')
    await subscriber.subscribe('large', 2)
    const payload = 'abcdefghijklmnop'.repeat(16 * 1024)
    for (const qos of [0, 1, 2]) {
      await publisher.publish('large', payload, qos)
      await subscriber.expect('large', payload, qos)
    }
  },

  async take_over () {
    for (let number = 0; number < 8; number++) {
      const first = await Client.connect(`same${number}`, { clean: false })
      await first.subscribe(`same/${number}`, 1)
      const closed = once(first.mqtt, 'close')
      const told = v5 && once(first.mqtt, 'disconnect')
      const second = await Client.connect(`same${number}`, { clean: false })
      assert.equal(second.sessionPresent, true)
      await within(closed, 'the first to be closed')
      if (v5) assert.equal((await within(told, 'the reason'))[0].reasonCode, 0x8e)
      const publisher = await Client.connect(`p${number}`)
      await publisher.publish(`same/${number}`, 'x', 1)
      await second.expect(`same/${number}`, 'x', 1)
    }
  },

  async pings () {
    const client = await Client.connect('c', { keepalive: 1, reconnectPeriod: 100 })
    for (let pongs = 0; pongs < 2;) {
      const [packet] = await within(once(client.mqtt, 'packetreceive'), 'the answer to a ping')
      if (packet.cmd === 'pingresp') pongs++
    }
  },

  // Is not let in, or leaves at once.
  async turned_away () {
    await assert.rejects(Client.connect('c'), error => !/waited in vain/.test(error.message))
  },

  // What a WebSocket is closed with when MQTT refuses to go on.
  async close_codes () {
    const [more, code] = watched()
    const first = await Client.connect('same', { more })
    await Client.connect('same')
    assert.equal(await code(), 1008)
    first.mqtt.end(true)
    const [other, its] = watched()
    const wrong = await Client.connect('wrong', { more: other })
    wrong.mqtt.stream.write(Buffer.from([0x82, 0]))
    assert.equal(await its(), 1008)
  },

  // Stays until the broker goes away.
  async left_behind () {
    const [more, code] = watched()
    await Client.connect('c', { more })
    console.log('ready')
    assert.equal(await code(), 1001)
  },

  // Connects with a will and a short keep alive, and is stopped from outside.
  async mortal () {
    await Client.connect('c', { will: { topic: 'will/mortal', payload: version, qos: 1, retain: false }, keepalive: 1 })
    console.log('ready')
    await new Promise(() => {})
  },

  // Passes each message of one hop on to the next, until one says stop.
  async relay (hop) {
    const client = await Client.connect(hop)
    await client.subscribe(`hop/${hop}`, 2)
    console.log('ready')
    for (let payload = ''; payload !== 'stop';) {
      const [, passed, qos] = await client.next('a message')
      payload = passed
      await client.publish(`hop/${Number(hop) + 1}`, payload, qos)
    }
    await client.leave()
  }
}

// Runs the scenarios that the command line names. One is a name, or name=argument.
async function main (scenarios) {
  try {
    for (const word of words) {
      const [name, ...args] = word.split('=')
      running = name
      await scenarios[name](...args)
    }
    process.exit(0)
  } catch (error) {
    console.error(`${running}:`, error)
    process.exit(1)
  }
}

module.exports = { Client, main, within }
if (require.main === module) main(scenarios)
