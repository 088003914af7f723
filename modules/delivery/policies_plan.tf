# What planning needs: to read metadata. It takes no lock (plans run with -lock=false), and reads no secret: the code that
# a merge request plans with is the merge request's own.

locals {
  # Reads that hand out what a plan has no use for: secrets (an OAuth client's description holds its secret), objects.
  not_for_plans = [
    "cognito-idp:DescribeUserPoolClient", "s3:GetObject", "s3:GetObjectVersion", "s3:ListBucketVersions",
    "secretsmanager:GetSecretValue", "ssm:GetParameters",
  ]

  plan_statements = {
    state = concat(
      [for statement in local.delivery_statements.state : statement if contains(["FindStates", "ReadStates", "ReadAccountLayer", "ListParameters"], statement.Sid)],
      [{
        Sid       = "ReadUnderStateKeyThroughS3"
        Effect    = "Allow"
        Action    = ["kms:Decrypt"]
        Resource  = var.kms_key_arn
        Condition = { StringEquals = { "kms:ViaService" = "s3.${var.region}.amazonaws.com" } }
        }, {
        Sid      = "ReadHandOver"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter", "ssm:GetParametersByPath", "ssm:ListTagsForResource"]
        Resource = local.parameters
        },
        local.only_own_tags,
      ],
      [for role in var.hosted_zone_roles[*] : {
        Sid      = "ReadRecordsOfAnotherAccount"
        Effect   = "Allow"
        Action   = ["sts:AssumeRole"]
        Resource = role.reader_arn
      }],
    )
    # The same reads, on the same resources and conditions, as the delivery identity has.
    read-foundation = flatten([for concern in ["network", "database", "options", "runner"] : local.plan_reads[concern]])
    read-service    = flatten([for concern in ["monitoring", "service", "iam"] : local.plan_reads[concern]])
  }

  plan_reads = {
    for concern, statements in local.delivery_statements : concern => [
      for statement in statements : merge(
        { for name, element in statement : name => element if name == "Condition" },
        {
          Sid      = statement.Sid
          Effect   = "Allow"
          Resource = statement.Resource
          Action = [
            for action in statement.Action : action
            if can(regex(":(Describe|Get|List|GET$)", action)) && !contains(local.not_for_plans, action)
          ]
          }) if !startswith(statement.Sid, "UseMasterSecret") && length([
          for action in try(statement.Action, []) : action
          if statement.Effect == "Allow" && can(regex(":(Describe|Get|List|GET$)", action)) && !contains(local.not_for_plans, action)
      ]) > 0
    ] if contains(["network", "database", "options", "runner", "monitoring", "service", "iam"], concern)
  }
}
