resource "aws_iam_role" "scheduler" {
  name                 = "${var.name}-scheduler"
  path                 = "/pmp/"
  description          = "Lets EventBridge Scheduler invoke the function"
  permissions_boundary = var.permissions_boundary_arn
  assume_role_policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Effect    = "Allow"
      Principal = { Service = "scheduler.amazonaws.com" }
      Action    = "sts:AssumeRole"
      Condition = { StringEquals = { "aws:SourceAccount" = data.aws_caller_identity.this.account_id } }
    }]
  })
}

resource "aws_iam_role_policy" "scheduler" {
  name = "invoke"
  role = aws_iam_role.scheduler.id
  policy = jsonencode({
    Version = "2012-10-17"
    Statement = [{
      Sid      = "InvokeTheFunction"
      Effect   = "Allow"
      Action   = ["lambda:InvokeFunction"]
      Resource = aws_lambda_alias.live.arn
    }]
  })
}

locals {
  schedules = merge(
    { for task, expression in var.schedules : task => { expression = expression, input = jsonencode({ task = task }) } },
    # The function finds out for which days there is no export: a schedule that did not come is made up by the next.
    { for name, one in var.exports : "export-${name}" => {
      expression = format("cron(%d %d * * ? *)", tonumber(split(":", one.at)[1]), tonumber(split(":", one.at)[0]))
      input = jsonencode({
        task     = "scheduled_export"
        schedule = { name = name, contents = one.contents, format = one.format, at = one.at, folder = coalesce(one.folder, name) }
      })
    } },
  )
}

resource "aws_scheduler_schedule" "this" {
  # checkov:skip=CKV_AWS_297: the input names a task; there is nothing to encrypt
  for_each = local.schedules

  name                = "${var.name}-${replace(each.key, "_", "-")}"
  description         = "Invokes the function with the task ${each.key}"
  schedule_expression = each.value.expression

  flexible_time_window {
    mode                      = "FLEXIBLE"
    maximum_window_in_minutes = 1
  }

  target {
    arn      = aws_lambda_alias.live.arn
    role_arn = aws_iam_role.scheduler.arn
    input    = each.value.input

    retry_policy {
      maximum_event_age_in_seconds = 900
      maximum_retry_attempts       = 2
    }
  }

  depends_on = [aws_iam_role_policy.scheduler]
}
