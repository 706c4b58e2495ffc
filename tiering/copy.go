package tiering

import (
	"context"
	"errors"
	"fmt"
	"io"
	"slices"
	"sync"

	"github.com/google/uuid"

	"github.com/varvelog/varve/index"
	"github.com/varvelog/varve/segment"
	"github.com/varvelog/varve/segment/batch"
)

// commitBytes is how much is copied before it is committed. Local data can go only after
// the commit, so a backlog of large segments is committed piece by piece, and one of
// small segments together.
const commitBytes = 256 << 20

// upload is a segment that is in the bucket and not committed.
type upload struct {
	entry  entry
	epochs []segment.EpochStart
	term   int64 // in which it was announced
}

// Copy copies the sealed segments of l that end at or below bound (min of high
// watermark and last stable offset) and are not in the bucket yet: intent, verified
// upload, new root, commit of the contiguous prefix. It returns how many were committed.
//
// One call commits once: up to CopyConcurrency segments, more where they are small.
// The caller repeats it while it returns more than 0. Where an upload fails the prefix
// before it is committed, and the error returned with the count (I11); what was uploaded
// behind it waits for the next call. A segment that fails verification is a
// *CorruptError: it is never uploaded, and the tiered end stays below it (I13).
func (r *Remote) Copy(ctx context.Context, l *segment.Log, bound int64) (int, error) {
	lead, done, err := r.begin(ctx)
	if err != nil {
		return 0, err
	}
	defer done()
	picks, err := Next(r.nextInput(lead.view, bound, l.Segments()))
	if err != nil || len(picks) == 0 {
		return 0, err
	}
	err = r.uploadAll(ctx, lead, l, picks)
	c, intents := r.prefixOf(lead, l, picks)
	if len(c.add) == 0 {
		return 0, err
	}
	if commitErr := r.commit(ctx, lead, c, intents); commitErr != nil {
		return 0, errors.Join(err, commitErr)
	}
	return len(c.add), err
}

func (r *Remote) nextInput(v *view, bound int64, segments []segment.Info) NextInput {
	return NextInput{
		Exists: v.exists(), End: v.root.end, Bound: bound, Segments: segments,
		MaxSegments: maxCommitSegments, MaxBytes: commitBytes, MinSegments: r.tier.copies.bound(),
	}
}

// NextInput returns what Copy would decide by for these segments and this bound; ok is
// false before Ready, where it would copy nothing.
func (r *Remote) NextInput(bound int64, segments []segment.Info) (in NextInput, ok bool) {
	l, err := r.readied()
	if err != nil || l.view == nil {
		return NextInput{}, false
	}
	return r.nextInput(l.view, bound, segments), true
}

// prefixOf is the change that adds the contiguous prefix of what is uploaded.
func (r *Remote) prefixOf(lead lead, l *segment.Log, picks []Pick) (change, []uuid.UUID) {
	var c change
	var intents []uuid.UUID
	for _, pick := range picks {
		u, ok := r.staged[pick.From]
		if !ok || u.term != lead.term || len(c.add) > 0 && u.entry.base != c.add[len(c.add)-1].next {
			break
		}
		c.add = append(c.add, u.entry)
		c.epochs = append(c.epochs, u.epochs...)
		intents = append(intents, u.entry.id)
	}
	if !lead.view.exists() && len(c.add) > 0 {
		// The first root of all says where the log begins: not below what DeleteRecords
		// or retention have already removed.
		c.start = min(l.Offsets().LogStart, c.add[0].next-1)
	}
	return c, intents
}

// uploadAll uploads what is not staged yet, CopyConcurrency segments at once in the whole
// broker. After a failure no further upload begins.
func (r *Remote) uploadAll(ctx context.Context, lead lead, l *segment.Log, picks []Pick) error {
	missing := slices.DeleteFunc(slices.Clone(picks), func(p Pick) bool {
		u, ok := r.staged[p.From]
		return ok && u.term == lead.term
	})
	var uploads sync.WaitGroup
	var mu sync.Mutex // guards failed, staged and stale while uploads run
	var failed error
	for _, pick := range missing {
		if !r.tier.copies.take(ctx) {
			break
		}
		mu.Lock()
		stop := failed != nil
		mu.Unlock()
		if stop {
			r.tier.copies.free()
			break
		}
		uploads.Go(func() {
			defer r.tier.copies.free()
			u, in, err := r.upload(ctx, lead, l, pick)
			mu.Lock()
			defer mu.Unlock()
			if err != nil {
				failed = errors.Join(failed, fmt.Errorf("copy segment %020d: %w", pick.Base, err))
				if in.Key != "" {
					r.stale[in.ID] = in
				}
				return
			}
			r.staged[pick.From] = u
		})
	}
	uploads.Wait()
	return errors.Join(failed, ctx.Err())
}

