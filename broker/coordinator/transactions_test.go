package coordinator

import (
	"context"
	"errors"
	"fmt"
	"math"
	"reflect"
	"slices"
	"strings"
	"sync"
	"testing"
	"testing/synctest"
	"time"

	"github.com/twmb/franz-go/pkg/kerr"
	"github.com/twmb/franz-go/pkg/kmsg"

	"github.com/varvelog/varve/broker/coordinator/txn"
	"github.com/varvelog/varve/segment/batch"
)

// world is what a transaction coordinator stands on: its log and the partitions that get
// markers. It can die after any append.
type world struct {
	log *memoryLog

	mu      sync.Mutex
	markers map[txn.Partition][]Marker
	fail    map[txn.Partition]error
	nextID  int64
	appends int
	// dies is the append at which the process dies, 0: it lives. That append has happened
	// where torn is set, and nobody was told; after it nothing happens.
	dies int
	torn bool
	dead chan struct{}
}

var errDead = errors.New("the process has died")

func newWorld() *world {
	return &world{log: newMemoryLog(), markers: map[txn.Partition][]Marker{}, fail: map[txn.Partition]error{}, nextID: 1000, dead: make(chan struct{})}
}

// mortal counts an append and says whether it happens, and whether anybody hears of it.
func (w *world) mortal() (happens, heard bool) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.appends++
	switch {
	case w.dies == 0 || w.appends < w.dies:
		return true, true
	case w.appends == w.dies:
		close(w.dead)
		return w.torn, false
	}
	return false, false
}

func (w *world) died(ctx context.Context) error {
	<-ctx.Done()
	return errDead
}

// Append implements Log over the coordinator's log.
func (w *world) Append(epoch int32, write Write) (func(context.Context) error, error) {
	happens, heard := w.mortal()
	if !happens {
		return w.died, nil
	}
	wait, err := w.log.Append(epoch, write)
	if !heard {
		wait = w.died
	}
	return wait, err
}

func (w *world) Scan(ctx context.Context, yield func(batch.Batch) error) error {
	return w.log.Scan(ctx, yield)
}

func (w *world) WriteMarker(tp txn.Partition, m Marker) (func(context.Context) error, error) {
	w.mu.Lock()
	err := w.fail[tp]
	w.mu.Unlock()
	if err != nil {
		return nil, err
	}
	happens, heard := w.mortal()
	if happens {
		w.mu.Lock()
		w.markers[tp] = append(w.markers[tp], m)
		w.mu.Unlock()
	}
	if !heard {
		return w.died, nil
	}
	return func(context.Context) error { return nil }, nil
}

func (w *world) ProducerID(context.Context) (int64, error) {
	w.mu.Lock()
	defer w.mu.Unlock()
	w.nextID++
	return w.nextID, nil
}

func (w *world) coordinator() *Transactions {
	return NewTransactions(TransactionOptions{
		Partitions: 1, Now: time.Now, ProducerID: w.ProducerID, Markers: w,
		MaxTimeout: 15 * time.Minute, AbortCheck: 10 * time.Second, Expiration: 7 * 24 * time.Hour, ExpiryCheck: time.Hour,
	})
}

// written are the markers of a partition: what repeats the one before is left out.
func (w *world) written(tp txn.Partition) (all []string) {
	w.mu.Lock()
	defer w.mu.Unlock()
	for _, m := range w.markers[tp] {
		kind := "abort"
		if m.Commit {
			kind = "commit"
		}
		if s := fmt.Sprintf("%s %d/%d", kind, m.Producer.ID, m.Producer.Epoch); len(all) == 0 || all[len(all)-1] != s {
			all = append(all, s)
		}
	}
	return all
}

func (w *world) set(f func()) {
	w.mu.Lock()
	defer w.mu.Unlock()
	f()
}

// inTxnBubble runs f with a ticking coordinator of one loaded partition, in virtual time.
func inTxnBubble(t *testing.T, f func(t *testing.T, c *Transactions, w *world)) {
	t.Helper()
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := w.coordinator()
		stop := start(t, c, 1, w)
		f(t, c, w)
		stop()
	})
}

