# Mutual TLS, browsers of one origin, a narrower limit on exports, and a zone in another account.
provider "aws" {
  alias = "dns"

  assume_role {
    role_arn = "arn:aws:iam::210987654321:role/pmp-dns"
  }
}

module "api" {
  source = "../../"
  providers = {
    aws     = aws
    aws.dns = aws.dns
  }

  name        = "pmp-dev"
  domain_name = "api.dev.pmp.example.com"
  hosted_zone = {
    id   = "Z0123456789ABCDEFGHIJ"
    name = "pmp.example.com"
  }

  openapi  = file("${path.module}/../../../../lambda/pmp/openapi.json")
  function = { name = "pmp-dev", alias = "live", arn = "arn:aws:lambda:eu-west-1:123456789012:function:pmp-dev:live" }
  issuer   = "https://cognito-idp.eu-west-1.amazonaws.com/eu-west-1_AbCdEfGhI"
  audience = ["1h57kf5cpq17m0eml12EXAMPLE"]

  throttling = {
    rate_per_second = 400
    burst           = 20
    by_route        = { "POST /v1/exports" = { rate_per_second = 1, burst = 5 } }
  }
  cors       = { allow_origins = ["https://preferences.example.com"] }
  truststore = { uri = "s3://pmp-truststore/clients.pem", version = "3Lg6G8V3IEXAMPLE" }

  kms_key_arn = "arn:aws:kms:eu-west-1:123456789012:key/11111111-2222-3333-4444-555555555555"
}
