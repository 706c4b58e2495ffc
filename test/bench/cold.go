package main

import (
	"context"
	"fmt"
	"io"
	"strings"
	"time"

	"github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/credentials"
	"golang.org/x/sync/errgroup"

	"github.com/varvelog/varve/test/harness"
	"github.com/varvelog/varve/test/stores"
)

// coldSegment is segment.bytes of cold topics.
const coldSegment = 32 << 20

var coldTopic = topic{name: "cold", partitions: 4, configs: map[string]string{
	"remote.storage.enable": "true",
	"segment.bytes":         fmt.Sprint(coldSegment),
	"local.retention.bytes": "1",
}}

const coldRecord = 1024

// coldVarve are the settings that move segments to the bucket soon.
var coldVarve = []string{"remote.log.manager.task.interval.ms=500", "log.retention.check.interval.ms=500"}

// coldFile compares the two with buckets on the local disk.
func coldFile(b *bench) []contestant {
	b.stopHot()
	systems := []system{
		newVarve(b.env, coldVarve...),
		newKafka(b.env, tieredKafka(b.env.TempDir())...),
	}
	var c []contestant
	for _, s := range systems {
		b.startWarm(s)
		b.moveToBucket(s)
		c = append(c, contestant{s.Name(), func() figures {
			s.EmptyCaches()
			return b.replay(s, coldTopic, coldRecord, b.sizes.cold, kgoReplay)
		}})
	}
	return c
}

// coldLimit is how long it may take until what was produced lies in the bucket only.
const coldLimit = 10 * time.Minute

// moveToBucket fills the cold topic and waits until only its last segments are on the
// broker's own disk.
func (b *bench) moveToBucket(s system) {
	createTopic(b.env, s, coldTopic)
	b.fill(s, coldTopic, coldRecord, b.sizes.cold)
	begin := time.Now()
	ends, err := listOffsets(b.env.ctx, s.Address(), coldTopic, endOffset)
	b.env.check(err)
	harness.Until(b.env, coldLimit, "local segments to be deleted", func() error {
		starts, err := listOffsets(b.env.ctx, s.Address(), coldTopic, localStartOffset)
		if err != nil {
			return err
		}
		for p := range starts {
			if local := (ends[p] - starts[p]) * coldRecord; local > coldSegment {
				return fmt.Errorf("partition %d still has %d bytes on disk", p, local)
			}
		}
		return nil
	})
	say("  %s: all but the last segments left the local disk within %.1f s", s.Name(), time.Since(begin).Seconds())
	time.Sleep(2 * time.Second) // file deletion is delayed by one
}

// coldMinIO compares Varve's replay from MinIO with reading the same objects by hand.
func coldMinIO(b *bench) []contestant {
	b.stopHot()
	store := stores.MinIO(b.env)
	b.env.helpers = append(b.env.helpers, store.Pid)
	const bucket = "varve-bench"
	s := newVarve(b.env, append(coldVarve,
		"varve.bucket=minio://"+strings.TrimPrefix(store.Endpoint, "http://")+"/"+bucket,
		"varve.bucket.access.key="+stores.AccessKeyID, "varve.bucket.secret.key="+stores.SecretAccessKey,
		"varve.bucket.region="+stores.Region, "varve.bucket.create=true")...)
	b.startWarm(s)
	b.moveToBucket(s)
	return []contestant{
		{s.Name(), func() figures {
			s.EmptyCaches()
			return b.replay(s, coldTopic, coldRecord, b.sizes.cold, countingReplay)
		}},
		{"plain GET", func() figures {
			m := startMeter(b.env, 0)
			n, err := plainGet(b.env.ctx, store.Endpoint, bucket)
			b.env.check(err)
			f := m.stop(0, n)
			f[brokerCPU] = f[clientCPU] // one process is both
			return f
		}},
	}
}

// Shape of the plain GET: what BASELINES of this store found to be fastest.
const (
	plainRange   = 8 << 20
	plainWorkers = 8
)

// plainGet reads all segments of a bucket, range by range, and returns their size.
func plainGet(ctx context.Context, endpoint, bucket string) (int64, error) {
	client, err := minio.NewCore(strings.TrimPrefix(endpoint, "http://"), &minio.Options{
		Creds: credentials.NewStaticV4(stores.AccessKeyID, stores.SecretAccessKey, ""), Region: stores.Region,
	})
	if err != nil {
		return 0, err
	}
	var size int64
	g, ctx := errgroup.WithContext(ctx)
	g.SetLimit(plainWorkers)
	for object := range client.ListObjectsIter(ctx, bucket, minio.ListObjectsOptions{Recursive: true}) {
		if object.Err != nil {
			return 0, object.Err
		}
		if object.Size < coldSegment/2 {
			continue // a manifest, or a small last segment
		}
		size += object.Size
		for from := int64(0); from < object.Size; from += plainRange {
			g.Go(func() error {
				return readRange(ctx, client, bucket, object.Key, from, min(from+plainRange, object.Size)-1)
			})
		}
	}
	return size, g.Wait()
}

func readRange(ctx context.Context, client *minio.Core, bucket, key string, from, last int64) error {
	var o minio.GetObjectOptions
	if err := o.SetRange(from, last); err != nil {
		return err
	}
	body, _, _, err := client.GetObject(ctx, bucket, key, o)
	if err != nil {
		return err
	}
	defer body.Close()
	n, err := io.Copy(io.Discard, body)
	if err == nil && n != last+1-from {
		err = fmt.Errorf("%s: %d bytes instead of %d", key, n, last+1-from)
	}
	return err
}