// start loads the partition and ticks, until stop.
func start(t *testing.T, c *Transactions, epoch int32, l Log) (stop func()) {
	t.Helper()
	if err := c.Load(t.Context(), 0, epoch, l); err != nil {
		t.Fatal(err)
	}
	ctx, cancel := context.WithCancel(context.Background())
	var ticking sync.WaitGroup
	ticking.Go(func() {
		for {
			next := c.Tick(time.Now())
			select {
			case <-ctx.Done():
				return
			case <-c.Changed():
			case <-time.After(time.Until(next)):
			}
		}
	})
	return func() {
		cancel()
		ticking.Wait()
		c.Unload(0)
	}
}

var a0, a1, b0 = txn.Partition{Topic: "a", Partition: 0}, txn.Partition{Topic: "a", Partition: 1}, txn.Partition{Topic: "b", Partition: 0}

const patience = 100 * time.Millisecond

func initTxn(t *testing.T, c *Transactions, id string, expected txn.Producer) (txn.Producer, int16) {
	t.Helper()
	q := kmsg.NewPtrInitProducerIDRequest()
	q.Version, q.TransactionalID, q.TransactionTimeoutMillis = 5, &id, 60_000
	q.ProducerID, q.ProducerEpoch = expected.ID, expected.Epoch
	p := c.Init(t.Context(), q)
	return txn.Producer{ID: p.ProducerID, Epoch: p.ProducerEpoch}, p.ErrorCode
}

var anew = txn.Producer{ID: txn.None, Epoch: txn.None}

func begin(t *testing.T, c *Transactions, id string, partitions ...txn.Partition) txn.Producer {
	t.Helper()
	p, code := initTxn(t, c, id, anew)
	if code == 0 {
		code = c.Add(t.Context(), id, p, partitions, txn.V2, patience)
	}
	if code != 0 {
		t.Fatal(kerr.ErrorForCode(code))
	}
	return p
}

func endTxn(t *testing.T, c *Transactions, version int16, id string, p txn.Producer, commit bool) (txn.Producer, int16) {
	t.Helper()
	q := kmsg.NewPtrEndTxnRequest()
	q.Version, q.TransactionalID, q.ProducerID, q.ProducerEpoch, q.Commit = version, id, p.ID, p.Epoch, commit
	r := c.End(t.Context(), q)
	return txn.Producer{ID: r.ProducerID, Epoch: r.ProducerEpoch}, r.ErrorCode
}

func stateOf(c *Transactions, id string) string {
	q := kmsg.NewPtrDescribeTransactionsRequest()
	q.TransactionalIDs = []string{id}
	d := c.Describe(q).TransactionStates[0]
	if d.ErrorCode != 0 {
		return kerr.TypedErrorForCode(d.ErrorCode).Message
	}
	return d.State
}

func TestMarkersFollowTheDecision(t *testing.T) {
	inTxnBubble(t, func(t *testing.T, c *Transactions, w *world) {
		p := begin(t, c, "x", a0, b0)
		if got := w.written(a0); got != nil {
			t.Errorf("markers %v of an open transaction", got)
		}
		next, code := endTxn(t, c, 5, "x", p, true)
		if want := (txn.Producer{ID: p.ID, Epoch: p.Epoch + 1}); code != 0 || next != want {
			t.Fatalf("end answers %v, code %d, want %v (KIP-890)", next, code, want)
		}
		synctest.Wait()
		for _, tp := range []txn.Partition{a0, b0} {
			if got, want := w.written(tp), []string{fmt.Sprintf("commit %d/%d", p.ID, next.Epoch)}; !slices.Equal(got, want) {
				t.Errorf("%v: markers %v, want %v", tp, got, want)
			}
		}
		if got := w.markers[a0][0]; got.CoordinatorEpoch != 1 || got.Version != txn.V2 {
			t.Errorf("%+v", got)
		}
		if got := stateOf(c, "x"); got != "CompleteCommit" {
			t.Errorf("state %s", got)
		}
	})
}

