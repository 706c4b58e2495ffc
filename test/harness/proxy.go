package harness

import (
	"bufio"
	"encoding/binary"
	"errors"
	"io"
	"net"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	"github.com/twmb/franz-go/pkg/kmsg"
)

// Action is what a KafkaProxy does to one request.
type Action uint8

// The actions.
const (
	Pass      Action = iota
	CutAnswer        // the broker does the work, its answer is lost with the connection
	CutBefore        // the connection is lost before the broker sees the request
	Duplicate        // the broker gets the request twice, the client the first answer
	Swap             // the broker gets the next request first, if one comes soon
	Hold             // the connection is lost, and the request is late: whoever decided so calls Deliver
)

// Request is what a KafkaProxy knows of one.
type Request struct {
	Key, Version int16
	Client       string // the client's id
	frame        []byte
}

// parseRequest reads the header of a frame with its length.
func parseRequest(f []byte) Request {
	r := Request{frame: f}
	if len(f) < 14 {
		return r
	}
	r.Key, r.Version = int16(binary.BigEndian.Uint16(f[4:])), int16(binary.BigEndian.Uint16(f[6:]))
	if n := int(int16(binary.BigEndian.Uint16(f[12:]))); n > 0 && 14+n <= len(f) {
		r.Client = string(f[14 : 14+n])
	}
	return r
}

// swapWait is how long a request to be swapped waits for another: clients that wait for
// its answer send none.
const swapWait = 50 * time.Millisecond

// maxProxied bounds a frame: as large as the broker takes.
const maxProxied = 100 << 20

// KafkaProxy stands between clients and a broker and knows where requests begin and end.
// The broker has to advertise the proxy's address, or clients go past it.
type KafkaProxy struct {
	Address string // host:port that clients dial

	target   string
	listener net.Listener
	running  sync.WaitGroup
	ended    chan struct{} // closed by close

	mu     sync.Mutex
	decide func(Request) Action // guarded by mu
	conns  map[net.Conn]bool    // guarded by mu; nil when the proxy has ended
	// apart tells who is isolated, until healed is closed. Guarded by mu.
	apart  func(client string) bool
	healed chan struct{}
}

// StartKafkaProxy starts a proxy on a free port to a broker that need not be there yet.
// It passes everything on until told otherwise, and ends with the test.
func StartKafkaProxy(t testing.TB, target string) *KafkaProxy {
	t.Helper()
	l, err := net.Listen("tcp", "127.0.0.1:0")
	if err != nil {
		t.Fatal(err)
	}
	p := &KafkaProxy{Address: l.Addr().String(), target: target, listener: l, ended: make(chan struct{}), conns: map[net.Conn]bool{}}
	p.Inject(nil)
	p.running.Go(p.accept)
	t.Cleanup(p.close)
	return p
}

// Inject decides from now on about every request; nil passes all. What decide does holds
// up the connection it came on, and no other.
func (p *KafkaProxy) Inject(decide func(Request) Action) {
	if decide == nil {
		decide = func(Request) Action { return Pass }
	}
	p.mu.Lock()
	defer p.mu.Unlock()
	p.decide = decide
}

func (p *KafkaProxy) action(r Request) Action {
	p.mu.Lock()
	decide := p.decide
	p.mu.Unlock()
	return decide(r)
}

// Isolate stops all bytes from and to clients whose ids pass, and loses none: connections
// stay, as when a cable is out. They flow again when heal is called.
func (p *KafkaProxy) Isolate(who func(client string) bool) (heal func()) {
	p.mu.Lock()
	defer p.mu.Unlock()
	healed := make(chan struct{})
	p.apart, p.healed = who, healed
	return sync.OnceFunc(func() { close(healed) })
}

// gate waits while a client is isolated; it returns false when the proxy has ended.
func (p *KafkaProxy) gate(client string) bool {
	p.mu.Lock()
	apart, healed := p.apart, p.healed
	p.mu.Unlock()
	if apart == nil || !apart(client) {
		return true
	}
	select {
	case <-healed:
		return true
	case <-p.ended:
		return false
	}
}

// deliverLimit is how long the broker may take to answer a request that was held.
const deliverLimit = time.Minute

// Deliver sends a request that was held to the broker, and reads its answer.
func (p *KafkaProxy) Deliver(r Request, answer kmsg.Response) error {
	broker, err := net.DialTimeout("tcp", p.target, 10*time.Second)
	if err != nil {
		return err
	}
	defer broker.Close()
	if err := broker.SetDeadline(time.Now().Add(deliverLimit)); err != nil {
		return err
	}
	if _, err := broker.Write(r.frame); err != nil {
		return err
	}
	f, err := readFrame(broker)
	if err != nil {
		return err
	}
	header := 8 // size and correlation id
	if answer.SetVersion(r.Version); answer.IsFlexible() {
		header++ // no tags
	}
	return answer.ReadFrom(f[min(header, len(f)):])
}

