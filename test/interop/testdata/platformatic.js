// @platformatic/kafka as testdata/README.md describes the clients.
const path = require('node:path')

// Of Node.js 22; the client needs it, Debian's Node.js is older.
Promise.withResolvers ??= function () {
  const r = {}
  r.promise = new Promise((resolve, reject) => Object.assign(r, { resolve, reject }))
  return r
}

const [address, what, name, ...rest] = process.argv.slice(2)
const topics = rest.map(a => [a.slice(0, a.lastIndexOf('=')), a.slice(a.lastIndexOf('=') + 1)])

async function main () {
  const { Producer, Consumer, compatibilityPartitioner, stringSerializers, stringDeserializers } =
    await import(path.join(process.env.NODE_PATH, '@platformatic/kafka/dist/index.js'))
  const options = { clientId: name, bootstrapBrokers: [address] }
  if (what === 'produce') {
    const p = new Producer({ ...options, serializers: stringSerializers, partitioner: compatibilityPartitioner, idempotent: true })
    for (const [topic, codec] of topics) {
      const messages = [...Array(50).keys()].map(i => ({
        topic, key: `key-${i}`, value: `${name} ${codec} ${i} ` + 'abc'.repeat(50), headers: { client: name }
      }))
      await p.send({ messages, compression: codec, acks: -1 })
    }
    await p.close()
    return
  }
  const c = new Consumer({ ...options, groupId: name, deserializers: stringDeserializers })
  let left = topics.reduce((n, [, count]) => n + Number(count), 0)
  const stream = await c.consume({ topics: topics.map(t => t[0]), mode: 'earliest', autocommit: true })
  setTimeout(() => { console.error(`${left} left`); process.exit(1) }, 60000).unref()
  for await (const m of stream) {
    console.log([m.topic, m.key, m.headers.get('client'), m.value].join('|'))
    if (--left === 0) break
  }
  await c.close(true)
}

main().catch(e => { console.error(e); process.exit(1) })
