package minio

import (
	"context"
	"errors"
	"iter"

	miniogo "github.com/minio/minio-go/v7"
	"github.com/minio/minio-go/v7/pkg/encrypt"

	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/objstore/s3api"
)

// Headers that minio-go has no field for in single requests. It sends "metadata" of
// these names as the headers they are.
const (
	headerCRC32C            = "X-Amz-Checksum-Crc32c"
	headerChecksumAlgorithm = "X-Amz-Checksum-Algorithm"
)

// client is an s3api.Client on minio-go's Core, whose methods are one request each.
type client struct {
	core    *miniogo.Core
	options s3api.Options
}

// putOptions returns what every object is created with.
func (c *client) putOptions() (miniogo.PutObjectOptions, error) {
	o := miniogo.PutObjectOptions{
		StorageClass:         c.options.StorageClass,
		DisableContentSha256: true, // s3api computed it where it is wanted; no chunked signing
		UserMetadata:         map[string]string{},
	}
	if c.options.KMSKeyID == "" {
		return o, nil
	}
	sse, err := encrypt.NewSSEKMS(c.options.KMSKeyID, nil)
	o.ServerSideEncryption = sse
	return o, err
}

// signedSHA256 is the payload's SHA-256 as minio-go takes it: "" is unsigned.
func signedSHA256(p *s3api.Payload) string {
	if p.SHA256 == s3api.UnsignedPayload {
		return ""
	}
	return p.SHA256
}

// PutObject implements s3api.Client.
func (c *client) PutObject(ctx context.Context, key string, payload *s3api.Payload) (s3api.Receipt, error) {
	o, err := c.putOptions()
	if err != nil {
		return s3api.Receipt{}, err
	}
	if payload.CRC32C != "" {
		o.UserMetadata[headerCRC32C] = payload.CRC32C
	}
	info, err := c.core.PutObject(ctx, c.options.Bucket, key, payload, payload.Size(), "", signedSHA256(payload), o)
	return s3api.Receipt{ETag: info.ETag, CRC32C: info.ChecksumCRC32C}, err
}

// CreateUpload implements s3api.Client.
func (c *client) CreateUpload(ctx context.Context, key string) (string, error) {
	o, err := c.putOptions()
	if err != nil {
		return "", err
	}
	if c.options.Checksum == s3api.ChecksumWhenSupported {
		o.UserMetadata[headerChecksumAlgorithm] = "CRC32C"
	}
	return c.core.NewMultipartUpload(ctx, c.options.Bucket, key, o)
}

// UploadPart implements s3api.Client.
func (c *client) UploadPart(ctx context.Context, key, upload string, number int, payload *s3api.Payload) (s3api.Receipt, error) {
	o := miniogo.PutObjectPartOptions{Sha256Hex: signedSHA256(payload), DisableContentSha256: true}
	if payload.CRC32C != "" {
		o.CustomHeader = map[string][]string{headerCRC32C: {payload.CRC32C}}
	}
	part, err := c.core.PutObjectPart(ctx, c.options.Bucket, key, upload, number, payload, payload.Size(), o)
	return s3api.Receipt{ETag: part.ETag, CRC32C: part.ChecksumCRC32C}, err
}

// CompleteUpload implements s3api.Client.
func (c *client) CompleteUpload(ctx context.Context, key, upload string, receipts []s3api.Receipt) error {
	parts := make([]miniogo.CompletePart, len(receipts))
	for i, receipt := range receipts {
		parts[i] = miniogo.CompletePart{PartNumber: i + 1, ETag: receipt.ETag, ChecksumCRC32C: receipt.CRC32C}
	}
	_, err := c.core.CompleteMultipartUpload(ctx, c.options.Bucket, key, upload, parts, miniogo.PutObjectOptions{})
	return err
}

// AbortUpload implements s3api.Client.
func (c *client) AbortUpload(ctx context.Context, key, upload string) error {
	return c.core.AbortMultipartUpload(ctx, c.options.Bucket, key, upload)
}

