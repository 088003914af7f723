locals {
  deployment_bucket_name = "pmp-deployments-${var.account_id}-${var.region}"
}

# Holds the zips that run, each under its digest. The state's key encrypts them: the same principals write and read both.
resource "aws_s3_bucket" "deployments" {
  # checkov:skip=CKV_AWS_144: what is lost with the region is built again from the commit
  # checkov:skip=CKV_AWS_18: CloudTrail's data events log it where a company wants that; objects are write-once
  # checkov:skip=CKV2_AWS_61: nothing expires: keys are written once, and a rollback needs the old ones
  # checkov:skip=CKV2_AWS_62: nothing reacts to an upload; the pipeline names the digest
  bucket = local.deployment_bucket_name
}

resource "aws_s3_bucket_versioning" "deployments" {
  bucket = aws_s3_bucket.deployments.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "deployments" {
  bucket = aws_s3_bucket.deployments.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = var.kms_key_arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "deployments" {
  bucket                  = aws_s3_bucket.deployments.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "deployments" {
  bucket = aws_s3_bucket.deployments.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "deployments" {
  bucket = aws_s3_bucket.deployments.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid       = "DenyPlaintextTransport"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.arn.deploys, "${local.arn.deploys}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "DenyOldTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.arn.deploys, "${local.arn.deploys}/*"]
        Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      },
    ]
  })

  depends_on = [aws_s3_bucket_public_access_block.deployments]
}
