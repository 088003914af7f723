# The one Lambda: it answers HTTP requests, imports what lands in the bucket, and does scheduled tasks.

data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

locals {
  arn_suffix  = "${data.aws_region.this.name}:${data.aws_caller_identity.this.account_id}"
  packages    = var.code.sha256 == null
  sources     = [for file in fileset("${path.module}/../../lambda", "**") : file if !strcontains(file, "__pycache__")]
  source_hash = sha256(jsonencode({ for file in local.sources : file => filesha256("${path.module}/../../lambda/${file}") }))

  imports_bucket_arn = "arn:aws:s3:::${var.imports.bucket_name}"
  # The last part of a queue's URL is its name.
  queue_arn_by_name = { for name, url in var.queue_url_by_name : name => "arn:aws:sqs:${local.arn_suffix}:${basename(url)}" }

  # Only what was given, so that without a retention the function has no variable more.
  retention = merge(
    { for name in ["event_days", "record_days"] : name => var.retention[name] if var.retention[name] != null },
    length(var.retention.consents) == 0 ? {} : { consents = var.retention.consents },
  )
}

module "function" {
  #checkov:skip=CKV_TF_1:a registry module, pinned by its exact version
  source  = "terraform-aws-modules/lambda/aws"
  version = "7.21.1"

  function_name = var.name
  description   = "Preference management platform, release ${substr(var.code.release, 0, 12)}"
  handler       = "pmp.handler.handler"
  runtime       = "python3.13"
  architectures = ["arm64"]
  publish       = true
  memory_size   = var.memory_mb
  timeout       = var.timeout_seconds
  tracing_mode  = "Active"

  # With a digest, the zip that was promoted. The key holds the digest: the module sets no source_code_hash for an existing
  # package, so only a new key deploys.
  create_package      = local.packages
  s3_existing_package = local.packages ? null : { bucket = var.code.bucket_name, key = "lambda/${coalesce(var.code.sha256, "none")}.zip" }

  # Without one, the module packages lambda/ itself: build.py writes the files and the module zips them, without entries for
  # folders. See ADR 0310.
  source_path = local.packages ? [{
    path     = "${path.module}/package"
    commands = ["python3 ../../../lambda/build.py --directory ../../../build/package", ":zip ../../../build/package"]
    patterns = ["!.*/"]
  }] : null
  hash_extra    = local.packages ? local.source_hash : ""
  artifacts_dir = "${path.module}/../../build"
  store_on_s3   = local.packages
  s3_bucket     = local.packages ? var.code.bucket_name : null
  s3_prefix     = "lambda/"
  # The bucket has no ACLs, so S3 refuses the module's default, `private`.
  # https://docs.aws.amazon.com/AmazonS3/latest/userguide/about-object-ownership.html
  s3_acl                  = "bucket-owner-full-control"
  s3_object_storage_class = "STANDARD"
  # What was uploaded need not be on this disk: a plan on another machine builds nothing again.
  recreate_missing_package     = false
  trigger_on_package_timestamp = false

  create_role = false
  # Named by way of its policy, so that the policy is there before the function runs. A depends_on of the whole module would
  # do the same, and every change of the policy would plan a change of the function.
  lambda_role = "arn:aws:iam::${data.aws_caller_identity.this.account_id}:role${aws_iam_role.function.path}${aws_iam_role_policy.function.role}"

  reserved_concurrent_executions = var.reserved_concurrency
  vpc_subnet_ids                 = var.network.subnet_ids
  vpc_security_group_ids         = [var.network.security_group_id]

  environment_variables = merge(var.environment_variables, {
    PMP_ENVIRONMENT     = var.environment
    PMP_RELEASE         = var.code.release
    PMP_CODE_SHA256     = coalesce(var.code.sha256, "unknown")
    PMP_DATABASE_HOST   = var.database.host
    PMP_DATABASE_PORT   = tostring(var.database.port)
    PMP_DATABASE_NAME   = var.database.name
    PMP_DATABASE_USER   = var.database.user
    PMP_IMPORTS_BUCKET  = var.imports.bucket_name
    PMP_JOBS_QUEUE_URL  = var.queue_url_by_name["jobs"]
    PMP_VENDOR_LIST_URL = var.vendor_list_url
    PMP_API_URL         = var.api_url
    PMP_TOKEN_URL       = var.token_url

    PMP_DELIVERIES_QUEUE_URL   = var.queue_url_by_name["deliveries"]
    PMP_LOOPBACK_RECEIVERS     = tostring(var.allow_loopback_receivers)
    PMP_ERASURES_BUCKET        = var.erasure.bucket_name
    PMP_ERASURE_KEY_SECRET_ARN = var.erasure.key_secret_arn
    PMP_TOKEN_KEY_SECRET_ARN   = var.token_key_secret_arn
    PMP_BACKUP_RETENTION_DAYS  = tostring(var.erasure.backup_retention_days)
    PMP_UPLOAD_RETENTION_DAYS  = tostring(var.imports.retention_days)
    }, length(local.retention) == 0 ? {} : {
    PMP_RETENTION = jsonencode(local.retention)
  }, { for host in var.database.reader_host[*] : "PMP_DATABASE_READER_HOST" => host })

  # An import that needs longer than one invocation sends itself to the queue that invokes the function; Lambda would stop
  # the chain after about 16 rounds. The database ends it: a job that gets no further is given up.
  # https://docs.aws.amazon.com/lambda/latest/dg/invocation-recursion.html
  recursive_loop = "Allow"

  cloudwatch_logs_retention_in_days = var.log_retention_days
  cloudwatch_logs_kms_key_id        = var.kms_key_arn
  include_default_tag               = false
}

# What invokes the function, invokes this alias. Terraform makes it and publishes a version with each change; which versions
# serve the alias is not configuration: `python -m ops canary` moves it (ADR 0610). Without ignore_changes, an apply would
# give a version all requests at once, and end a canary.
resource "aws_lambda_alias" "live" {
  name             = "live"
  description      = "The version that serves; python -m ops canary moves it"
  function_name    = module.function.lambda_function_name
  function_version = module.function.lambda_function_version

  lifecycle {
    ignore_changes = [function_version, routing_config]
  }
}

# Failed schedules are tried again, and end in a queue that an alarm watches. These settings are the alias's own:
# https://docs.aws.amazon.com/lambda/latest/api/API_PutFunctionEventInvokeConfig.html
resource "aws_lambda_function_event_invoke_config" "live" {
  function_name                = aws_lambda_alias.live.function_name
  qualifier                    = aws_lambda_alias.live.name
  maximum_retry_attempts       = 2
  maximum_event_age_in_seconds = 21600

  destination_config {
    on_failure {
      destination = local.queue_arn_by_name["failed_events"]
    }
  }
}