// upload verifies, announces and writes one segment. Where it returns an intent with an
// error, the object may be in the bucket.
func (r *Remote) upload(ctx context.Context, lead lead, l *segment.Log, pick Pick) (upload, Intent, error) {
	s, err := l.Sealed(pick.Base)
	if err != nil {
		return upload{}, Intent{}, err
	}
	defer s.Release()
	b, err := r.build(ctx, lead, l, s, pick.From)
	if err != nil {
		return upload{}, Intent{}, err
	}
	key := b.entry.name().key(r.prefix, kindSegment)
	in, err := r.announce(ctx, lead.fence, b.entry.id, key)
	if err != nil {
		return upload{}, Intent{}, fmt.Errorf("announce %s: %w", key, err)
	}
	if err := r.tier.put(ctx, key, b.body); err != nil {
		return upload{}, in, err
	}
	return upload{entry: b.entry, epochs: b.epochs, term: lead.term}, in, nil
}

// built is an object that is ready to go up.
type built struct {
	entry  entry
	epochs []segment.EpochStart
	body   *body
}

// build makes the object of a sealed segment, from the batch on that holds offset from,
// in one verified pass over its file. The log's bytes stay where they are.
func (r *Remote) build(ctx context.Context, lead lead, l *segment.Log, s *segment.Sealed, from int64) (*built, error) {
	what := fmt.Sprintf("segment %020d", s.Base)
	position, base := int64(0), s.Base
	if from > s.Base {
		var err error
		if position, base, err = locate(what, s, from); err != nil {
			return nil, err
		}
	}
	log := io.NewSectionReader(s.Log, position, s.Size-position)
	t, err := scan(ctx, what, log, s.Size-position, base, s.Next, r.tier.o.ChunkBytes)
	if err != nil {
		return nil, err
	}
	if t.aborted, err = l.Aborted(base, s.Next); err != nil {
		return nil, fmt.Errorf("read aborted transactions: %w", err)
	}
	t.partition, t.epoch, t.compaction = r.id, lead.fence.Epoch, lead.view.root.compaction
	t.snapshot = s.Snapshot
	n := entry{
		base: t.base, next: t.next, size: t.size, maxTimestamp: t.maxTimestamp, logCRC: t.logCRC,
		copied: r.tier.o.Now().UnixMilli(), epoch: t.epoch, compaction: t.compaction, id: r.tier.o.NewID(),
	}
	if len(t.aborted) > 0 {
		n.flags |= flagHasAborted
	}
	end := encodeTail(t, n.id)
	n.objectSize, n.tailCRC = n.size+int64(len(end)), crc(end)
	return &built{entry: n, epochs: t.epochs, body: &body{log: log, size: t.size, tail: end}}, nil
}

// locate finds the batch of a sealed segment that holds an offset: where the bucket's
// records end inside the segment, because another replica rolled elsewhere.
func locate(what string, s *segment.Sealed, offset int64) (position, base int64, err error) {
	floor, err := index.Offsets{Base: s.Base, R: index.Bytes(s.Offsets), Size: int64(len(s.Offsets))}.Floor(offset)
	if err != nil {
		return 0, 0, fmt.Errorf("look up offset %d: %w", offset, err)
	}
	w := headers{file: s.Log, end: s.Size}
	for position = floor.Position; position < s.Size; {
		b, size, err := w.at(position)
		if err != nil {
			return 0, 0, corruptAt(what, position, "%v", err)
		}
		if b.LastOffset() >= offset {
			return position, b.BaseOffset(), nil
		}
		position += size
	}
	return 0, 0, corrupt(what, "offset %d is not in it", offset)
}

// headers reads batch headers of a log file, a block at a time.
type headers struct {
	file   io.ReaderAt
	end    int64 // of the file's part that may be looked at
	block  [headerBlock]byte
	start  int64 // position of block
	filled int64 // bytes
}

// headerBlock is what is read at once: an index interval, in which the batch that is
// looked for begins.
const headerBlock = 4096

// at returns the header of the batch at position, valid until the next call, and the
// size of the whole batch.
func (h *headers) at(position int64) (batch.Batch, int64, error) {
	if position < h.start || position+batch.HeaderSize > h.start+h.filled {
		n := min(headerBlock, h.end-position)
		if n < batch.HeaderSize {
			return nil, 0, errShort
		}
		if got, err := h.file.ReadAt(h.block[:n], position); int64(got) < n {
			if err == nil || errors.Is(err, io.EOF) {
				err = io.ErrUnexpectedEOF
			}
			return nil, 0, err
		}
		h.start, h.filled = position, n
	}
	at := position - h.start
	b := batch.Batch(h.block[at : at+batch.HeaderSize : at+batch.HeaderSize])
	size := int64(int32(uint32(b[8])<<24|uint32(b[9])<<16|uint32(b[10])<<8|uint32(b[11]))) + batch.LogOverhead
	if size < batch.HeaderSize || size > h.end-position {
		return nil, 0, errShort
	}
	return b, size, nil
}
