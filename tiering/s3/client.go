package s3

import (
	"context"
	"errors"
	"fmt"
	"net/http"

	"github.com/aws/aws-sdk-go-v2/aws"
	v4 "github.com/aws/aws-sdk-go-v2/aws/signer/v4"
	"github.com/aws/aws-sdk-go-v2/service/s3"
	"github.com/aws/aws-sdk-go-v2/service/s3/types"
	"github.com/aws/smithy-go"
	"github.com/aws/smithy-go/middleware"
	smithyhttp "github.com/aws/smithy-go/transport/http"

	"github.com/varvelog/varve/tiering/objstore"
	"github.com/varvelog/varve/tiering/objstore/s3api"
)

// client is an s3api.Client on aws-sdk-go-v2.
type client struct {
	sdk     *s3.Client
	options s3api.Options
}

func (c *client) bucket() *string { return aws.String(c.options.Bucket) }

// optional returns nil for "", which leaves a header out.
func optional(s string) *string {
	if s == "" {
		return nil
	}
	return &s
}

// encryption returns what KMSKeyID asks for.
func (c *client) encryption() types.ServerSideEncryption {
	if c.options.KMSKeyID == "" {
		return ""
	}
	return types.ServerSideEncryptionAwsKms
}

// sign makes the signature cover the payload as s3api decided; the SDK would hash it
// once more.
func sign(payload *s3api.Payload) func(*s3.Options) {
	set := middleware.InitializeMiddlewareFunc("VarvePayloadHash",
		func(ctx context.Context, in middleware.InitializeInput, next middleware.InitializeHandler) (middleware.InitializeOutput, middleware.Metadata, error) {
			return next.HandleInitialize(v4.SetPayloadHash(ctx, payload.SHA256), in)
		})
	return s3.WithAPIOptions(func(stack *middleware.Stack) error {
		return stack.Initialize.Add(set, middleware.Before)
	})
}

// PutObject implements s3api.Client.
func (c *client) PutObject(ctx context.Context, key string, payload *s3api.Payload) (s3api.Receipt, error) {
	out, err := c.sdk.PutObject(ctx, &s3.PutObjectInput{
		Bucket: c.bucket(), Key: &key,
		Body: payload, ContentLength: aws.Int64(payload.Size()),
		ChecksumCRC32C:       optional(payload.CRC32C),
		StorageClass:         types.StorageClass(c.options.StorageClass),
		ServerSideEncryption: c.encryption(), SSEKMSKeyId: optional(c.options.KMSKeyID),
	}, sign(payload))
	if err != nil {
		return s3api.Receipt{}, err
	}
	return s3api.Receipt{ETag: aws.ToString(out.ETag), CRC32C: aws.ToString(out.ChecksumCRC32C)}, nil
}

// CreateUpload implements s3api.Client.
func (c *client) CreateUpload(ctx context.Context, key string) (string, error) {
	in := &s3.CreateMultipartUploadInput{
		Bucket: c.bucket(), Key: &key,
		StorageClass:         types.StorageClass(c.options.StorageClass),
		ServerSideEncryption: c.encryption(), SSEKMSKeyId: optional(c.options.KMSKeyID),
	}
	if c.options.Checksum == s3api.ChecksumWhenSupported {
		in.ChecksumAlgorithm = types.ChecksumAlgorithmCrc32c
	}
	out, err := c.sdk.CreateMultipartUpload(ctx, in)
	if err != nil {
		return "", err
	}
	return aws.ToString(out.UploadId), nil
}

// UploadPart implements s3api.Client.
func (c *client) UploadPart(ctx context.Context, key, upload string, number int, payload *s3api.Payload) (s3api.Receipt, error) {
	out, err := c.sdk.UploadPart(ctx, &s3.UploadPartInput{
		Bucket: c.bucket(), Key: &key, UploadId: &upload, PartNumber: aws.Int32(int32(number)), // at most MaxParts
		Body: payload, ContentLength: aws.Int64(payload.Size()),
		ChecksumCRC32C: optional(payload.CRC32C),
	}, sign(payload))
	if err != nil {
		return s3api.Receipt{}, err
	}
	return s3api.Receipt{ETag: aws.ToString(out.ETag), CRC32C: aws.ToString(out.ChecksumCRC32C)}, nil
}

// CompleteUpload implements s3api.Client.
func (c *client) CompleteUpload(ctx context.Context, key, upload string, receipts []s3api.Receipt) error {
	parts := make([]types.CompletedPart, len(receipts))
	for i, receipt := range receipts {
		parts[i] = types.CompletedPart{
			PartNumber: aws.Int32(int32(i + 1)), // at most MaxParts
			ETag:       aws.String(receipt.ETag), ChecksumCRC32C: optional(receipt.CRC32C),
		}
	}
	_, err := c.sdk.CompleteMultipartUpload(ctx, &s3.CompleteMultipartUploadInput{
		Bucket: c.bucket(), Key: &key, UploadId: &upload,
		MultipartUpload: &types.CompletedMultipartUpload{Parts: parts},
	})
	return err
}

// AbortUpload implements s3api.Client.
func (c *client) AbortUpload(ctx context.Context, key, upload string) error {
	_, err := c.sdk.AbortMultipartUpload(ctx, &s3.AbortMultipartUploadInput{Bucket: c.bucket(), Key: &key, UploadId: &upload})
	return err
}

