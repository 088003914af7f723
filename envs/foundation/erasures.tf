# What has to outlive the database, because a restore takes the database back to a time before an erasure: the journal of
# erasures, and the key of the hashes in it. Neither holds an address (docs/adr/0209).
locals {
  erasures_bucket     = "${local.name}-erasures-${local.account_id}-${local.region}"
  erasures_bucket_arn = "arn:aws:s3:::${local.erasures_bucket}"
  # A protected environment keeps its journal against everybody: to delete from it, this policy has to be changed first.
  erasures_denied = concat(
    [
      { Sid = "DenyPlaintextTransport", Action = "s3:*", Condition = { Bool = { "aws:SecureTransport" = "false" } } },
      { Sid = "DenyOldTls", Action = "s3:*", Condition = { NumericLessThan = { "s3:TlsVersion" = "1.2" } } },
    ],
    [
      for action in ["s3:DeleteObject", "s3:DeleteObjectVersion"] :
      { Sid = "Keep${trimprefix(action, "s3:")}", Action = action, Condition = {} }
      if var.foundation.database.enable_protection
    ],
  )
}

resource "aws_s3_bucket" "erasures" {
  # checkov:skip=CKV_AWS_144: whoever copies backups to another region copies it too, docs/operations.md
  # checkov:skip=CKV_AWS_18: CloudTrail's data events log it where a company wants that; entries hold no address
  # checkov:skip=CKV2_AWS_61: nothing expires: a restored snapshot of any age has to learn of every erasure since
  # checkov:skip=CKV2_AWS_62: nothing reacts to an entry; python -m ops replay-erasures reads them
  bucket        = local.erasures_bucket
  force_destroy = !var.foundation.database.enable_protection
}

resource "aws_s3_bucket_versioning" "erasures" {
  bucket = aws_s3_bucket.erasures.id

  versioning_configuration {
    status = "Enabled"
  }
}

resource "aws_s3_bucket_server_side_encryption_configuration" "erasures" {
  bucket = aws_s3_bucket.erasures.id

  rule {
    bucket_key_enabled = true

    apply_server_side_encryption_by_default {
      sse_algorithm     = "aws:kms"
      kms_master_key_id = aws_kms_key.this.arn
    }
  }
}

resource "aws_s3_bucket_public_access_block" "erasures" {
  bucket                  = aws_s3_bucket.erasures.id
  block_public_acls       = true
  block_public_policy     = true
  ignore_public_acls      = true
  restrict_public_buckets = true
}

resource "aws_s3_bucket_ownership_controls" "erasures" {
  bucket = aws_s3_bucket.erasures.id

  rule {
    object_ownership = "BucketOwnerEnforced"
  }
}

resource "aws_s3_bucket_policy" "erasures" {
  bucket = aws_s3_bucket.erasures.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [for statement in local.erasures_denied : merge(
      { for name, value in statement : name => value if name != "Condition" || length(value) > 0 },
      { Effect = "Deny", Principal = "*", Resource = [local.erasures_bucket_arn, "${local.erasures_bucket_arn}/*"] },
    )]
  })

  depends_on = [aws_s3_bucket_public_access_block.erasures]
}

# Empty: the migration job makes the key, as it makes the passwords, and never replaces it. With another key, no erased
# person would be recognised.
resource "aws_secretsmanager_secret" "erasure_key" {
  # checkov:skip=CKV2_AWS_57: never rotated, see above
  name                    = "pmp/${var.environment}/erasure-key"
  description             = "Key of the hashes by which erased addresses are recognised"
  kms_key_id              = aws_kms_key.this.arn
  recovery_window_in_days = var.foundation.database.enable_protection ? 30 : 0
}
