package main

import (
	"encoding/base64"
	"fmt"
	"io"
	"unicode/utf8"

	"github.com/twmb/franz-go/pkg/kgo"
)

// recordWriter prints a record.
type recordWriter func(io.Writer, *kgo.Record) error

func newRecordWriter(names, format string, json bool) (recordWriter, error) {
	switch {
	case json && (names != "" || format != ""):
		return nil, usagef("--output json shows everything: --print and --format are for text")
	case json:
		return writeJSON, nil
	case format != "":
		f, err := kgo.NewRecordFormatter(format)
		if err != nil {
			return nil, usagef("--format: %w", err)
		}
		var line []byte
		return func(w io.Writer, r *kgo.Record) error {
			line = f.AppendRecord(line[:0], r)
			_, err := w.Write(line)
			return err
		}, nil
	}
	f, err := parseFields(names)
	if err != nil {
		return nil, err
	}
	if names != "" {
		f.value = true // as kafka-console-consumer.sh, which prints it always
	}
	var line []byte
	return func(w io.Writer, r *kgo.Record) error {
		line = appendFields(line[:0], f, r)
		_, err := w.Write(line)
		return err
	}, nil
}

// appendFields appends a line in the layout and order of kafka-console-consumer.sh.
func appendFields(line []byte, f fields, r *kgo.Record) []byte {
	if f.timestamp {
		kind := "CreateTime"
		if r.Attrs.TimestampType() == 1 {
			kind = "LogAppendTime"
		}
		line = fmt.Appendf(line, "%s:%d\t", kind, r.Timestamp.UnixMilli())
	}
	if f.partition {
		line = fmt.Appendf(line, "Partition:%d\t", r.Partition)
	}
	if f.offset {
		line = fmt.Appendf(line, "Offset:%d\t", r.Offset)
	}
	if f.headers {
		if len(r.Headers) == 0 {
			line = append(line, "NO_HEADERS"...)
		}
		for i, h := range r.Headers {
			if i > 0 {
				line = append(line, ',')
			}
			line = append(append(line, h.Key...), ':')
			line = appendNullable(line, h.Value)
		}
		line = append(line, '\t')
	}
	if f.key {
		line = append(appendNullable(line, r.Key), '\t')
	}
	return append(appendNullable(line, r.Value), '\n')
}

func appendNullable(line, p []byte) []byte {
	if p == nil {
		return append(line, "null"...)
	}
	return append(line, p...)
}

// jsonBytes is a key or value in JSON: null, a string where it is UTF-8, else an object
// {"base64": "…"}.
func jsonBytes(p []byte) any {
	switch {
	case p == nil:
		return nil
	case utf8.Valid(p):
		return string(p)
	}
	return map[string]string{"base64": base64.StdEncoding.EncodeToString(p)}
}

type jsonHeader struct {
	Key   string `json:"key"`
	Value any    `json:"value"`
}

type jsonRecord struct {
	Topic         string       `json:"topic"`
	Partition     int32        `json:"partition"`
	Offset        int64        `json:"offset"`
	LeaderEpoch   int32        `json:"leader_epoch"`
	Timestamp     int64        `json:"timestamp"` // ms
	LogAppendTime bool         `json:"log_append_time"`
	Headers       []jsonHeader `json:"headers"`
	Key           any          `json:"key"`
	Value         any          `json:"value"`
}

func writeJSON(w io.Writer, r *kgo.Record) error {
	v := jsonRecord{
		Topic: r.Topic, Partition: r.Partition, Offset: r.Offset, LeaderEpoch: r.LeaderEpoch,
		Timestamp: r.Timestamp.UnixMilli(), LogAppendTime: r.Attrs.TimestampType() == 1,
		Headers: []jsonHeader{}, Key: jsonBytes(r.Key), Value: jsonBytes(r.Value),
	}
	for _, h := range r.Headers {
		v.Headers = append(v.Headers, jsonHeader{h.Key, jsonBytes(h.Value)})
	}
	return (&printer{out: w}).value(v)
}