// TestATransactionWaitsForTheOneBefore: the server waits in the client's place
// (add.partitions.to.txn.retry.backoff.max.ms).
func TestATransactionWaitsForTheOneBefore(t *testing.T) {
	inTxnBubble(t, func(t *testing.T, c *Transactions, w *world) {
		p := begin(t, c, "x", a0)
		w.set(func() { w.fail[a0] = errors.New("no leader") })
		next, _ := endTxn(t, c, 5, "x", p, true)
		if code := c.Add(t.Context(), "x", next, []txn.Partition{a0}, txn.V2, 0); code != kerr.ConcurrentTransactions.Code {
			t.Errorf("code %d without patience", code)
		}
		before := time.Now()
		if code := c.Add(t.Context(), "x", next, []txn.Partition{a0}, txn.V2, patience); code != kerr.ConcurrentTransactions.Code || time.Since(before) != patience {
			t.Errorf("code %d after %v", code, time.Since(before))
		}
		w.set(func() { delete(w.fail, a0) })
		if code := c.Add(t.Context(), "x", next, []txn.Partition{a0}, txn.V2, time.Minute); code != 0 || time.Since(before) > 5*time.Second {
			t.Errorf("code %d after %v", code, time.Since(before))
		}
		if s := c.Stats(); s.MarkersTriedAgain == 0 || s.Committed != 1 || s.Open != 1 || s.IDs != 1 {
			t.Errorf("%+v", s)
		}
	})
}

// TestTheProducerAfterTheLastEpochGoesOnAtOnce: the answer to an end names the new producer
// (KIP-890), whose next transaction waits for the markers as any other does.
func TestTheProducerAfterTheLastEpochGoesOnAtOnce(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		last := txn.Producer{ID: 7, Epoch: math.MaxInt16 - 1}
		m := txn.Metadata{ProducerID: last.ID, ProducerEpoch: last.Epoch, PrevProducerID: txn.None, NextProducerID: txn.None, Timeout: 60_000, Started: txn.None}
		if _, err := w.log.Append(1, plain([]batch.Record{txn.Record(0, "x", &m)})); err != nil {
			t.Fatal(err)
		}
		c := w.coordinator()
		defer start(t, c, 1, w)()

		if code := c.Add(t.Context(), "x", last, []txn.Partition{a0}, txn.V2, patience); code != 0 {
			t.Fatal(kerr.ErrorForCode(code))
		}
		w.set(func() { w.fail[a0] = errors.New("away") })
		next, code := endTxn(t, c, 5, "x", last, true)
		if code != 0 || next.ID == last.ID || next.Epoch != 0 {
			t.Fatalf("the end of epoch %d is answered %v, %v", last.Epoch, next, kerr.ErrorForCode(code))
		}
		if code := c.Add(t.Context(), "x", next, []txn.Partition{a0}, txn.V2, patience); code != kerr.ConcurrentTransactions.Code {
			t.Errorf("before the markers: %v", kerr.ErrorForCode(code))
		}
		time.AfterFunc(3*time.Second, func() { w.set(func() { delete(w.fail, a0) }) })
		if code := c.Add(t.Context(), "x", next, []txn.Partition{a0}, txn.V2, time.Minute); code != 0 {
			t.Errorf("after the markers: %v", kerr.ErrorForCode(code))
		}
		if got := w.written(a0); !slices.Equal(got, []string{"commit 7/32767"}) {
			t.Errorf("markers %v", got)
		}
	})
}

// TestAMarkerIsTriedUntilItsPartitionIsBack also shows that the other partitions do not
// wait, and that a deleted topic holds nothing up.
func TestAMarkerIsTriedUntilItsPartitionIsBack(t *testing.T) {
	inTxnBubble(t, func(t *testing.T, c *Transactions, w *world) {
		p := begin(t, c, "x", a0, a1, b0)
		w.set(func() {
			w.fail[a0] = errors.New("no leader")
			w.fail[b0] = fmt.Errorf("deleted: %w", ErrMarkerNeedless)
		})
		endTxn(t, c, 5, "x", p, false)
		time.Sleep(time.Hour)
		if got := stateOf(c, "x"); got != "PrepareAbort" {
			t.Errorf("state %s", got)
		}
		if got := w.written(a1); len(got) != 1 {
			t.Errorf("markers %v", got)
		}
		w.set(func() { delete(w.fail, a0) })
		time.Sleep(lastRetry)
		if got := stateOf(c, "x"); got != "CompleteAbort" || len(w.markers[a0]) != 1 || len(w.markers[a1]) != 1 {
			t.Errorf("state %s, markers %v", got, w.markers)
		}
	})
}

