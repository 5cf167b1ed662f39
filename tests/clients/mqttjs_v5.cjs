// What 5.0 added, with MQTT.js: mqttjs_v5.cjs PORT 5 SCENARIO... Exits with 0 when all is as it should be.
'use strict'
const assert = require('node:assert/strict')
const { createHash, createHmac, pbkdf2Sync } = require('node:crypto')
const { once } = require('node:events')
const { Client: Plain, main, within } = require('./mqttjs_client.cjs')

class Client extends Plain {
  // Publishes and returns the acknowledgement.
  send (topic, payload, { qos = 1, retain = false, properties } = {}) {
    return within(this.mqtt.publishAsync(topic, payload, { qos, retain, properties }), 'puback')
  }

  async subscribeWith (topic, options) {
    const [granted] = await within(this.mqtt.subscribeAsync(topic, { qos: 1, ...options }), 'suback')
    assert.equal(granted.qos, options.qos ?? 1)
  }

  // What was sent before the answer to a SUBSCRIBE has arrived before it.
  async expectNothing () {
    await this.subscribe('fence', 0)
    assert.deepEqual(this.messages, [])
  }

  leaveWith (options) {
    return within(this.mqtt.endAsync(false, options), 'the end')
  }
}

// The client's side of SCRAM-SHA-256 [RFC 5802, RFC 7677], one exchange.
class Scram {
  constructor (user, password, nonce) {
    this.password = password
    this.nonce = nonce
    this.bare = `n=${user},r=${nonce}`
    this.first = Buffer.from(`n,,${this.bare}`)
  }

  // The answer to the server's first message.
  final (serverFirst) {
    const [, nonce, salt, iterations] = /^r=([^,]+),s=([^,]+),i=(\d+)$/.exec(serverFirst)
    assert.ok(nonce.startsWith(this.nonce) && nonce.length > this.nonce.length)
    const hmac = (key, text) => createHmac('sha256', key).update(text).digest()
    const salted = pbkdf2Sync(this.password, Buffer.from(salt, 'base64'), Number(iterations), 32, 'sha256')
    const clientKey = hmac(salted, 'Client Key')
    const withoutProof = `c=biws,r=${nonce}`
    const messages = `${this.bare},${serverFirst},${withoutProof}`
    const signature = hmac(createHash('sha256').update(clientKey).digest(), messages)
    const proof = clientKey.map((byte, at) => byte ^ signature[at])
    this.serverFinal = `v=${hmac(hmac(salted, 'Server Key'), messages).toString('base64')}`
    return Buffer.from(`${withoutProof},p=${proof.toString('base64')}`)
  }
}

const METHOD = 'SCRAM-SHA-256'

function authPacket (reasonCode, authenticationData) {
  return { cmd: 'auth', reasonCode, properties: { authenticationMethod: METHOD, authenticationData } }
}

// Lets a client answer what the server asks, in the exchange that is under way.
function answering (mqtt, exchange) {
  mqtt.handleAuth = ({ reasonCode, properties }, done) => {
    if (reasonCode !== 0x18) return done()
    done(null, authPacket(0x18, exchange.final(properties.authenticationData.toString())))
  }
}

// The first of some packets that the broker sends.
const packet = (client, wanted) => within(new Promise(resolve => {
  client.mqtt.on('packetreceive', packet => { if (packet.cmd === wanted) resolve(packet) })
}), wanted)

