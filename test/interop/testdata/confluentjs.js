// @confluentinc/kafka-javascript (librdkafka) as testdata/README.md describes the clients.
const { Kafka, CompressionTypes, logLevel } = require('@confluentinc/kafka-javascript').KafkaJS

const [address, what, name, ...rest] = process.argv.slice(2)
const topics = rest.map(a => [a.slice(0, a.lastIndexOf('=')), a.slice(a.lastIndexOf('=') + 1)])
const codecs = {
  none: CompressionTypes.None, gzip: CompressionTypes.GZIP, snappy: CompressionTypes.SNAPPY, lz4: CompressionTypes.LZ4, zstd: CompressionTypes.ZSTD
}
const kafka = new Kafka({ kafkaJS: { clientId: name, brokers: [address], logLevel: logLevel.ERROR } })

async function produce () {
  for (const [topic, codec] of topics) {
    const p = kafka.producer({ kafkaJS: { idempotent: true, acks: -1, compression: codecs[codec] }, partitioner: 'murmur2_random' })
    await p.connect()
    const messages = [...Array(50).keys()].map(i => ({
      key: `key-${i}`, value: `${name} ${codec} ${i} ` + 'abc'.repeat(50), headers: { client: name }
    }))
    await p.send({ topic, messages })
    await p.disconnect()
  }
}

async function consume () {
  const c = kafka.consumer({ kafkaJS: { groupId: name, fromBeginning: true, autoCommit: false } })
  let left = topics.reduce((n, [, count]) => n + Number(count), 0)
  const next = new Map() // by partition: a commit without offsets may miss the last record
  await c.connect()
  await c.subscribe({ topics: topics.map(t => t[0]) })
  await new Promise((resolve, reject) => {
    setTimeout(() => reject(new Error(`${left} left`)), 60000).unref()
    c.run({
      eachMessage: async ({ topic, partition, message: m }) => {
        next.set(`${topic}-${partition}`, { topic, partition, offset: String(Number(m.offset) + 1) })
        console.log([topic, m.key, m.headers.client, m.value].join('|'))
        if (--left === 0) resolve()
      }
    }).catch(reject)
  })
  await c.commitOffsets([...next.values()])
  await c.disconnect()
}

(what === 'produce' ? produce() : consume()).catch(e => { console.error(e); process.exit(1) })
