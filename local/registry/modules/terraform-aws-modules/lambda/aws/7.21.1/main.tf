# Stand-in for terraform-aws-modules/lambda/aws 7.21.1, written for PMP: it has the part that PMP uses, so that plan
# and apply work in a network without the registry. See ADR 0301.

locals {
  # As the module does: the name is a hash of what the package is made from, and a new name deploys.
  archive = "${var.artifacts_dir}/${sha256(jsonencode([var.source_path, var.runtime, var.hash_extra]))}.zip"
}

resource "terraform_data" "archive" {
  count = var.create_package ? 1 : 0

  triggers_replace = [local.archive]

  provisioner "local-exec" {
    command     = "python3 ${path.module}/package.py"
    environment = { PACKAGE = jsonencode(merge(var.source_path[0], { archive = local.archive })) }
  }
}

resource "aws_s3_object" "lambda_package" {
  count = var.create_package && var.store_on_s3 ? 1 : 0

  bucket        = var.s3_bucket
  acl           = var.s3_acl
  key           = "${var.s3_prefix}${basename(local.archive)}"
  source        = local.archive
  storage_class = var.s3_object_storage_class

  depends_on = [terraform_data.archive]
}

resource "aws_cloudwatch_log_group" "lambda" {
  count = 1

  name              = "/aws/lambda/${var.function_name}"
  retention_in_days = var.cloudwatch_logs_retention_in_days
  kms_key_id        = var.cloudwatch_logs_kms_key_id
}

resource "aws_lambda_function" "this" {
  count = 1

  function_name                  = var.function_name
  description                    = var.description
  role                           = var.lambda_role
  handler                        = var.handler
  runtime                        = var.runtime
  architectures                  = var.architectures
  memory_size                    = var.memory_size
  timeout                        = var.timeout
  reserved_concurrent_executions = var.reserved_concurrent_executions
  package_type                   = "Zip"
  publish                        = var.publish
  s3_bucket                      = try(var.s3_existing_package["bucket"], aws_s3_object.lambda_package[0].bucket, null)
  s3_key                         = try(var.s3_existing_package["key"], aws_s3_object.lambda_package[0].key, null)
  s3_object_version              = try(var.s3_existing_package["version_id"], aws_s3_object.lambda_package[0].version_id, null)

  ephemeral_storage {
    size = 512
  }

  logging_config {
    log_format = "Text"
  }

  dynamic "environment" {
    for_each = length(var.environment_variables) > 0 ? [var.environment_variables] : []

    content {
      variables = environment.value
    }
  }

  dynamic "tracing_config" {
    for_each = var.tracing_mode[*]

    content {
      mode = tracing_config.value
    }
  }

  dynamic "vpc_config" {
    for_each = var.vpc_subnet_ids != null && var.vpc_security_group_ids != null ? [1] : []

    content {
      security_group_ids = var.vpc_security_group_ids
      subnet_ids         = var.vpc_subnet_ids
    }
  }

  tags = var.include_default_tag ? { terraform-aws-modules = "lambda" } : {}

  # If the function were invoked before the group exists, Lambda would create a group without retention or key.
  depends_on = [aws_cloudwatch_log_group.lambda]
}

resource "aws_lambda_function_recursion_config" "this" {
  count = var.recursive_loop == "Allow" ? 1 : 0

  function_name  = aws_lambda_function.this[0].function_name
  recursive_loop = var.recursive_loop
}
