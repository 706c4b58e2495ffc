package s3_test

import (
	"fmt"
	"strings"
	"sync/atomic"
	"testing"

	"github.com/varvelog/varve/test/stores"
	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/objstore/objstoretest"
	"github.com/varvelog/varve/tiering/objstore/s3api"
	"github.com/varvelog/varve/tiering/s3"
)

// prefixes gives every Bucket of this test run a place of its own.
var prefixes atomic.Int64

func options(endpoint string) s3.Options {
	return s3.Options{
		Endpoint: endpoint, Bucket: "varve-test", Prefix: fmt.Sprintf("p%d/", prefixes.Add(1)), Region: stores.Region,
		AccessKeyID: stores.AccessKeyID, SecretAccessKey: stores.SecretAccessKey, PathStyle: true,
		SinglePutSize: s3api.MinPartSize, PartSize: s3api.MinPartSize, CreateBucket: true,
	}
}

func open(t *testing.T, o s3.Options) objstore.Bucket {
	t.Helper()
	b, err := s3.New(o)
	if err != nil {
		t.Fatal(err)
	}
	if err := b.Check(t.Context()); err != nil {
		t.Fatal(err)
	}
	return b
}

func TestBucketPassesTheSuiteOnMinIO(t *testing.T) {
	runSuite(t, stores.MinIO(t), s3api.ChecksumWhenRequired, 2100)
}

func TestBucketPassesTheSuiteOnVersityGW(t *testing.T) {
	runSuite(t, stores.VersityGW(t), s3api.ChecksumWhenRequired, 2100)
}

func TestBucketPassesTheSuiteWithChecksums(t *testing.T) {
	runSuite(t, stores.MinIO(t), s3api.ChecksumWhenSupported, 1100)
}

func runSuite(t *testing.T, store *stores.Store, checksum s3api.Checksum, keys int) {
	objstoretest.Run(t, objstoretest.Suite{
		PartSize: s3api.MinPartSize,
		Keys:     keys,
		Open: func(t *testing.T) objstore.Bucket {
			o := options(store.Endpoint)
			o.Checksum = checksum
			return open(t, o)
		},
	})
}

func TestFaultsOfTheStore(t *testing.T) {
	stores.RunFaults(t, stores.MinIO(t), func(t *testing.T, o s3api.Options) objstore.Bucket {
		b, err := s3.New(o)
		if err != nil {
			t.Fatal(err)
		}
		return b
	})
}

func TestNewRefusesWhatCannotWork(t *testing.T) {
	tests := []struct {
		name   string
		change func(*s3.Options)
		want   string
	}{
		{"no secret", func(o *s3.Options) { o.SecretAccessKey = "" }, "needed both"},
		{"endpoint without scheme", func(o *s3.Options) { o.Endpoint = "localhost:9000" }, "not of the form"},
		{"no bucket", func(o *s3.Options) { o.Bucket = "" }, "bucket name"},
		{"small parts", func(o *s3.Options) { o.PartSize = 1 << 20 }, "part size"},
		{"unknown checksum", func(o *s3.Options) { o.Checksum = "md5" }, "checksum"},
	}
	for _, tt := range tests {
		o := options("http://127.0.0.1:9000")
		tt.change(&o)
		if _, err := s3.New(o); err == nil || !strings.Contains(err.Error(), tt.want) {
			t.Errorf("%s: New = %v, want an error with %q", tt.name, err, tt.want)
		}
	}
}