const scenarios = {
  async message_properties () {
    const subscriber = await Client.connect('s')
    const publisher = await Client.connect('p')
    await subscriber.subscribeWith('p/x', { qos: 2, properties: { subscriptionIdentifier: 268_435_455 } })
    const properties = {
      payloadFormatIndicator: true,
      messageExpiryInterval: 1_000,
      contentType: 'text/plain',
      responseTopic: 'answers/x',
      correlationData: Buffer.from([0, 255]),
      userProperties: { b: ['2', '2'], a: '1' }
    }
    for (const qos of [0, 1, 2]) {
      await publisher.send('p/x', 'grüße', { qos, properties })
      const got = { ...await subscriber.expect('p/x', 'grüße', qos) }
      assert.ok(got.messageExpiryInterval > 0 && got.messageExpiryInterval <= 1_000)
      assert.equal(got.subscriptionIdentifier, 268_435_455)
      delete got.subscriptionIdentifier
      const { userProperties, ...others } = got
      assert.deepEqual({ ...others, messageExpiryInterval: 1_000, userProperties: { ...userProperties } }, properties)
    }
  },

  async request_and_response () {
    const asking = await Client.connect('asking')
    const answering = await Client.connect('answering')
    await asking.subscribe('answers/1', 1)
    await answering.subscribe('questions', 1)
    const correlationData = Buffer.from('first')
    await asking.send('questions', '2+2', { properties: { responseTopic: 'answers/1', correlationData } })
    const question = await answering.expect('questions', '2+2', 1)
    await answering.send(question.responseTopic, '4', { properties: { correlationData: question.correlationData } })
    assert.deepEqual((await asking.expect('answers/1', '4', 1)).correlationData, correlationData)
  },

  async subscription_options () {
    const client = await Client.connect('c')
    const other = await Client.connect('o')
    await other.send('o/kept', 'kept', { retain: true })
    // Retain handling: 2 sends nothing, 1 only what is new, 0 always.
    await client.subscribeWith('o/kept', { rh: 2 })
    await client.expectNothing()
    await client.subscribeWith('o/kept', { rh: 1 })
    await client.expectNothing()
    await client.subscribeWith('o/kept', { rh: 0, rap: true })
    await client.expect('o/kept', 'kept', 1, true)
    await other.send('o/kept', 'live', { retain: true })
    await client.expect('o/kept', 'live', 1, true)
    await client.subscribeWith('o/own', { nl: true })
    await client.send('o/own', 'mine')
    await other.send('o/own', "another's")
    await client.expect('o/own', "another's", 1)
    await other.send('o/kept', '', { retain: true })
  },

  async shared () {
    const members = []
    for (const number of [0, 1, 2]) {
      members.push(await Client.connect(`m${number}`))
      await members[number].subscribeWith('$share/workers/jobs/+', { qos: 1 })
    }
    const publisher = await Client.connect('p')
    const numbers = [...Array(30).keys()]
    for (const number of numbers) await publisher.send(`jobs/${number % 3}`, `${number}`)
    const shares = []
    for (const member of members) {
      await member.subscribe('fence', 0)
      shares.push(member.messages.splice(0).map(message => Number(message[1])))
    }
    assert.ok(shares.every(share => share.length > 0), 'one got nothing')
    assert.deepEqual(shares.flat().sort((a, b) => a - b), numbers)
    // Who remains gets everything.
    for (const member of members.slice(1)) await within(member.mqtt.unsubscribeAsync('$share/workers/jobs/+'), 'unsuback')
    for (const payload of ['0', '1', '2']) await publisher.send('jobs/x', payload)
    for (const payload of ['0', '1', '2']) await members[0].expect('jobs/x', payload, 1)
  },

  // MQTT.js gives out aliases itself, as many as it may and more topics than that, and resolves ours.
  async aliases () {
    const subscriber = await Client.connect('s', { properties: { topicAliasMaximum: 4 } })
    const publisher = await Client.connect('p', { more: { autoAssignTopicAlias: true } })
    const most = publisher.connack.properties.topicAliasMaximum
    assert.ok(most > 0)
    await subscriber.subscribe('alias/+', 1)
    const tally = () => {
      const seen = { named: 0, short: 0 }
      const count = ({ cmd, topic, properties }) => {
        if (cmd === 'publish' && properties?.topicAlias) topic === '' ? seen.short++ : seen.named++
      }
      return [seen, count]
    }
    const [written, countWritten] = tally()
    const [read, countRead] = tally()
    publisher.mqtt.on('packetsend', countWritten)
    subscriber.mqtt.on('packetreceive', countRead)
    for (let round = 0; round < 3; round++) {
      for (let topic = 0; topic < most + 2; topic++) {
        for (const payload of ['first', 'second']) {
          await publisher.send(`alias/${topic}`, payload)
          await subscriber.expect(`alias/${topic}`, payload, 1)
        }
      }
    }
    // Of each pair the first had its topic and an alias for it, the second the alias alone, on either side.
    const pairs = 3 * (most + 2)
    assert.deepEqual({ written, read }, { written: { named: pairs, short: pairs }, read: { named: pairs, short: pairs } })
  },

  // Our receive maximum: never more of the broker's messages in flight than that, and all of them arrive.
  async receive_maximum () {
    const subscriber = await Client.connect('s', { properties: { receiveMaximum: 2 } })
    const publisher = await Client.connect('p')
    await subscriber.subscribe('r', 2)
    let flying = 0
    let most = 0
    subscriber.mqtt.on('packetreceive', ({ cmd }) => { if (cmd === 'publish') most = Math.max(most, ++flying) })
    subscriber.mqtt.on('packetsend', ({ cmd }) => { if (cmd === 'puback' || cmd === 'pubcomp') flying-- })
    const published = []
    for (let number = 0; number < 50; number++) published.push(publisher.send('r', `${number}`, { qos: 2 }))
    for (let number = 0; number < 50; number++) await subscriber.expect('r', `${number}`, 2)
    await Promise.all(published)
    assert.ok(most > 0 && most <= 2, `${most} in flight`)
  },

  async maximum_packet_size () {
    const subscriber = await Client.connect('s', { properties: { maximumPacketSize: 100 } })
    const publisher = await Client.connect('p')
    await subscriber.subscribe('m', 1)
    for (const payload of ['x'.repeat(200), 'small', 'y'.repeat(200), 'last']) await publisher.send('m', payload)
    await subscriber.expect('m', 'small', 1)
    await subscriber.expect('m', 'last', 1)
  },

  async reason_codes () {
    const client = await Client.connect('c')
    const answer = async (wanted, act) => {
      const [seen] = await Promise.all([packet(client, wanted), act()])
      return seen
    }
    assert.equal((await answer('puback', () => client.send('nobody/wants/this', ''))).reasonCode, 0x10)
    assert.equal((await answer('pubrec', () => client.send('nobody/wants/this', '', { qos: 2 }))).reasonCode, 0x10)
    await client.subscribe('wanted', 1)
    assert.equal((await answer('puback', () => client.send('wanted', ''))).reasonCode ?? 0, 0)
    await assert.rejects(client.send('$SYS/broker/uptime', ''), { code: 0x87 })
    const leave = () => within(client.mqtt.unsubscribeAsync('wanted'), 'unsuback')
    assert.deepEqual((await answer('unsuback', leave)).granted, [0])
    assert.deepEqual((await answer('unsuback', leave)).granted, [0x11])
    // The end of the connection comes with its reason, and with words for people.
    const told = once(client.mqtt, 'disconnect')
    client.mqtt.subscribe('$share/group/x', { qos: 1, nl: true }, () => {})
    const [goodbye] = await within(told, 'the reason')
    assert.equal(goodbye.reasonCode, 0x82)
    assert.ok(goodbye.properties.reasonString.length > 0)
  },

  async refused () {
    const properties = { authenticationMethod: 'made-up' }
    const prepare = mqtt => mqtt.once('error', () => {})
    await assert.rejects(Client.connect('c', { properties, prepare }), { code: 0x8c })
  },

  // The broker knows `user` with the password `pencil`.
  async scram () {
    const connect = (name, user, password) => {
      const exchange = new Scram(user, password, `nonce-of-${name}`)
      const properties = { authenticationMethod: METHOD, authenticationData: exchange.first }
      const prepare = mqtt => answering(mqtt.once('error', () => {}), exchange)
      return Client.connect(name, { properties, prepare }).then(client => [client, exchange])
    }
    const [client, exchange] = await connect('right', 'user', 'pencil')
    // The server has shown that it knows the password as well.
    assert.equal(client.connack.properties.authenticationData.toString(), exchange.serverFinal)
    await client.subscribe('s', 1)
    await client.publish('s', 'allowed', 1)
    await client.expect('s', 'allowed', 1)

    const again = new Scram('user', 'pencil', 'another nonce')
    answering(client.mqtt, again)
    const confirmed = within(new Promise(resolve => {
      client.mqtt.on('packetreceive', packet => { if (packet.cmd === 'auth' && packet.reasonCode === 0) resolve(packet) })
    }), 'the end of re-authentication')
    client.mqtt._sendPacket(authPacket(0x19, again.first))
    assert.equal((await confirmed).properties.authenticationData.toString(), again.serverFinal)
    await client.publish('s', 'still allowed', 1)
    await client.expect('s', 'still allowed', 1)

    await assert.rejects(connect('wrong', 'user', 'pen'), { code: 0x87 })
    await assert.rejects(connect('unknown', 'nobody', 'pencil'), { code: 0x87 })

    const told = once(client.mqtt, 'disconnect')
    const wrong = new Scram('user', 'pen', 'a third nonce')
    answering(client.mqtt, wrong)
    client.mqtt._sendPacket(authPacket(0x19, wrong.first))
    assert.equal((await within(told, 'the reason'))[0].reasonCode, 0x87)
  },

  // Against a broker that does without what the standard leaves to it.
  async limited () {
    const client = await Client.connect('c')
    const { properties } = client.connack
    assert.equal(properties.maximumQoS, 1)
    const kinds = ['wildcardSubscription', 'subscriptionIdentifiers', 'sharedSubscription', 'retain']
    for (const kind of kinds) assert.equal(properties[`${kind}Available`], false, kind)
    const subscribe = (topic, options) => within(client.mqtt.subscribeAsync(topic, { qos: 1, ...options }), 'suback')
    assert.equal((await subscribe('plain', { qos: 2 }))[0].qos, 1)
    const refused = reason => ({ packet }) => packet.granted[0] === reason
    await assert.rejects(subscribe('wild/#'), refused(0xa2))
    await assert.rejects(subscribe('numbered', { properties: { subscriptionIdentifier: 7 } }), refused(0xa1))
    await assert.rejects(subscribe('$share/group/x'), refused(0x9e))
    await client.send('plain', 'x')
    await client.expect('plain', 'x', 1)
    for (const [options, reason] of [[{ qos: 2 }, 0x9b], [{ qos: 0, retain: true }, 0x9a]]) {
      const wrong = await Client.connect(`w${reason}`)
      const told = once(wrong.mqtt, 'disconnect')
      wrong.mqtt.publish('plain', '', options, () => {})
      assert.equal((await within(told, 'the reason'))[0].reasonCode, reason)
    }
  },

  async assigned_id () {
    const client = await Client.connect('c', { more: { clientId: '' } })
    assert.ok(client.connack.properties.assignedClientIdentifier.length > 0)
    const other = await Client.connect('o', { more: { clientId: '' } })
    assert.notEqual(client.connack.properties.assignedClientIdentifier, other.connack.properties.assignedClientIdentifier)
  },

  async session_expiry () {
    const first = await Client.connect('s', { clean: false })
    await first.subscribe('e', 1)
    await first.leave()
    const second = await Client.connect('s', { clean: false })
    assert.equal(second.sessionPresent, true)
    // DISCONNECT may shorten what CONNECT asked for.
    await second.leaveWith({ properties: { sessionExpiryInterval: 0 } })
    assert.equal((await Client.connect('s', { clean: false })).sessionPresent, false)
  },

  async wills () {
    const watcher = await Client.connect('watcher')
    await watcher.subscribe('will/+', 1)
    const mortal = (name, willDelayInterval) => Client.connect(name, {
      clean: false,
      will: {
        topic: `will/${name}`,
        payload: name,
        qos: 1,
        retain: false,
        properties: { willDelayInterval, contentType: 'text/plain', userProperties: { a: 'b' } }
      }
    })
    // Comes back in time, and then says that the will is wanted after all.
    ;(await mortal('back', 3_600)).vanish()
    const back = await mortal('back', 0)
    assert.equal(back.sessionPresent, true)
    await watcher.expectNothing()
    await back.leaveWith({ reasonCode: 4 })
    await watcher.expect('will/back', 'back', 1)
    // Does not come back.
    ;(await mortal('gone', 1)).vanish()
    const properties = await watcher.expect('will/gone', 'gone', 1)
    assert.equal(properties.contentType, 'text/plain')
    assert.equal(properties.userProperties.a, 'b')
  }
}

main(scenarios)