// TestATransactionTimesOut: R16, a transaction is open for its timeout and a check at most,
// and its producer is fenced.
func TestATransactionTimesOut(t *testing.T) {
	inTxnBubble(t, func(t *testing.T, c *Transactions, w *world) {
		p := begin(t, c, "x", a0)
		time.Sleep(60 * time.Second)
		if got := stateOf(c, "x"); got != "Ongoing" {
			t.Errorf("state %s before its time is up", got)
		}
		time.Sleep(10*time.Second + time.Millisecond)
		if got := stateOf(c, "x"); got != "CompleteAbort" {
			t.Errorf("state %s", got)
		}
		if got, want := w.written(a0), []string{fmt.Sprintf("abort %d/%d", p.ID, p.Epoch+1)}; !slices.Equal(got, want) {
			t.Errorf("markers %v, want %v", got, want)
		}
		if _, code := endTxn(t, c, 4, "x", p, true); code != kerr.ProducerFenced.Code {
			t.Errorf("late commit of an older client: code %d", code)
		}
		if _, code := endTxn(t, c, 1, "x", p, true); code != kerr.InvalidProducerEpoch.Code {
			t.Errorf("late commit before PRODUCER_FENCED was known: code %d", code)
		}
		if _, code := endTxn(t, c, 5, "x", p, true); code != kerr.InvalidTxnState.Code {
			t.Errorf("late commit: code %d", code)
		}
		if s := c.Stats(); s.TimedOut != 1 || s.Aborted != 1 {
			t.Errorf("%+v", s)
		}
	})
}

func TestAnUnusedIDExpires(t *testing.T) {
	inTxnBubble(t, func(t *testing.T, c *Transactions, w *world) {
		p := begin(t, c, "x", a0)
		endTxn(t, c, 5, "x", p, true)
		begin(t, c, "y", a0)
		time.Sleep(7*24*time.Hour - time.Hour)
		if got := stateOf(c, "x"); got != "CompleteCommit" {
			t.Errorf("state %s", got)
		}
		time.Sleep(3 * time.Hour)
		if got := stateOf(c, "x"); got != "TRANSACTIONAL_ID_NOT_FOUND" {
			t.Errorf("state %s", got)
		}
		if err := c.Load(t.Context(), 0, 2, w); err != nil {
			t.Fatal(err)
		}
		if got := c.Stats().IDs; got != 0 {
			t.Errorf("%d ids after a reload: the tombstones are missing", got)
		}
	})
}

// TestAHijackedIDFencesItsProducer: R17.
func TestAHijackedIDFencesItsProducer(t *testing.T) {
	inTxnBubble(t, func(t *testing.T, c *Transactions, w *world) {
		p := begin(t, c, "x", a0)
		if _, code := initTxn(t, c, "x", anew); code != kerr.ConcurrentTransactions.Code {
			t.Fatalf("code %d: the open transaction comes first", code)
		}
		synctest.Wait()
		thief, code := initTxn(t, c, "x", anew)
		if code != 0 || thief.ID != p.ID || thief.Epoch != p.Epoch+2 {
			t.Fatalf("%+v, code %d", thief, code)
		}
		for _, version := range []int16{4, 5} {
			if _, code := endTxn(t, c, version, "x", p, true); code != kerr.ProducerFenced.Code {
				t.Errorf("version %d: code %d", version, code)
			}
		}
		if code := c.Add(t.Context(), "x", p, []txn.Partition{a0}, txn.V2, patience); code != kerr.ProducerFenced.Code {
			t.Errorf("code %d", code)
		}
		if got := c.Verify("x", p, []txn.Partition{a0}); !slices.Equal(got, []int16{kerr.ProducerFenced.Code}) {
			t.Errorf("%v", got)
		}
		if got, want := w.written(a0), []string{fmt.Sprintf("abort %d/%d", p.ID, p.Epoch+1)}; !slices.Equal(got, want) {
			t.Errorf("markers %v, want %v", got, want)
		}
	})
}

