package load

import (
	"cmp"
	"context"
	"fmt"
	"maps"
	"math/rand/v2"
	"net"
	"slices"
	"sync"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kadm"
	"github.com/twmb/franz-go/pkg/kgo"
	"golang.org/x/time/rate"

	"github.com/varvelog/varve/test/verify"
)

// Load is clients that run until Finish.
type Load struct {
	Recorder *verify.Recorder

	t       testing.TB
	address string
	name    string
	shape   Shape
	topics  map[string]int // to their numbers

	producing, reading       sync.WaitGroup
	stopProducing, stopReads context.CancelFunc
	clients                  []*kgo.Client // of the producers
	idle                     []net.Conn

	workers string       // what transactional ids begin with
	calm    sync.RWMutex // held to read by a transaction or a member that leaves, to write by who needs calm

	mu sync.Mutex
	// What follows is guarded by mu.
	value   uint64          // the last one given
	strange int             // how often a client saw what none may ever see
	broken  map[uint32]bool // transactions with a send that failed
	current map[int]int32   // by worker: the number under which it produces
}

// Start makes the topics of a shape, named after name, and starts its clients.
func Start(t testing.TB, address, name string, shape Shape) *Load {
	t.Helper()
	l := newLoad(address, name, shape, verify.NewRecorder(0))
	l.t = t
	l.create()
	t.Cleanup(l.abandon)
	l.run()
	l.connectIdle()
	return l
}

func newLoad(address, name string, shape Shape, recorder *verify.Recorder) *Load {
	l := &Load{
		Recorder: recorder, address: address, name: name, shape: shape, workers: name + "-worker",
		topics: map[string]int{}, broken: map[uint32]bool{}, current: map[int]int32{},
	}
	for i := range shape.Topics {
		l.topics[fmt.Sprintf("%s-%d", name, i)] = i
	}
	return l
}

// run starts the clients.
func (l *Load) run() {
	shape := l.shape
	producing, stop := context.WithCancel(context.Background())
	l.stopProducing = stop
	reading, quit := context.WithCancel(context.Background())
	l.stopReads = quit
	for range shape.Producers {
		l.startProducer(producing)
	}
	for i := range shape.Transactors {
		l.producing.Go(func() { l.transact(producing, i) })
	}
	for i := range shape.Copiers {
		l.reading.Go(func() { l.copier(reading, i) })
	}
	for range shape.Readers {
		c := l.newReader(false, l.beginnings())
		l.reading.Go(func() { c.follow(reading) })
	}
	for range shape.RandomReaders {
		l.reading.Go(func() { l.jump(reading) })
	}
	for i := range shape.Members {
		instance := ""
		if i < shape.Static {
			instance = fmt.Sprintf("%s-static-%d", l.workers, i)
		}
		l.reading.Go(func() { l.join(reading, instance) })
	}
	if shape.Members > 0 && l.t != nil { // a child's answers would not be in its journal
		l.reading.Go(func() { l.watch(reading) })
	}
}

// abandon ends what still runs when a test has failed before Finish.
func (l *Load) abandon() {
	l.stopProducing()
	l.stopReads()
	for _, c := range l.idle {
		c.Close()
	}
	for _, c := range l.clients {
		c.Close()
	}
	l.producing.Wait()
	l.reading.Wait()
}

// options are those of every client. One that meets a broker which dies in its first
// answer is not to take that for a wrong setting of its own, and give up.
func (l *Load) options(more ...kgo.Opt) []kgo.Opt {
	return append([]kgo.Opt{
		kgo.SeedBrokers(l.address),
		kgo.ClientID(l.workers),
		kgo.MetadataMinAge(100 * time.Millisecond),
		kgo.RetryBackoffFn(func(int) time.Duration { return 20 * time.Millisecond }),
		kgo.DialTimeout(5 * time.Second),
		kgo.AlwaysRetryEOF(),
	}, more...)
}

func (l *Load) client(more ...kgo.Opt) *kgo.Client {
	c, err := kgo.NewClient(l.options(more...)...)
	if err != nil {
		panic(fmt.Sprintf("options of a client: %v", err)) // they are ours
	}
	return c
}

func (l *Load) create() {
	l.t.Helper()
	configs := map[string]*string{}
	for k, v := range l.shape.Configs {
		configs[k] = &v
	}
	c := l.client()
	defer c.Close()
	ctx, cancel := context.WithTimeout(context.Background(), time.Minute)
	defer cancel()
	for topic := range l.topics {
		r, err := kadm.NewClient(c).CreateTopic(ctx, int32(l.shape.Partitions), 1, configs, topic)
		if err = cmp.Or(err, r.Err); err != nil {
			l.t.Fatalf("create %s: %v (%s)", topic, err, r.ErrMessage)
		}
	}
}

// connectIdle opens connections that do nothing.
func (l *Load) connectIdle() {
	l.t.Helper()
	for range l.shape.Idle {
		c, err := net.DialTimeout("tcp", l.address, 30*time.Second)
		if err != nil {
			l.t.Fatal(err)
		}
		l.idle = append(l.idle, c)
	}
}

// partition is the number of a partition among those of all topics.
func (l *Load) partition(topic string, partition int32) int32 {
	return int32(l.topics[topic]*l.shape.Partitions) + partition
}

// place is the topic and partition of a number.
func (l *Load) place(partition int32) (string, int32) {
	return fmt.Sprintf("%s-%d", l.name, int(partition)/l.shape.Partitions), partition % int32(l.shape.Partitions)
}

