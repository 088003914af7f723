resource "aws_iam_role" "function" {
  name                 = "${var.name}-function"
  path                 = "/pmp/"
  description          = "What the function may do"
  permissions_boundary = var.permissions_boundary_arn
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "lambda.amazonaws.com" }
      Action    = "sts:AssumeRole"
    }]
  })
}

resource "aws_iam_role_policy" "function" {
  name = "function"
  role = aws_iam_role.function.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [
      {
        Sid      = "WriteLogs"
        Effect   = "Allow"
        Action   = ["logs:CreateLogStream", "logs:PutLogEvents"]
        Resource = "arn:aws:logs:${local.arn_suffix}:log-group:/aws/lambda/${var.name}:*"
      },
      {
        # These actions have no resource types.
        Sid      = "WriteTraces"
        Effect   = "Allow"
        Action   = ["xray:PutTelemetryRecords", "xray:PutTraceSegments"]
        Resource = "*"
      },
      {
        # Lambda makes its interfaces in the private subnets as this role; most of these actions have no resource types.
        Sid    = "AttachToVpc"
        Effect = "Allow"
        Action = [
          "ec2:AssignPrivateIpAddresses", "ec2:CreateNetworkInterface", "ec2:DeleteNetworkInterface",
          "ec2:DescribeNetworkInterfaces", "ec2:DescribeSecurityGroups", "ec2:DescribeSubnets", "ec2:DescribeVpcs",
          "ec2:GetSecurityGroupsForVpc", "ec2:UnassignPrivateIpAddresses",
        ]
        Resource = "*"
      },
      {
        Sid      = "ConnectToDatabase"
        Effect   = "Allow"
        Action   = ["rds-db:connect"]
        Resource = "arn:aws:rds-db:${local.arn_suffix}:dbuser:${var.database.proxy_resource_id}/${var.database.user}"
      },
      {
        Sid      = "FindImports"
        Effect   = "Allow"
        Action   = ["s3:ListBucket", "s3:ListBucketVersions"]
        Resource = local.imports_bucket_arn
      },
      {
        Sid      = "ReadImportsAndResults"
        Effect   = "Allow"
        Action   = ["s3:GetObject", "s3:GetObjectVersion"]
        Resource = [for prefix in ["imports", "rejects", "exports"] : "${local.imports_bucket_arn}/${prefix}/*"]
      },
      {
        # `imports/` for the upload addresses that it presigns.
        Sid      = "WriteResultsAndUploads"
        Effect   = "Allow"
        Action   = ["s3:AbortMultipartUpload", "s3:PutObject"]
        Resource = [for prefix in ["imports", "rejects", "exports"] : "${local.imports_bucket_arn}/${prefix}/*"]
      },
      {
        # In all their versions: an upload after its import, rejected lines and an export after their retention.
        Sid      = "RemoveUploadsAndResults"
        Effect   = "Allow"
        Action   = ["s3:DeleteObjectVersion"]
        Resource = [for prefix in ["imports", "rejects", "exports"] : "${local.imports_bucket_arn}/${prefix}/*"]
      },
      {
        # It may add to the journal, and neither read nor delete there.
        Sid      = "RecordErasures"
        Effect   = "Allow"
        Action   = ["s3:PutObject"]
        Resource = "arn:aws:s3:::${var.erasure.bucket_name}/erasures/*"
      },
      {
        Sid      = "ReadKeys"
        Effect   = "Allow"
        Action   = ["secretsmanager:GetSecretValue"]
        Resource = [var.erasure.key_secret_arn, var.token_key_secret_arn]
      },
      {
        Sid       = "UseKeyThroughServices"
        Effect    = "Allow"
        Action    = ["kms:Decrypt", "kms:GenerateDataKey"]
        Resource  = var.kms_key_arn
        Condition = { StringEquals = { "kms:ViaService" = [for service in ["s3", "secretsmanager"] : "${service}.${data.aws_region.this.name}.amazonaws.com"] } }
      },
      {
        # The first two for itself, the others for Lambda, which polls the queue as this role.
        # https://docs.aws.amazon.com/lambda/latest/dg/services-sqs-configure.html#events-sqs-permissions
        Sid      = "WorkOnJobs"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage", "sqs:ChangeMessageVisibility", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
        Resource = local.queue_arn_by_name["jobs"]
      },
      {
        Sid      = "TellSubscriptions"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage", "sqs:DeleteMessage", "sqs:GetQueueAttributes", "sqs:ReceiveMessage"]
        Resource = local.queue_arn_by_name["deliveries"]
      },
      {
        Sid      = "SendFailedEvents"
        Effect   = "Allow"
        Action   = ["sqs:SendMessage"]
        Resource = local.queue_arn_by_name["failed_events"]
      },
    ]
  })
}