func TestTransactionsOfALoadingOrForeignPartition(t *testing.T) {
	synctest.Test(t, func(t *testing.T) {
		w := newWorld()
		c := w.coordinator()
		check := func(want *kerr.Error) {
			t.Helper()
			_, initCode := initTxn(t, c, "x", anew)
			_, endCode := endTxn(t, c, 5, "x", txn.Producer{}, true)
			for what, code := range map[string]int16{
				"init": initCode, "end": endCode,
				"add":    c.Add(t.Context(), "x", txn.Producer{}, []txn.Partition{a0}, txn.V2, patience),
				"verify": c.Verify("x", txn.Producer{}, []txn.Partition{a0})[0],
			} {
				if code != want.Code {
					t.Errorf("%s: code %d, want %v", what, code, want)
				}
			}
			if got := stateOf(c, "x"); got != want.Message {
				t.Errorf("describe: %s, want %v", got, want)
			}
		}
		check(kerr.NotCoordinator)
		w.log.scan = make(chan struct{})
		var loading sync.WaitGroup
		loading.Go(func() {
			if err := c.Load(t.Context(), 0, 1, w); err != nil {
				t.Error(err)
			}
		})
		synctest.Wait()
		check(kerr.CoordinatorLoadInProgress)
		if got := c.List(kmsg.NewPtrListTransactionsRequest()); got.ErrorCode != kerr.CoordinatorLoadInProgress.Code {
			t.Errorf("list: code %d", got.ErrorCode)
		}
		close(w.log.scan)
		loading.Wait()
		begin(t, c, "x", a0)
		c.Unload(0)
		check(kerr.NotCoordinator)
	})
}

// TestWhatWaitsLearnsThatThePartitionHasMoved: and nothing of the shard runs on.
func TestWhatWaitsLearnsThatThePartitionHasMoved(t *testing.T) {
	inTxnBubble(t, func(t *testing.T, c *Transactions, w *world) {
		p := begin(t, c, "x", a0)
		w.log.change(func() { w.log.held = true })
		var asking sync.WaitGroup
		asking.Go(func() {
			if _, code := endTxn(t, c, 5, "x", p, true); code != kerr.NotCoordinator.Code {
				t.Errorf("code %d", code)
			}
		})
		asking.Go(func() {
			synctest.Wait()
			c.Unload(0)
		})
		asking.Wait()
	})
}

func TestARecordThatCannotBeStoredDecidesNothing(t *testing.T) {
	inTxnBubble(t, func(t *testing.T, c *Transactions, w *world) {
		p := begin(t, c, "x", a0)
		w.log.change(func() { w.log.fail = ErrTooLarge })
		if _, code := endTxn(t, c, 5, "x", p, true); code != kerr.UnknownServerError.Code {
			t.Errorf("code %d", code)
		}
		if _, code := initTxn(t, c, "y", anew); code != kerr.UnknownServerError.Code {
			t.Errorf("code %d", code)
		}
		if got := stateOf(c, "y"); got != "TRANSACTIONAL_ID_NOT_FOUND" {
			t.Errorf("an id of which nothing is stored: %s", got)
		}
		w.log.change(func() { w.log.fail = nil })
		if _, code := endTxn(t, c, 5, "x", p, true); code != 0 {
			t.Errorf("code %d", code)
		}
	})
}

func TestInitRefusesWhatCannotBe(t *testing.T) {
	inTxnBubble(t, func(t *testing.T, c *Transactions, w *world) {
		for name, set := range map[string]func(*kmsg.InitProducerIDRequest) *kerr.Error{
			"empty id": func(q *kmsg.InitProducerIDRequest) *kerr.Error {
				q.TransactionalID = new(string)
				return kerr.InvalidRequest
			},
			"half a producer": func(q *kmsg.InitProducerIDRequest) *kerr.Error { q.ProducerID = 5; return kerr.InvalidRequest },
			"timeout of zero": func(q *kmsg.InitProducerIDRequest) *kerr.Error {
				q.TransactionTimeoutMillis = 0
				return kerr.InvalidTransactionTimeout
			},
			"timeout too long": func(q *kmsg.InitProducerIDRequest) *kerr.Error {
				q.TransactionTimeoutMillis = 900_001
				return kerr.InvalidTransactionTimeout
			},
		} {
			id := "x"
			q := kmsg.NewPtrInitProducerIDRequest()
			q.Version, q.TransactionalID, q.TransactionTimeoutMillis = 5, &id, 900_000
			want := set(q)
			if p := c.Init(t.Context(), q); p.ErrorCode != want.Code || p.ProducerID != -1 || p.ProducerEpoch != -1 {
				t.Errorf("%s: %+v, want %v", name, p, want)
			}
		}
	})
}

