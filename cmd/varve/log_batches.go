package main

import (
	"bytes"
	"errors"
	"fmt"
	"io"
	"strings"

	"github.com/varvelog/varve/segment/batch"
)

// dumpedBatch is a batch as JSON; text is its Description's.
type dumpedBatch struct {
	batch.Description
	Position int64          `json:"position"` // bytes, in the file
	Records  []dumpedRecord `json:"records,omitempty"`
}

type dumpedRecord struct {
	Offset    int64        `json:"offset"`
	Timestamp int64        `json:"timestamp"` // ms
	Headers   []jsonHeader `json:"headers"`
	Key       any          `json:"key"`
	Value     any          `json:"value"`
}

// maxDumped bounds a batch, as it is stored and what it may decompress to, in bytes.
const maxDumped = 256 << 20

// dumpLog prints the batches of a log file of a size up to the first fault. It holds one
// batch at a time.
func dumpLog(p *printer, f io.ReaderAt, end int64, records bool) error {
	invalid := 0
	show := p.progress("bytes dumped", terminal(p.out))
	defer show.end()
	for position := int64(0); position < end; {
		b, err := readBatch(f, position, end)
		if err != nil {
			if unwritten(f, position, end) {
				return nil // the rest of a preallocated file
			}
			return fmt.Errorf("at position %d: %w", position, err)
		}
		d := dumpedBatch{Description: batch.Describe(b), Position: position}
		if !d.CRCValid {
			invalid++
		}
		if err := printBatch(p, b, d, records); err != nil {
			return fmt.Errorf("at position %d: %w", position, err)
		}
		position += int64(b.Size())
		show.add(b.Size())
	}
	if invalid > 0 {
		return fmt.Errorf("%d batches are corrupt (isvalid: false)", invalid)
	}
	return nil
}

// readBatch reads the batch at position of a file of a size.
func readBatch(f io.ReaderAt, position, end int64) (batch.Batch, error) {
	head := make([]byte, min(batch.HeaderSize, end-position))
	if _, err := f.ReadAt(head, position); err != nil {
		return nil, err
	}
	n, err := batch.PeekSize(head)
	if err != nil {
		return nil, err
	}
	if n > maxDumped {
		return nil, fmt.Errorf("a batch of %d bytes: more than %d are not looked at", n, maxDumped)
	}
	if n > end-position {
		return nil, fmt.Errorf("%w: %d bytes of %d", batch.ErrTruncated, end-position, n)
	}
	p := make([]byte, n)
	if _, err := f.ReadAt(p, position); err != nil {
		return nil, err
	}
	b, _, err := batch.Next(p)
	return b, err
}

// unwritten tells whether the rest of a file is zeros.
func unwritten(f io.ReaderAt, position, end int64) bool {
	r := io.NewSectionReader(f, position, end-position)
	p := make([]byte, 64<<10)
	for {
		n, err := r.Read(p)
		if len(bytes.Trim(p[:n], "\x00")) > 0 {
			return false
		}
		if err != nil {
			return err == io.EOF
		}
	}
}

func printBatch(p *printer, b batch.Batch, d dumpedBatch, records bool) error {
	if !p.json {
		fmt.Fprintf(p.out, "%v position: %d\n", d.Description, d.Position)
	}
	var err error
	if records && d.CRCValid {
		err = batch.Records(b, maxDumped, func(r *batch.Record) bool {
			if p.json {
				d.Records = append(d.Records, dumpRecord(r))
			} else {
				fmt.Fprintln(p.out, recordLine(b, r))
			}
			return true
		})
	}
	if p.json {
		return errors.Join(err, p.value(d))
	}
	return err
}

func dumpRecord(r *batch.Record) dumpedRecord {
	d := dumpedRecord{Offset: r.Offset, Timestamp: r.Timestamp, Headers: []jsonHeader{}, Key: jsonBytes(r.Key), Value: jsonBytes(r.Value)}
	for _, h := range r.Headers {
		d.Headers = append(d.Headers, jsonHeader{h.Key, jsonBytes(h.Value)})
	}
	return d
}

// recordLine is a record in the words of kafka-dump-log.sh. Bytes that are no text are
// quoted.
func recordLine(b batch.Batch, r *batch.Record) string {
	var keys []string
	for _, h := range r.Headers {
		keys = append(keys, h.Key)
	}
	line := fmt.Sprintf("| offset: %d CreateTime: %d keySize: %d valueSize: %d headerKeys: [%s]",
		r.Offset, r.Timestamp, length(r.Key), length(r.Value), strings.Join(keys, ","))
	if b.Control() {
		if m, err := batch.ParseMarker(r); err == nil {
			return fmt.Sprintf("%s endTxnMarker: %s coordinatorEpoch: %d", line, markerName(m), m.CoordinatorEpoch)
		}
	}
	return fmt.Sprintf("%s key: %s payload: %s", line, shown(r.Key), shown(r.Value))
}

func markerName(m batch.Marker) string {
	if m.Commit {
		return "COMMIT"
	}
	return "ABORT"
}

// length is a size as Kafka prints it: -1 for null.
func length(p []byte) int {
	if p == nil {
		return -1
	}
	return len(p)
}

// shown writes bytes on one line: text as it is, the rest quoted.
func shown(p []byte) string {
	if p == nil {
		return "null"
	}
	if q := fmt.Sprintf("%q", p); q[1:len(q)-1] != string(p) {
		return q
	}
	return string(p)
}
