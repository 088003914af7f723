# What planning needs: to read, and to take and release the state's lock.

locals {
  # Reads that hand out what a plan has no use for.
  not_for_plans = ["s3:GetObject"]

  plan_statements = {
    state = concat(
      [for statement in local.delivery_statements.state : statement if contains(["FindStates", "ReadStates", "LockStates", "UseStateKeyThroughS3", "ReadAccountLayer", "ListParameters"], statement.Sid)],
      [{
        Sid      = "ReadHandOver"
        Effect   = "Allow"
        Action   = ["ssm:GetParameter", "ssm:GetParametersByPath", "ssm:ListTagsForResource"]
        Resource = [for environment in var.environments : "${local.arn.prefix.ssm}:parameter/pmp/${environment}/*"]
      }],
    )
    # The same reads, on the same resources, as the delivery identity has.
    read-foundation = concat(
      flatten([for concern in ["network", "database", "runner"] : local.plan_reads[concern]]),
      # The provider refreshes a secret's version by reading it.
      [for statement in local.delivery_statements.database : merge(statement, { Action = ["kms:Decrypt"] }) if statement.Sid == "ReadSecretsUnderOwnKeys"],
    )
    read-service = flatten([for concern in ["monitoring", "service", "iam"] : local.plan_reads[concern]])
  }

  plan_reads = {
    for concern, statements in local.delivery_statements : concern => [
      for statement in statements : {
        Sid      = statement.Sid
        Effect   = "Allow"
        Resource = statement.Resource
        Action = [
          for action in statement.Action : action
          if can(regex(":(Describe|Get|List|GET$)", action)) && !contains(local.not_for_plans, action)
        ]
        } if statement.Sid != "UseMasterSecret" && length([
          for action in try(statement.Action, []) : action
          if statement.Effect == "Allow" && can(regex(":(Describe|Get|List|GET$)", action)) && !contains(local.not_for_plans, action)
      ]) > 0
    ] if contains(["network", "database", "runner", "monitoring", "service", "iam"], concern)
  }
}