func TestListFilters(t *testing.T) {
	inTxnBubble(t, func(t *testing.T, c *Transactions, w *world) {
		first := begin(t, c, "shop-1", a0)
		time.Sleep(5 * time.Second)
		second := begin(t, c, "shop-2", a0)
		endTxn(t, c, 5, "shop-2", second, true)
		initTxn(t, c, "bank", anew)
		synctest.Wait()
		pattern := func(s string) *string { return &s }
		for name, f := range map[string]struct {
			set  func(*kmsg.ListTransactionsRequest)
			want []string
			code int16
		}{
			"all":      {func(*kmsg.ListTransactionsRequest) {}, []string{"bank Empty", "shop-1 Ongoing", "shop-2 CompleteCommit"}, 0},
			"state":    {func(q *kmsg.ListTransactionsRequest) { q.StateFilters = []string{"Ongoing", "Empty"} }, []string{"bank Empty", "shop-1 Ongoing"}, 0},
			"producer": {func(q *kmsg.ListTransactionsRequest) { q.ProducerIDFilters = []int64{first.ID, 7} }, []string{"shop-1 Ongoing"}, 0},
			"duration": {func(q *kmsg.ListTransactionsRequest) {
				q.DurationFilterMillis, q.StateFilters = 4000, []string{"Ongoing"}
			}, []string{"shop-1 Ongoing"}, 0},
			"too short": {func(q *kmsg.ListTransactionsRequest) {
				q.DurationFilterMillis, q.StateFilters = 5000, []string{"Ongoing"}
			}, nil, 0},
			"pattern":       {func(q *kmsg.ListTransactionsRequest) { q.TransactionalIDPattern = pattern("shop-.") }, []string{"shop-1 Ongoing", "shop-2 CompleteCommit"}, 0},
			"part of an id": {func(q *kmsg.ListTransactionsRequest) { q.TransactionalIDPattern = pattern("shop") }, nil, 0},
			"bad pattern":   {func(q *kmsg.ListTransactionsRequest) { q.TransactionalIDPattern = pattern("(") }, nil, kerr.InvalidRegularExpression.Code},
			"not closed":    {func(q *kmsg.ListTransactionsRequest) { q.TransactionalIDPattern = pattern("shop-1)|(?:bank") }, nil, kerr.InvalidRegularExpression.Code},
			"longest": {func(q *kmsg.ListTransactionsRequest) {
				q.TransactionalIDPattern = pattern(strings.Repeat("a", 1<<15-1))
			}, nil, 0},
			"too long": {func(q *kmsg.ListTransactionsRequest) { q.TransactionalIDPattern = pattern(strings.Repeat("a", 1<<15)) }, nil, kerr.InvalidRegularExpression.Code},
			"no state": {func(q *kmsg.ListTransactionsRequest) { q.StateFilters = []string{"Asleep"} }, nil, 0},
		} {
			q := kmsg.NewPtrListTransactionsRequest()
			q.Version = 2
			f.set(q)
			p := c.List(q)
			var got []string
			for _, l := range p.TransactionStates {
				got = append(got, l.TransactionalID+" "+l.TransactionState)
			}
			if !reflect.DeepEqual(got, f.want) || p.ErrorCode != f.code {
				t.Errorf("%s: %v, code %d, want %v, %d", name, got, p.ErrorCode, f.want, f.code)
			}
			if name == "no state" && !slices.Equal(p.UnknownStateFilters, []string{"Asleep"}) {
				t.Errorf("%+v", p)
			}
		}
	})
}

// life is a client's: three transactions, of which the second is aborted, by asking again
// until it is answered. It returns where the coordinator has died.
func (w *world) life(t *testing.T, c *Transactions, l *client) {
	t.Helper()
	for ; l.at < len(l.script); l.at++ {
		for code, tries := int16(-1), 0; code != 0; tries++ {
			select {
			case <-w.dead:
				return
			default:
			}
			if tries > 1000 {
				t.Fatalf("step %d is not answered", l.at)
			}
			switch code = l.script[l.at](t, c, l); code {
			case 0:
			case kerr.ConcurrentTransactions.Code, kerr.NotCoordinator.Code, kerr.CoordinatorNotAvailable.Code:
				time.Sleep(20 * time.Millisecond)
			default:
				t.Fatalf("step %d: %v", l.at, kerr.ErrorForCode(code))
			}
		}
	}
}

type client struct {
	p      txn.Producer
	at     int
	ended  []txn.Producer
	script []func(*testing.T, *Transactions, *client) int16
}

