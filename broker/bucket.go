package broker

import (
	"fmt"

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

// BucketName describes the bucket for people.
func (b *Broker) BucketName() string { return b.bucket.Name() }
