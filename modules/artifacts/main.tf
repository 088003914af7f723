# The one deployment bucket of all environments and accounts. It holds the zips that run, each under its digest.

locals {
  bucket_name = "pmp-deployments-${var.account_id}-${var.region}"
  bucket_arn  = "arn:aws:s3:::${local.bucket_name}"
}

resource "aws_s3_bucket" "deployments" {
  # checkov:skip=CKV_AWS_144: what is lost with the region is built again from the commit
  # checkov:skip=CKV_AWS_18: CloudTrail's data events log it where a company wants that; objects are write-once
  # checkov:skip=CKV2_AWS_61: nothing expires: keys are written once, and a rollback needs the old ones
  # checkov:skip=CKV2_AWS_62: nothing reacts to an upload; the pipeline names the digest
  bucket = local.bucket_name
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
    Statement = concat([
      {
        Sid       = "DenyPlaintextTransport"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
        Condition = { Bool = { "aws:SecureTransport" = "false" } }
      },
      {
        Sid       = "DenyOldTls"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:*"
        Resource  = [local.bucket_arn, "${local.bucket_arn}/*"]
        Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } }
      },
      {
        # Code is written once: whoever publishes cannot put other bytes in the place of what another environment runs.
        # https://docs.aws.amazon.com/AmazonS3/latest/userguide/conditional-writes-enforce.html
        Sid       = "DenyOverwrites"
        Effect    = "Deny"
        Principal = "*"
        Action    = "s3:PutObject"
        Resource  = "${local.bucket_arn}/*"
        Condition = { Null = { "s3:if-none-match" = "true" } }
      },
      ],
      [for accounts in [sort(var.reader_account_ids)] : {
        # Accounts, and not their identities: a principal that is named has to exist. The condition leaves GitLab's alone.
        Sid       = "OtherAccountsReadCode"
        Effect    = "Allow"
        Principal = { AWS = [for id in accounts : "arn:aws:iam::${id}:root"] }
        Action    = "s3:GetObject"
        Resource  = "${local.bucket_arn}/lambda/*"
        Condition = { ArnLike = { "aws:PrincipalArn" = flatten([
          for id in accounts : [for kind in ["role", "user"] : "arn:aws:iam::${id}:${kind}/pmp/gitlab*"]
        ]) } }
    } if length(accounts) > 0])
  })

  depends_on = [aws_s3_bucket_public_access_block.deployments]
}
