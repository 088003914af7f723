locals {
  bucket_arns = [for name in var.bucket_names : "arn:aws:s3:::${name}"]

  # Credentials of another account do not work through an endpoint, so data cannot be carried out with them.
  own_principals = { StringEquals = { "aws:PrincipalAccount" = local.account_id } }
  # Systems Manager's own documents are AWS's, so its endpoints cannot ask for resources of this account.
  own_principals_and_resources = { StringEquals = {
    "aws:PrincipalAccount" = local.account_id
    "aws:ResourceAccount"  = local.account_id
  } }
  condition_by_service = {
    secretsmanager = local.own_principals_and_resources
    sqs            = local.own_principals_and_resources
    ssm            = local.own_principals
    ssmmessages    = local.own_principals
  }

  interface_endpoints = { for service in var.interface_endpoints : service => {
    service             = service
    service_type        = "Interface"
    subnet_ids          = module.vpc.private_subnets
    private_dns_enabled = true
    policy = jsonencode({
      Version = "2012-10-17"
      Statement = [{
        Effect    = "Allow"
        Principal = "*"
        Action    = "${service}:*"
        Resource  = "*"
        Condition = local.condition_by_service[service]
      }]
    })
    tags = { Name = "${var.name}-${service}" }
  } }

  gateway_endpoints = { s3 = {
    service         = "s3"
    service_type    = "Gateway"
    route_table_ids = module.vpc.private_route_table_ids
    policy = jsonencode({
      Version = "2012-10-17"
      Statement = [
        {
          Sid       = "OwnBuckets"
          Effect    = "Allow"
          Principal = "*"
          Action    = "s3:*"
          Resource  = concat(local.bucket_arns, [for arn in local.bucket_arns : "${arn}/*"])
          Condition = local.own_principals
        },
        {
          # Where a runner's image gets its Systems Manager agent from; AWS's bucket, read without credentials.
          Sid       = "SystemsManagerAgent"
          Effect    = "Allow"
          Principal = "*"
          Action    = "s3:GetObject"
          Resource  = "arn:aws:s3:::amazon-ssm-${data.aws_region.this.name}/*"
        },
      ]
    })
    tags = { Name = "${var.name}-s3" }
  } }
}

module "endpoints" {
  #checkov:skip=CKV_TF_1:a registry module, pinned by its exact version
  source  = "terraform-aws-modules/vpc/aws//modules/vpc-endpoints"
  version = "5.21.0"

  vpc_id             = module.vpc.vpc_id
  security_group_ids = [aws_security_group.this["endpoints"].id]
  endpoints          = merge(local.gateway_endpoints, local.interface_endpoints)
}
