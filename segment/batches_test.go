package segment

import (
	"bytes"
	"context"
	"errors"
	"fmt"
	"runtime"
	"sync/atomic"
	"testing"

	"github.com/varvelog/varve/segment/batch"
	"github.com/varvelog/varve/segment/vfs"
)

// sealedOf returns a log whose first segment holds one batch of each size, and these batches.
func sealedOf(t *testing.T, fsys vfs.FS, sizes ...int) (l *Log, all []batch.Batch) {
	t.Helper()
	o := testOptions(fsys)
	o.Config.SegmentBytes = 1 << 30
	l, _ = mustOpen(t, o)
	for _, size := range sizes {
		b := makeBatch(t, l.Offsets().End, 0, 1, size, start.UnixMilli())
		if _, err := l.Append([]batch.Batch{b}); err != nil {
			t.Fatal(err)
		}
		all = append(all, b)
	}
	if err := l.Roll(); err != nil {
		t.Fatal(err)
	}
	return l, all
}

func repeated(n, size int) []int {
	all := make([]int, n)
	for i := range all {
		all[i] = size
	}
	return all
}

func TestBatchesAreTheSameReadAheadAndInTurn(t *testing.T) {
	for name, sizes := range map[string][]int{
		"none":                       {},
		"one":                        {10},
		"more small ones than fit":   repeated(8000, 200),
		"as large as a read":         repeated(12, readerBytes),
		"nearly as large as allowed": repeated(9, aheadBytes-100),
		"larger than is read ahead":  {aheadBytes, 10, 3 * aheadBytes, 10},
		"larger ones among others":   append(append(repeated(800, 2000), aheadBytes), repeated(800, 2000)...),
		"growing":                    {100, readerBytes, 100, 2 * readerBytes, 100, 4 * readerBytes, 100, readerBytes, 100},
	} {
		t.Run(name, func(t *testing.T) {
			l, all := sealedOf(t, vfs.NewMem(), sizes...)
			for _, ahead := range []bool{false, true} {
				read := int64(0)
				r := &Reader{Ahead: ahead, Read: func(_ context.Context, bytes int64) error { read += bytes; return nil }}
				for _, from := range []int{0, len(all) / 2, 0} { // the reader is used again
					if from == len(all) {
						continue
					}
					var got []byte
					if err := l.Batches(context.Background(), r, 0, int64(from), func(b batch.Batch) error {
						got = append(got, b...)
						return nil
					}); err != nil {
						t.Fatalf("ahead %v: %v", ahead, err)
					}
					if !bytes.Equal(got, join(all[from:])) {
						t.Fatalf("ahead %v: %d bytes from batch %d on are not those that were appended", ahead, len(got), from)
					}
				}
				if whole := size(all); read < whole || len(r.free) != 0 && len(r.free) != aheadBuffers {
					t.Errorf("ahead %v: %d bytes read of %d, %d buffers left", ahead, read, whole, len(r.free))
				}
			}
		})
	}
}

func TestBatchesReadAheadNoMoreThanItsBuffers(t *testing.T) {
	l, _ := sealedOf(t, vfs.NewMem(), repeated(40, readerBytes/2)...)
	reads := make(chan int64, 100)
	r := &Reader{Ahead: true, Read: func(_ context.Context, bytes int64) error { reads <- bytes; return nil }}
	ends := errors.New("ends")
	err := l.Batches(context.Background(), r, 0, 0, func(batch.Batch) error {
		for range aheadBuffers { // it goes on by itself up to here
			<-reads
		}
		return ends
	})
	if !errors.Is(err, ends) || len(reads) > 1 { // one buffer may have been given back
		t.Errorf("%v, %d more reads than %d buffers", err, len(reads), aheadBuffers)
	}
}

func TestBatchesEnd(t *testing.T) {
	const n, bad = 1000, 600
	mine := errors.New("no more")
	for _, ahead := range []bool{false, true} {
		for name, c := range map[string]struct {
			run func(ctx context.Context, stop func(), l *Log, r *Reader, yield func(batch.Batch) error) error
			is  func(err error, yielded int) bool
		}{
			"by what yield says": {
				func(ctx context.Context, _ func(), l *Log, r *Reader, yield func(batch.Batch) error) error {
					return l.Batches(ctx, r, 0, 0, func(b batch.Batch) error {
						if b.BaseOffset() == 100 {
							return mine
						}
						return yield(b)
					})
				},
				func(err error, yielded int) bool { return errors.Is(err, mine) && yielded == 100 },
			},
			"by what Read says": {
				func(ctx context.Context, _ func(), l *Log, r *Reader, yield func(batch.Batch) error) error {
					reads := 0
					r.Read = func(context.Context, int64) error {
						if reads++; reads == 3 {
							return mine
						}
						return nil
					}
					return l.Batches(ctx, r, 0, 0, yield)
				},
				func(err error, yielded int) bool { return errors.Is(err, mine) && yielded > 0 && yielded < n },
			},
			"by their context, in Read": {
				func(ctx context.Context, stop func(), l *Log, r *Reader, yield func(batch.Batch) error) error {
					r.Read = func(ctx context.Context, _ int64) error {
						stop()
						<-ctx.Done()
						return ctx.Err()
					}
					return l.Batches(ctx, r, 0, 0, yield)
				},
				func(err error, yielded int) bool { return errors.Is(err, context.Canceled) && yielded == 0 },
			},
			"at a corrupt batch, after those before it": {
				func(ctx context.Context, _ func(), l *Log, r *Reader, yield func(batch.Batch) error) error {
					f, err := l.fs.Open(l.segments[0].path(logSuffix), false)
					if err != nil {
						return err
					}
					e, err := l.segments[0].floor(bad)
					if err != nil {
						return err
					}
					if _, err = f.WriteAt([]byte{0xff}, e.Position+100); err != nil {
						return err
					}
					return l.Batches(ctx, r, 0, 0, yield)
				},
				func(err error, yielded int) bool {
					var corrupt *CorruptError
					return errors.As(err, &corrupt) && yielded <= bad && yielded > bad-5
				},
			},
		} {
			t.Run(fmt.Sprintf("%s, ahead %v", name, ahead), func(t *testing.T) {
				fsys := vfs.NewMem()
				l, all := sealedOf(t, fsys, repeated(n, 2000)...)
				var ended, late atomic.Bool
				fsys.SetFault(func(vfs.Op, string, int) error {
					late.Store(late.Load() || ended.Load())
					return nil
				})
				ctx, stop := context.WithCancel(context.Background())
				defer stop()
				r, yielded := &Reader{Ahead: ahead}, 0
				err := c.run(ctx, stop, l, r, func(b batch.Batch) error {
					if !bytes.Equal(b, all[yielded]) {
						t.Fatalf("batch %d is another one", yielded)
					}
					yielded++
					return nil
				})
				ended.Store(true)
				if !c.is(err, yielded) {
					t.Errorf("%v after %d batches", err, yielded)
				}
				for range 20 {
					runtime.Gosched()
				}
				if late.Load() {
					t.Error("it is read after the walk")
				}
				if r.free != nil && len(r.free) != aheadBuffers {
					t.Errorf("%d buffers are left of %d", len(r.free), aheadBuffers)
				}
			})
		}
	}
}