func newClient(version int16) *client {
	add := func(partitions ...txn.Partition) func(*testing.T, *Transactions, *client) int16 {
		return func(t *testing.T, c *Transactions, l *client) int16 {
			return c.Add(t.Context(), "x", l.p, partitions, txn.Version(2*(version/5)), 0)
		}
	}
	end := func(commit bool) func(*testing.T, *Transactions, *client) int16 {
		return func(t *testing.T, c *Transactions, l *client) int16 {
			next, code := endTxn(t, c, version, "x", l.p, commit)
			if code == 0 {
				if version >= 5 {
					l.p = next
				}
				l.ended = append(l.ended, l.p)
			}
			return code
		}
	}
	return &client{script: []func(*testing.T, *Transactions, *client) int16{
		func(t *testing.T, c *Transactions, l *client) (code int16) {
			l.p, code = initTxn(t, c, "x", anew)
			return code
		},
		add(a0), add(a1, b0), end(true),
		add(a0, b0), end(false),
		add(a1), end(true),
	}}
}

// TestADecisionSurvivesDeathAtAnyStep kills the process at every append: of a record of the
// state, or of a marker, with and without the append itself. The next coordinator goes on,
// and in the end every partition of a transaction has its marker, of the kind that was
// asked for, and no other.
func TestADecisionSurvivesDeathAtAnyStep(t *testing.T) {
	for _, version := range []int16{4, 5} {
		for _, torn := range []bool{false, true} {
			for dies := 1; ; dies++ {
				survived := false
				t.Run(fmt.Sprintf("v%d dies at %d torn %v", version, dies, torn), func(t *testing.T) {
					synctest.Test(t, func(t *testing.T) { survived = deathAt(t, version, dies, torn) })
				})
				if survived || t.Failed() {
					break
				}
				if dies > 100 {
					t.Fatal("the script does not end")
				}
			}
		}
	}
}

func deathAt(t *testing.T, version int16, dies int, torn bool) (survived bool) {
	w, l := newWorld(), newClient(version)
	w.dies, w.torn = dies, torn
	first := w.coordinator()
	stop := start(t, first, 1, w)
	ctx, cancel := context.WithCancel(t.Context())
	var living sync.WaitGroup
	living.Go(func() { // a request that hangs in a dead process ends with its connection
		select {
		case <-w.dead:
			first.Unload(0)
		case <-ctx.Done():
		}
	})
	w.life(t, first, l)
	synctest.Wait()
	cancel()
	living.Wait()
	stop()

	w.set(func() {
		select {
		case <-w.dead:
		default:
			survived = w.appends < dies
		}
		w.dies, w.dead = 0, make(chan struct{})
	})
	second := w.coordinator()
	stop = start(t, second, 2, w)
	w.life(t, second, l)
	time.Sleep(time.Second)
	stop()

	kinds := []string{"commit", "abort", "commit"}
	in := [][]txn.Partition{{a0, a1, b0}, {a0, b0}, {a1}}
	want := map[txn.Partition][]string{}
	for i, partitions := range in {
		for _, tp := range partitions {
			want[tp] = append(want[tp], fmt.Sprintf("%s %d/%d", kinds[i], l.ended[i].ID, l.ended[i].Epoch))
		}
	}
	for tp, want := range want {
		want = slices.Compact(want) // before version 2 two ends in a row look the same
		if got := w.written(tp); !slices.Equal(got, want) {
			t.Errorf("%v: markers %v, want %v", tp, got, want)
		}
	}
	return survived
}

// TestManyIDsAtOnce is for the race detector.
func TestManyIDsAtOnce(t *testing.T) {
	inTxnBubble(t, func(t *testing.T, c *Transactions, w *world) {
		var clients sync.WaitGroup
		for i := range 20 {
			clients.Go(func() {
				id := fmt.Sprint("x", i%10)
				for range 20 {
					p, code := initTxn(t, c, id, anew)
					for n := 0; code == 0 && n < 5; n++ {
						if code = c.Add(t.Context(), id, p, []txn.Partition{a0, {Topic: id}}, txn.V2, patience); code == 0 {
							p, code = endTxn(t, c, 5, id, p, n%2 == 0)
						}
					}
					c.Verify(id, p, []txn.Partition{a0})
					time.Sleep(time.Millisecond)
				}
			})
		}
		clients.Wait()
		time.Sleep(2 * time.Minute)
		if s := c.Stats(); s.Open != 0 || s.Completing != 0 || s.IDs != 10 {
			t.Errorf("%+v", s)
		}
	})
}
