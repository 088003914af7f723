resource "aws_acm_certificate" "this" {
  domain_name       = var.domain_name
  validation_method = "DNS"

  lifecycle {
    create_before_destroy = true
  }
}

locals {
  # One domain, one record.
  validation = one(aws_acm_certificate.this.domain_validation_options)
}

resource "aws_route53_record" "validation" {
  provider = aws.dns

  zone_id         = var.hosted_zone.id
  name            = local.validation.resource_record_name
  type            = local.validation.resource_record_type
  records         = [local.validation.resource_record_value]
  ttl             = 60
  allow_overwrite = true
}

resource "aws_acm_certificate_validation" "this" {
  certificate_arn         = aws_acm_certificate.this.arn
  validation_record_fqdns = [aws_route53_record.validation.fqdn]

  # The default of 75 minutes outlives the job, which would be killed and leave the state locked.
  timeouts {
    create = "30m"
  }
}

resource "aws_route53_record" "api" {
  for_each = toset(["A", "AAAA"])
  provider = aws.dns

  zone_id = var.hosted_zone.id
  name    = var.domain_name
  type    = each.key

  alias {
    name                   = module.api.domain_name_target_domain_name
    zone_id                = module.api.domain_name_hosted_zone_id
    evaluate_target_health = false
  }
}