func (p *KafkaProxy) close() {
	p.listener.Close()
	close(p.ended)
	p.mu.Lock()
	for c := range p.conns {
		c.Close()
	}
	p.conns = nil
	p.mu.Unlock()
	p.running.Wait()
}

// track keeps a connection for close; it returns false when that has happened.
func (p *KafkaProxy) track(c net.Conn) bool {
	p.mu.Lock()
	defer p.mu.Unlock()
	if p.conns == nil {
		c.Close()
		return false
	}
	p.conns[c] = true
	return true
}

func (p *KafkaProxy) forget(c net.Conn) {
	c.Close()
	p.mu.Lock()
	defer p.mu.Unlock()
	delete(p.conns, c)
}

func (p *KafkaProxy) accept() {
	for {
		client, err := p.listener.Accept()
		if err != nil {
			return
		}
		p.running.Go(func() { p.serve(client) })
	}
}

// serve carries one connection until either side ends it.
func (p *KafkaProxy) serve(client net.Conn) {
	defer p.forget(client)
	if !p.track(client) {
		return
	}
	broker, err := net.DialTimeout("tcp", p.target, 10*time.Second)
	if err != nil {
		return // as if the broker had refused
	}
	defer p.forget(broker)
	if !p.track(broker) {
		return
	}
	// Answers come in the order of requests: one entry for each that the broker got.
	expected := make(chan answer, 1000)
	var id atomic.Pointer[string] // of the client
	id.Store(new(string))
	var both sync.WaitGroup
	both.Go(func() {
		_ = p.carryAnswers(client, broker, expected, &id) // a connection that ends is what a proxy is for
		client.Close()
		broker.Close()
		for range expected { // until the other direction has ended as well
		}
	})
	_ = p.carryRequests(client, broker, expected, &id)
	close(expected)
	client.Close()
	broker.Close()
	both.Wait()
}

// answer is what becomes of the next answer of the broker.
type answer uint8

const (
	deliver answer = iota
	swallow
	cut
	stash // it is delivered after the next one
)

var errCut = errors.New("cut")

// carryRequests passes requests on, with what is decided for each.
func (p *KafkaProxy) carryRequests(client, broker net.Conn, expected chan<- answer, id *atomic.Pointer[string]) error {
	frames := make(chan []byte)
	stop := make(chan struct{})
	defer close(stop)
	p.running.Go(func() {
		defer close(frames)
		in := bufio.NewReader(client)
		for {
			f, err := readFrame(in)
			if err != nil {
				return
			}
			select {
			case frames <- f:
			case <-stop:
				return
			}
		}
	})
	send := func(f []byte, a answer) error {
		expected <- a
		_, err := broker.Write(f)
		return err
	}
	for f := range frames {
		r := parseRequest(f)
		id.Store(&r.Client)
		if !p.gate(r.Client) {
			return errCut
		}
		var err error
		switch p.action(r) {
		case Pass:
			err = send(f, deliver)
		case CutAnswer:
			err = send(f, cut)
		case CutBefore, Hold:
			return errCut
		case Duplicate:
			err = errors.Join(send(f, deliver), send(f, swallow))
		case Swap:
			err = swap(f, frames, send)
		}
		if err != nil {
			return err
		}
	}
	return io.EOF
}

// swap sends the frame after f first, if one comes.
func swap(f []byte, frames <-chan []byte, send func([]byte, answer) error) error {
	timer := time.NewTimer(swapWait)
	defer timer.Stop()
	select {
	case next, ok := <-frames:
		if ok {
			if err := send(next, stash); err != nil {
				return err
			}
		}
	case <-timer.C:
	}
	return send(f, deliver)
}

// carryAnswers passes answers on as expected says.
func (p *KafkaProxy) carryAnswers(client, broker net.Conn, expected <-chan answer, id *atomic.Pointer[string]) error {
	in := bufio.NewReader(broker)
	var kept []byte
	for {
		f, err := readFrame(in)
		if err != nil {
			return err
		}
		if !p.gate(*id.Load()) {
			return errCut
		}
		switch <-expected {
		case cut:
			return errCut
		case swallow:
		case stash:
			kept = f
		case deliver:
			if _, err := client.Write(append(f, kept...)); err != nil {
				return err
			}
			kept = nil
		}
	}
}

// readFrame returns a frame with its length: a request's key follows at 4.
func readFrame(r io.Reader) ([]byte, error) {
	var size [4]byte
	if _, err := io.ReadFull(r, size[:]); err != nil {
		return nil, err
	}
	n := binary.BigEndian.Uint32(size[:])
	if n < 4 || n > maxProxied {
		return nil, errors.New("not a frame")
	}
	f := make([]byte, 4+n)
	copy(f, size[:])
	_, err := io.ReadFull(r, f[4:])
	return f, err
}