// ListUploads implements s3api.Client.
func (c *client) ListUploads(ctx context.Context, key string) ([]string, error) {
	var ids []string
	pages := s3.NewListMultipartUploadsPaginator(c.sdk, &s3.ListMultipartUploadsInput{Bucket: c.bucket(), Prefix: &key},
		func(o *s3.ListMultipartUploadsPaginatorOptions) { o.StopOnDuplicateToken = true })
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return nil, err
		}
		for _, upload := range page.Uploads {
			if aws.ToString(upload.Key) == key {
				ids = append(ids, aws.ToString(upload.UploadId))
			}
		}
	}
	return ids, nil
}

// GetObject implements s3api.Client.
func (c *client) GetObject(ctx context.Context, key string, first, last int64) (s3api.Content, error) {
	out, err := c.sdk.GetObject(ctx, &s3.GetObjectInput{
		Bucket: c.bucket(), Key: &key, Range: aws.String(fmt.Sprintf("bytes=%d-%d", first, last)),
	})
	if err != nil {
		return s3api.Content{}, err
	}
	content := s3api.Content{Body: out.Body, Length: -1, Range: aws.ToString(out.ContentRange)}
	if out.ContentLength != nil {
		content.Length = *out.ContentLength
	}
	return content, nil
}

// HeadObject implements s3api.Client.
func (c *client) HeadObject(ctx context.Context, key string) (objstore.Object, error) {
	out, err := c.sdk.HeadObject(ctx, &s3.HeadObjectInput{Bucket: c.bucket(), Key: &key})
	if err != nil {
		return objstore.Object{}, err
	}
	return objstore.Object{Key: key, Size: aws.ToInt64(out.ContentLength), Modified: aws.ToTime(out.LastModified)}, nil
}

// DeleteObjects implements s3api.Client.
func (c *client) DeleteObjects(ctx context.Context, keys []string) (map[string]*s3api.Failure, error) {
	objects := make([]types.ObjectIdentifier, len(keys))
	for i, key := range keys {
		objects[i] = types.ObjectIdentifier{Key: aws.String(key)}
	}
	out, err := c.sdk.DeleteObjects(ctx, &s3.DeleteObjectsInput{Bucket: c.bucket(), Delete: &types.Delete{Objects: objects}})
	if err != nil {
		return nil, err
	}
	results := make(map[string]*s3api.Failure, len(keys))
	for _, deleted := range out.Deleted {
		results[aws.ToString(deleted.Key)] = nil
	}
	for _, failed := range out.Errors {
		results[aws.ToString(failed.Key)] = &s3api.Failure{Code: aws.ToString(failed.Code), Message: aws.ToString(failed.Message)}
	}
	return results, nil
}

// DeleteObject implements s3api.Client.
func (c *client) DeleteObject(ctx context.Context, key string) error {
	_, err := c.sdk.DeleteObject(ctx, &s3.DeleteObjectInput{Bucket: c.bucket(), Key: &key})
	return err
}

// List implements s3api.Client.
func (c *client) List(ctx context.Context, prefix string, yield func(objstore.Object) bool) error {
	pages := s3.NewListObjectsV2Paginator(c.sdk, &s3.ListObjectsV2Input{Bucket: c.bucket(), Prefix: &prefix},
		func(o *s3.ListObjectsV2PaginatorOptions) { o.StopOnDuplicateToken = true })
	for pages.HasMorePages() {
		page, err := pages.NextPage(ctx)
		if err != nil {
			return err
		}
		for _, object := range page.Contents {
			listed := objstore.Object{Key: aws.ToString(object.Key), Size: aws.ToInt64(object.Size), Modified: aws.ToTime(object.LastModified)}
			if !yield(listed) {
				return nil
			}
		}
	}
	return nil
}

// HeadBucket implements s3api.Client.
func (c *client) HeadBucket(ctx context.Context) error {
	_, err := c.sdk.HeadBucket(ctx, &s3.HeadBucketInput{Bucket: c.bucket()})
	return err
}

// CreateBucket implements s3api.Client. Amazon wants every region named but its first.
func (c *client) CreateBucket(ctx context.Context) error {
	in := &s3.CreateBucketInput{Bucket: c.bucket()}
	if c.options.Region != "us-east-1" {
		in.CreateBucketConfiguration = &types.CreateBucketConfiguration{
			LocationConstraint: types.BucketLocationConstraint(c.options.Region),
		}
	}
	_, err := c.sdk.CreateBucket(ctx, in)
	return err
}

// Failure implements s3api.Client. Credentials that cannot be had are a refusal: the
// SDK gives no code for them, and no request was made.
func (c *client) Failure(err error) (s3api.Failure, bool) {
	var (
		failure  s3api.Failure
		answered bool
		api      smithy.APIError
		response *smithyhttp.ResponseError
		signing  *v4.SigningError
	)
	if errors.As(err, &response) {
		failure.Status, answered = response.HTTPStatusCode(), true
	}
	if errors.As(err, &api) {
		failure.Code, failure.Message, answered = api.ErrorCode(), api.ErrorMessage(), true
	}
	if !answered && errors.As(err, &signing) {
		return s3api.Failure{Status: http.StatusForbidden, Code: "AccessDenied", Message: err.Error()}, true
	}
	if failure.Status < 300 && failure.Code == "" {
		return s3api.Failure{}, false // success, with an answer the SDK could not read
	}
	return failure, answered
}
