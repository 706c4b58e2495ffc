"""aiokafka as testdata/README.md describes the clients."""
import asyncio
import sys
from aiokafka import AIOKafkaConsumer, AIOKafkaProducer

address, what, name, *rest = sys.argv[1:]
topics = dict(a.rsplit("=", 1) for a in rest)


async def produce():
    for topic, codec in topics.items():
        p = AIOKafkaProducer(bootstrap_servers=address, compression_type=None if codec == "none" else codec, linger_ms=20,
                             enable_idempotence=True)
        await p.start()
        sent = [await p.send(topic, key=f"key-{i}".encode(), value=(f"{name} {codec} {i} " + "abc" * 50).encode(),
                             headers=[("client", name.encode())]) for i in range(50)]
        await asyncio.gather(*sent)
        await p.stop()


async def consume():
    c = AIOKafkaConsumer(*topics, bootstrap_servers=address, group_id=name, auto_offset_reset="earliest", enable_auto_commit=False,
                         isolation_level="read_committed")
    await c.start()
    for _ in range(sum(map(int, topics.values()))):
        m = await asyncio.wait_for(c.getone(), 30)
        print(m.topic, m.key.decode(), dict(m.headers)["client"].decode(), m.value.decode(), sep="|")
    await c.commit()
    await c.stop()


asyncio.run(produce() if what == "produce" else consume())
