// kafkajs as testdata/README.md describes the clients.
const { Kafka, CompressionTypes, CompressionCodecs, logLevel } = require('kafkajs')
CompressionCodecs[CompressionTypes.Snappy] = require('kafkajs-snappy')
const LZ4 = require('kafkajs-lz4')
CompressionCodecs[CompressionTypes.LZ4] = new LZ4().codec

const [address, what, name, ...rest] = process.argv.slice(2)
const topics = rest.map(a => [a.slice(0, a.lastIndexOf('=')), a.slice(a.lastIndexOf('=') + 1)])
const codecs = { none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.Snappy, lz4: CompressionTypes.LZ4 }
const kafka = new Kafka({ clientId: name, brokers: [address], logLevel: logLevel.ERROR })

async function produce () {
  const p = kafka.producer({ idempotent: true, maxInFlightRequests: 1 })
  await p.connect()
  for (const [topic, codec] of topics) {
    const messages = [...Array(50).keys()].map(i => ({
      key: `key-${i}`, value: `${name} ${codec} ${i} ` + 'abc'.repeat(50), headers: { client: name }
    }))
    await p.send({ topic, compression: codecs[codec], acks: -1, messages })
  }
  await p.disconnect()
}

async function consume () {
  const c = kafka.consumer({ groupId: name })
  let left = topics.reduce((n, [, count]) => n + Number(count), 0)
  await c.connect()
  await c.subscribe({ topics: topics.map(t => t[0]), fromBeginning: true })
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${left} left`)), 60000).unref()
    c.run({
      eachMessage: async ({ topic, message: m }) => {
        console.log([topic, m.key, m.headers.client, m.value].join('|'))
        if (--left === 0) resolve()
      }
    }).catch(reject)
  })
  await c.disconnect() // commits
}

(what === 'produce' ? produce() : consume()).catch(e => { console.error(e); process.exit(1) })
