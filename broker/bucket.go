package broker

import (
	"context"
	"fmt"
	"time"

	"go.uber.org/zap"

	"github.com/varvelog/varve/broker/config"
	"github.com/varvelog/varve/tiering/file"
	"github.com/varvelog/varve/tiering/minio"
	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/objstore/s3api"
	"github.com/varvelog/varve/tiering/s3"
)

// newBucket makes the driver that varve.bucket names. It talks to no server.
func newBucket(c *config.Broker) (objstore.Bucket, error) {
	switch c.Bucket.Driver {
	case "file":
		return file.New(file.Options{Dir: c.Bucket.Dir})
	case "minio":
		return minio.New(s3Options(&c.Bucket))
	case "s3":
		return s3.New(s3Options(&c.Bucket))
	}
	return nil, fmt.Errorf("varve.bucket: no driver %q", c.Bucket.Driver)
}

func s3Options(c *config.Bucket) s3api.Options {
	return s3api.Options{
		Bucket: c.Name, Prefix: c.Prefix, Endpoint: c.Endpoint, Region: c.Region,
		AccessKeyID: c.AccessKeyID, SecretAccessKey: c.SecretAccessKey, SessionToken: c.SessionToken,
		PathStyle: c.PathStyle, StorageClass: c.StorageClass, KMSKeyID: c.KMSKeyID, CreateBucket: c.Create, Checksum: s3api.Checksum(c.Checksum),
	}
}

// bucketCheckInterval is how soon a bucket that was not there is tried again.
const bucketCheckInterval = time.Second

// checkBucket tries the bucket until it lets us in, and creates it where it is missing
// and that is allowed. Nothing waits for it: a broker serves what is on disk while the
// bucket is away. What is wrong is said when it changes, not at every try.
func (b *Broker) checkBucket(ctx context.Context) error {
	c, ok := b.bucket.(objstore.Checker)
	if !ok {
		return nil
	}
	timer := time.NewTimer(0)
	defer timer.Stop()
	for said := ""; ; timer.Reset(bucketCheckInterval) {
		select {
		case <-ctx.Done():
			return nil
		case <-timer.C:
		}
		checkCtx, cancel := context.WithTimeout(ctx, b.config().BucketTimeout)
		err := c.Check(checkCtx)
		cancel()
		if err == nil {
			if said != "" {
				b.Log.Info("the bucket is there", zap.String("bucket", b.bucket.Name()))
			}
			return nil
		}
		if err.Error() != said && ctx.Err() == nil {
			said = err.Error()
			b.Log.Warn("the bucket cannot be used, and segments stay on disk", zap.Error(err))
		}
	}
}

// BucketName describes the bucket for people.
func (b *Broker) BucketName() string { return b.bucket.Name() }
