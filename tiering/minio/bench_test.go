package minio_test

import (
	"fmt"
	"io"
	"net/http"
	"sync"
	"sync/atomic"
	"testing"
	"time"

	miniogo "github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"

	"github.com/varvelog/varve/test/stores"
	"github.com/varvelog/varve/tiering/minio"
	"github.com/varvelog/varve/tiering/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/objstore/s3api"
)

const (
	benchObject = 64 << 20
	benchRange  = 8 << 20
	benchFlight = 4 // ranges under way at once
)

func benchBucket(b *testing.B, store *stores.Store, checksum s3api.Checksum) (*minio.Bucket, minio.Options) {
	o := stores.Options(store.Endpoint)
	o.SinglePutSize, o.PartSize, o.Checksum = s3api.DefaultSinglePutSize, s3api.DefaultPartSize, checksum
	bucket, err := minio.New(o)
	if err != nil {
		b.Fatal(err)
	}
	if err := bucket.Check(b.Context()); err != nil {
		b.Fatal(err)
	}
	return bucket, o
}

// BenchmarkPut uploads 64 MiB objects one after the other, by checksum mode.
func BenchmarkPut(b *testing.B) {
	store := stores.MinIO(b)
	body := objstoretest.Bytes(benchObject, 1)
	for _, checksum := range []s3api.Checksum{s3api.ChecksumWhenRequired, s3api.ChecksumWhenSupported} {
		b.Run(string(checksum), func(b *testing.B) {
			bucket, _ := benchBucket(b, store, checksum)
			b.SetBytes(benchObject)
			b.ReportAllocs()
			for i := 0; b.Loop(); i++ {
				if err := bucket.Put(b.Context(), fmt.Sprintf("put/%d", i%4), body); err != nil {
					b.Fatal(err)
				}
			}
		})
	}
}

// BenchmarkRangedGet reads 8 MiB ranges, four at once: by the driver, and beside it by
// plain HTTP GETs of presigned URLs.
func BenchmarkRangedGet(b *testing.B) {
	bucket, o := benchBucket(b, stores.MinIO(b), s3api.ChecksumWhenRequired)
	if err := bucket.Put(b.Context(), "object", objstoretest.Bytes(benchObject, 1)); err != nil {
		b.Fatal(err)
	}
	b.Run("driver", func(b *testing.B) {
		benchRanges(b, func(position int64) (io.ReadCloser, error) {
			return bucket.Get(b.Context(), "object", position, benchRange)
		})
	})
	b.Run("plain", func(b *testing.B) {
		url := presigned(b, o, "object")
		client := &http.Client{Transport: s3api.Transport(o)}
		benchRanges(b, func(position int64) (io.ReadCloser, error) {
			request, err := http.NewRequestWithContext(b.Context(), http.MethodGet, url, nil)
			if err != nil {
				return nil, err
			}
			request.Header.Set("Range", fmt.Sprintf("bytes=%d-%d", position, position+benchRange-1))
			response, err := client.Do(request)
			if err != nil {
				return nil, err
			}
			return response.Body, nil
		})
	})
}

func benchRanges(b *testing.B, get func(position int64) (io.ReadCloser, error)) {
	var next atomic.Int64
	b.SetBytes(benchRange)
	b.ReportAllocs()
	b.ResetTimer()
	var workers sync.WaitGroup
	for range benchFlight {
		workers.Go(func() {
			buffer := make([]byte, 256<<10)
			for i := next.Add(1); i <= int64(b.N); i = next.Add(1) {
				stream, err := get(i % (benchObject / benchRange) * benchRange)
				if err != nil {
					b.Error(err)
					return
				}
				n, err := io.CopyBuffer(struct{ io.Writer }{io.Discard}, stream, buffer)
				if err != nil || n != benchRange || stream.Close() != nil {
					b.Errorf("read %d bytes, %v", n, err)
					return
				}
			}
		})
	}
	workers.Wait()
}

func presigned(b *testing.B, o minio.Options, key string) string {
	client, err := miniogo.New(o.Endpoint[len("http://"):], &miniogo.Options{
		Creds: credentials.NewStaticV4(o.AccessKeyID, o.SecretAccessKey, ""), Region: o.Region,
	})
	if err != nil {
		b.Fatal(err)
	}
	u, err := client.PresignedGetObject(b.Context(), o.Bucket, o.Prefix+key, time.Hour, nil)
	if err != nil {
		b.Fatal(err)
	}
	return u.String()
}
