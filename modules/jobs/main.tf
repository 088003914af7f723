# What the function works on besides requests: the uploads and results of jobs, and the queues that jobs wait in. It belongs
# to the foundation, because it holds people's data and outlives a release.
data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

locals {
  bucket           = "${var.name}-imports-${data.aws_caller_identity.this.account_id}-${data.aws_region.this.name}"
  queue_arn_prefix = "arn:aws:sqs:${data.aws_region.this.name}:${data.aws_caller_identity.this.account_id}:${var.name}"
}