func (l *Load) topicNames() []string { return slices.Sorted(maps.Keys(l.topics)) }

func (l *Load) partitions() int { return l.shape.Topics * l.shape.Partitions }

// nextValue is a number that no other record has.
func (l *Load) nextValue() uint64 {
	l.mu.Lock()
	defer l.mu.Unlock()
	l.value++
	return l.value
}

// strangest is how many incidents of a load are worth a line.
const strangest = 100

// wrong logs what is a fault whatever the broker went through: an incident of C18.
func (l *Load) wrong(format string, args ...any) {
	l.mu.Lock()
	l.strange++
	n := l.strange
	l.mu.Unlock()
	if n <= strangest {
		l.Recorder.Incident(verify.Incident{Process: "client", Kind: fmt.Errorf(format, args...).Error()})
	}
}

func (l *Load) startProducer(ctx context.Context) {
	options := []kgo.Opt{
		kgo.RecordPartitioner(kgo.ManualPartitioner()), kgo.ProducerLinger(0), kgo.MaxBufferedRecords(2000),
		kgo.ProducerBatchCompression(kgo.NoCompression()),
	}
	if l.shape.Plain {
		options = append(options, kgo.DisableIdempotentWrite())
	}
	c := l.client(options...)
	l.clients = append(l.clients, c)
	id := l.Recorder.Number()
	l.producing.Go(func() { l.produce(ctx, c, id) })
}

// produce sends records to partitions in turn, at its share of the rate.
func (l *Load) produce(ctx context.Context, c *kgo.Client, id int32) {
	each := float64(l.shape.Rate) / float64(l.shape.Producers)
	limit := rate.NewLimiter(rate.Limit(each), max(1, int(each/20)))
	last := l.shape.Records / l.shape.Producers
	for n := int(id); (last == 0 || n < int(id)+last) && limit.Wait(ctx) == nil; n++ {
		s := verify.Send{Value: l.nextValue(), Producer: id, Partition: int32(n % l.shape.produced())}
		if l.shape.Keys > 0 {
			s.Key = uint32(rand.N(l.shape.Keys)) + 1
			s.Tombstone = rand.Float64() < l.shape.Tombstones
		}
		r := record(s, l.shape.MinSize, l.shape.MaxSize)
		r.Topic, r.Partition = l.place(s.Partition)
		ticket := l.Recorder.Send(s)
		c.Produce(context.Background(), r, func(r *kgo.Record, err error) {
			if err == nil {
				l.Recorder.Sent(ticket, verify.OK, r.Offset)
			} // else its outcome is unknown
		})
	}
}

// Wait waits until so many more sends have been acknowledged.
func (l *Load) Wait(limit time.Duration, sends int) {
	l.t.Helper()
	from := l.Recorder.Acked()
	if err := l.await(limit, func() error {
		if n := l.Recorder.Acked() - from; n < sends {
			return fmt.Errorf("%d of %d sends were acknowledged", n, sends)
		}
		return nil
	}); err != nil {
		l.t.Fatal(err)
	}
}

func (l *Load) await(limit time.Duration, check func() error) error {
	deadline := time.NewTimer(limit)
	defer deadline.Stop()
	tick := time.NewTicker(10 * time.Millisecond)
	defer tick.Stop()
	for {
		err := check()
		if err == nil {
			return nil
		}
		select {
		case <-tick.C:
		case <-deadline.C:
			return fmt.Errorf("not within %v: %w", limit, err)
		}
	}
}

// Fault runs do, which mistreats the broker, and logs when it began and ended. Only
// kind, Restart and Progress of d are looked at.
func (l *Load) Fault(d verify.Disturbance, do func()) {
	d.Begun = l.Recorder.Now()
	do()
	l.Recorder.Log(func(h *verify.History, at int64) {
		d.Ended = at
		h.Faults = append(h.Faults, d)
	})
}

// finishLimit bounds what may take until everything is answered and read: C1's 200 s.
const finishLimit = 200 * time.Second

// Produced waits until producers have sent the shape's number of records, and for their
// answers.
func (l *Load) Produced() {
	l.t.Helper()
	l.producing.Wait()
	l.flush()
}

// StopProducing stops what sends of its own accord and waits for all answers.
func (l *Load) StopProducing() {
	l.t.Helper()
	l.stopProducing()
	l.producing.Wait()
	l.flush()
}

func (l *Load) flush() {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), finishLimit)
	defer cancel()
	for _, c := range l.clients {
		if err := c.Flush(ctx); err != nil {
			l.t.Fatalf("answers to the last sends: %v", err)
		}
	}
}

// Finish stops the clients, reads everything once more from the beginning, and returns
// the history. Producers first get all their answers. Faults are not judged here.
func (l *Load) Finish() *verify.History {
	l.t.Helper()
	ctx, cancel := context.WithTimeout(context.Background(), finishLimit)
	defer cancel()
	l.StopProducing()
	l.stopReads()
	l.reading.Wait()
	_, complete, err := l.readAll(ctx, true)
	if err != nil {
		l.t.Fatalf("final read: %v", err)
	}
	h, err := l.Recorder.History()
	if err != nil {
		l.t.Fatal(err)
	}
	h.Complete, h.Idempotent, h.Compacted = complete, !l.shape.Plain, l.shape.Keys > 0
	if l.shape.transactional() {
		h.Gaps = true // markers
	}
	for p := range int32(l.shape.produced()) {
		if l.shape.Copiers > 0 {
			h.Inputs = append(h.Inputs, p)
		}
	}
	return h
}
