
;(() => {
  // From here on it is the broker's. A page that says no host means the broker that it came from, or a path there: on its
  // own MQTT.js takes port 80 then, and no TLS.
  const secure = location.protocol === 'https:'
  const home = {
    protocol: secure ? 'wss' : 'ws',
    hostname: location.hostname,
    port: Number(location.port) || (secure ? 443 : 80)
  }
  const complete = (url, options) => {
    if (url && typeof url === 'object' && !options) [url, options] = [undefined, url]
    const elsewhere = options && (options.host || options.hostname || options.servers)
    if (elsewhere || (url && !url.startsWith('/'))) return [url, options]
    return [undefined, { ...home, ...(url && { path: url }), ...options }]
  }
  const all = Object.getOwnPropertyDescriptors(mqtt)
  for (const name of ['connect', 'connectAsync']) {
    const connect = mqtt[name]
    const value = (url, options, ...more) => connect(...complete(url, options), ...more)
    all[name] = { enumerable: true, value }
  }
  mqtt = Object.defineProperties({}, all)
})()
