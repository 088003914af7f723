output "bucket_name" {
  description = "Bucket that holds the code to run, as `lambda/<sha256>.zip`."
  value       = aws_s3_bucket.deployments.id

  # Nothing may be uploaded before the bucket is closed and encrypts.
  depends_on = [
    aws_s3_bucket_policy.deployments,
    aws_s3_bucket_public_access_block.deployments,
    aws_s3_bucket_server_side_encryption_configuration.deployments,
    aws_s3_bucket_versioning.deployments,
  ]
}
