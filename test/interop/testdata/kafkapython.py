"""kafka-python as testdata/README.md describes the clients."""
import sys
from kafka import KafkaConsumer, KafkaProducer

address, what, name, *rest = sys.argv[1:]
topics = dict(a.rsplit("=", 1) for a in rest)

if what == "produce":
    for topic, codec in topics.items():
        p = KafkaProducer(bootstrap_servers=address, compression_type=None if codec == "none" else codec, linger_ms=20)
        sent = [p.send(topic, key=f"key-{i}".encode(), value=(f"{name} {codec} {i} " + "abc" * 50).encode(),
                       headers=[("client", name.encode())]) for i in range(50)]
        for f in sent:
            f.get(30)
        p.close()
else:
    c = KafkaConsumer(*topics, bootstrap_servers=address, group_id=name, auto_offset_reset="earliest", enable_auto_commit=False,
                      isolation_level="read_committed", consumer_timeout_ms=30000)
    left = sum(map(int, topics.values()))
    for m in c:
        print(m.topic, m.key.decode(), dict(m.headers)["client"].decode(), m.value.decode(), sep="|")
        left -= 1
        if not left:
            break
    if left:
        sys.exit(f"{left} left")
    c.commit()
    c.close()
