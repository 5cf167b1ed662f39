// A page in Chromium: browser.cjs SCENARIO URL SCREENSHOT. The page is tests/clients/page, served by the broker.
//
// Prints "ready" once the page has subscribed, for tests that publish from elsewhere. Exits with 0 when all is as it
// should be. CHROMIUM is the browser; in HOME it keeps what it knows.
'use strict'
const assert = require('node:assert/strict')
const { chromium } = require('playwright-core')

const [scenario, url, screenshot] = process.argv.slice(2)
// A bound for what never comes.
const PATIENCE = 30_000

// What goes wrong in a page unseen, and what it opens.
function watch (page) {
  const seen = { errors: [], sockets: [], answers: new Map() }
  page.on('pageerror', error => seen.errors.push(String(error)))
  page.on('console', message => { if (message.type() === 'error') seen.errors.push(message.text()) })
  page.on('requestfailed', request => seen.errors.push(`${request.url()}: ${request.failure().errorText}`))
  page.on('websocket', socket => seen.sockets.push(socket.url()))
  page.on('response', response => {
    const { protocol, pathname } = new URL(response.url())
    // MQTT.js makes a worker for its timers out of nothing.
    if (protocol !== 'blob:') seen.answers.set(pathname, response)
  })
  return seen
}

async function connected (page) {
  await page.goto(url)
  await page.locator('#state.connected').waitFor()
}

function rows (page) {
  return page.locator('#arrived tr').evaluateAll(rows => rows.map(row => [...row.cells].map(cell => cell.textContent)))
}

// Waits until so many messages have arrived in a page.
async function arrived (page, count) {
  await page.locator(`#arrived tr:nth-child(${count})`).waitFor()
  return rows(page)
}

async function publish (page, topic, message) {
  await page.locator('input[name=topic]').fill(topic)
  await page.locator('input[name=message]').fill(message)
  await page.locator('button').click()
}

const scenarios = {
  // What one page publishes, and what comes from elsewhere, arrives in every page.
  async messages (context) {
    const pages = [await context.newPage(), await context.newPage()]
    const seen = pages.map(watch)
    for (const page of pages) await connected(page)
    console.log('ready')
    const others = ['greenhouse/temperature', '21.5 °C', '1']
    for (const page of pages) assert.deepEqual(await arrived(page, 1), [others])
    const typed = ['greenhouse/door', '<b>open</b>', '1']
    await publish(pages[0], ...typed)
    for (const page of pages) assert.deepEqual(await arrived(page, 2), [others, typed])

    for (const { errors, sockets, answers } of seen) {
      assert.deepEqual(errors, [])
      // One connection, to where the page came from.
      assert.deepEqual(sockets, [new URL('/', url.replace(/^http/, 'ws')).href])
      const types = [...answers].map(([path, response]) => [path, response.status(), response.headers()['content-type'].split(';')[0]])
      assert.deepEqual(types.sort(), [
        ['/', 200, 'text/html'],
        ['/mqtt.js', 200, 'text/javascript'],
        ['/page.css', 200, 'text/css'],
        ['/page.js', 200, 'text/javascript']
      ])
    }
  },

  // A second look at a page costs no second transfer of what has not changed.
  async again (context) {
    const page = await context.newPage()
    await connected(page)
    const known = await page.request.get(new URL('/mqtt.js', url).href)
    const again = await page.request.get(new URL('/mqtt.js', url).href, { headers: { 'If-None-Match': known.headers().etag } })
    assert.deepEqual([known.status(), again.status(), (await again.body()).length], [200, 304, 0])
    await page.reload()
    await page.locator('#state.connected').waitFor()
  },

  // What a page leaves open is as for the page itself; what it says is left as it is.
  async urls (context) {
    const page = await context.newPage()
    const seen = watch(page)
    await page.goto(url)
    const address = url.replace(/^http/, 'ws').replace(/\/$/, '')
    const { port } = new URL(url)
    const opened = await page.evaluate(async port => {
      const connects = [
        [], ['', { keepalive: 7 }], [undefined, { path: '/mqtt' }], [{ clientId: 'page' }], ['/mqtt'],
        [`ws://localhost:${port}/mqtt`], [{ host: 'localhost', port: Number(port), protocol: 'ws' }]
      ]
      const clients = connects.map(options => mqtt.connect(...options))
      clients.push(await mqtt.connectAsync(), await mqtt.connectAsync('/mqtt', { clientId: 'other' }))
      await Promise.all(clients.map(client => client.connected || new Promise(resolve => client.on('connect', resolve))))
      for (const client of clients) client.end()
      return clients.map(({ options }) => [options.clientId.slice(0, 5), options.keepalive, options.path])
    }, port)
    assert.deepEqual(opened, [
      ['mqttj', 60, '/'], ['mqttj', 7, '/'], ['mqttj', 60, '/mqtt'], ['page', 60, '/'], ['mqttj', 60, '/mqtt'],
      ['mqttj', 60, '/mqtt'], ['mqttj', 60, '/'], ['mqttj', 60, '/'], ['other', 60, '/mqtt']
    ])
    // One of them is that of the page's own script.
    assert.deepEqual(seen.sockets.sort(), [
      `${address}/`,
      `${address}/`, `${address}/`, `${address}/mqtt`, `${address}/`, `${address}/mqtt`,
      `ws://localhost:${port}/mqtt`, `ws://localhost:${port}/`, `${address}/`, `${address}/mqtt`
    ].sort())
  },

  // A page of another origin, PAGE, connects to the broker.
  async elsewhere (context) {
    const page = await context.newPage()
    await page.goto(process.env.PAGE)
    const outcome = await page.evaluate(url => new Promise(resolve => {
      const socket = new WebSocket(url, 'mqtt')
      socket.onopen = () => resolve('opened')
      socket.onerror = () => resolve('refused')
    }), url.replace(/^http/, 'ws'))
    assert.equal(outcome, 'opened')
  },

  // Nobody vouches for the broker.
  async distrusted (context) {
    const page = await context.newPage()
    await assert.rejects(page.goto(url), /ERR_CERT_AUTHORITY_INVALID/)
  }
}

async function main () {
  // The tests may run as root, for whom Chromium has no sandbox; /dev/shm is small in containers.
  const args = ['--no-sandbox', '--disable-dev-shm-usage']
  const browser = await chromium.launch({ executablePath: process.env.CHROMIUM, args })
  try {
    const context = await browser.newContext({ viewport: { width: 800, height: 600 } })
    context.setDefaultTimeout(PATIENCE)
    await scenarios[scenario](context)
    // Of the browser's own page about what is wrong there is no picture, now and then.
    if (scenario !== 'distrusted') await context.pages().at(-1).screenshot({ path: screenshot })
  } finally {
    await browser.close()
  }
}

// A script in a page may wait for ever.
const late = new Promise((resolve, reject) => setTimeout(() => reject(new Error('it did not end')), 2 * PATIENCE))

Promise.race([main(), late]).then(() => process.exit(0), error => {
  console.error(error)
  process.exit(1)
})