// ListUploads implements s3api.Client.
func (c *client) ListUploads(ctx context.Context, key string) ([]string, error) {
	var ids []string
	for keyMarker, idMarker := "", ""; ; {
		page, err := c.core.ListMultipartUploads(ctx, c.options.Bucket, key, keyMarker, idMarker, "", 0)
		if err != nil {
			return nil, err
		}
		for _, upload := range page.Uploads {
			if upload.Key == key {
				ids = append(ids, upload.UploadID)
			}
		}
		again := page.NextKeyMarker == keyMarker && page.NextUploadIDMarker == idMarker
		if !page.IsTruncated || again {
			return ids, nil
		}
		keyMarker, idMarker = page.NextKeyMarker, page.NextUploadIDMarker
	}
}

// GetObject implements s3api.Client.
func (c *client) GetObject(ctx context.Context, key string, first, last int64) (s3api.Content, error) {
	var o miniogo.GetObjectOptions
	if err := o.SetRange(first, last); err != nil {
		return s3api.Content{}, err
	}
	body, info, header, err := c.core.GetObject(ctx, c.options.Bucket, key, o)
	return s3api.Content{Body: body, Length: info.Size, Range: header.Get("Content-Range")}, err
}

// HeadObject implements s3api.Client.
func (c *client) HeadObject(ctx context.Context, key string) (objstore.Object, error) {
	info, err := c.core.StatObject(ctx, c.options.Bucket, key, miniogo.StatObjectOptions{})
	return objstore.Object{Key: key, Size: info.Size, Modified: info.LastModified}, err
}

// DeleteObjects implements s3api.Client. minio-go hides two failures that mean a
// missing version; such a key has no result here and counts as unanswered.
func (c *client) DeleteObjects(ctx context.Context, keys []string) (map[string]*s3api.Failure, error) {
	answers, err := c.core.RemoveObjectsWithIter(ctx, c.options.Bucket, objectInfos(keys), miniogo.RemoveObjectsOptions{})
	if err != nil {
		return nil, err
	}
	results := make(map[string]*s3api.Failure, len(keys))
	for answer := range answers {
		if answer.Err == nil {
			results[answer.ObjectName] = nil
			continue
		}
		failure, ok := c.Failure(answer.Err)
		if !ok || failure.Status != 0 { // of the request, not of one key in its answer
			return nil, answer.Err
		}
		results[answer.ObjectName] = &failure
	}
	return results, ctx.Err()
}

func objectInfos(keys []string) iter.Seq[miniogo.ObjectInfo] {
	return func(yield func(miniogo.ObjectInfo) bool) {
		for _, key := range keys {
			if !yield(miniogo.ObjectInfo{Key: key}) {
				return
			}
		}
	}
}

// DeleteObject implements s3api.Client.
func (c *client) DeleteObject(ctx context.Context, key string) error {
	return c.core.RemoveObject(ctx, c.options.Bucket, key, miniogo.RemoveObjectOptions{})
}

// List implements s3api.Client.
func (c *client) List(ctx context.Context, prefix string, yield func(objstore.Object) bool) error {
	noOwner := false
	o := miniogo.ListObjectsOptions{Prefix: prefix, Recursive: true, FetchOwner: &noOwner}
	for info := range c.core.ListObjectsIter(ctx, c.options.Bucket, o) {
		if info.Err != nil {
			return info.Err
		}
		if !yield(objstore.Object{Key: info.Key, Size: info.Size, Modified: info.LastModified}) {
			return nil
		}
	}
	return ctx.Err() // minio-go ends quietly with it
}

// HeadBucket implements s3api.Client.
func (c *client) HeadBucket(ctx context.Context) error {
	exists, err := c.core.BucketExists(ctx, c.options.Bucket)
	if err == nil && !exists {
		return objstore.ErrNoBucket
	}
	return err
}

// CreateBucket implements s3api.Client.
func (c *client) CreateBucket(ctx context.Context) error {
	return c.core.MakeBucket(ctx, c.options.Bucket, miniogo.MakeBucketOptions{Region: c.options.Region})
}

// localCodes are failures minio-go invents without having asked the server.
var localCodes = map[string]bool{miniogo.InvalidArgument: true, miniogo.InvalidBucketName: true}

// Failure implements s3api.Client. Where the answer had no XML, minio-go's code is the
// status line, which says no more than the status.
func (c *client) Failure(err error) (s3api.Failure, bool) {
	var response miniogo.ErrorResponse
	if !errors.As(err, &response) || response.RequestID == "minio" && localCodes[response.Code] {
		return s3api.Failure{}, false
	}
	return s3api.Failure{Status: response.StatusCode, Code: response.Code, Message: response.Message}, true
}
