// Subscribes, publishes what is typed, and shows what arrives.
'use strict'
const [origin, state, form, arrived] = ['origin', 'state', 'publish', 'arrived'].map(id => document.getElementById(id))
origin.value = location.origin

// No URL: the page's own broker.
const client = mqtt.connect()

client.on('connect', async () => {
  await client.subscribeAsync('greenhouse/#', { qos: 1 })
  state.value = 'connected'
  state.className = 'connected'
  form.querySelector('button').disabled = false
})
client.on('close', () => {
  state.value = 'not connected'
  state.className = ''
})
client.on('message', (topic, payload, packet) => {
  const row = arrived.insertRow()
  // What others publish is text, never markup.
  for (const text of [topic, payload.toString(), packet.qos]) row.insertCell().textContent = text
})
form.addEventListener('submit', event => {
  event.preventDefault()
  client.publish(form.elements.topic.value, form.elements.message.value, { qos: 1 })
})
