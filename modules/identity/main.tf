data "aws_caller_identity" "this" {}

data "aws_region" "this" {}

# The pool knows machines only (OAuth2 client credentials). Its app clients are data, made by `python -m ops client`:
# Terraform would keep their secrets in state.
resource "aws_cognito_user_pool" "this" {
  name                = var.name
  deletion_protection = var.enable_deletion_protection ? "ACTIVE" : "INACTIVE"

  admin_create_user_config {
    allow_admin_create_user_only = true
  }

  account_recovery_setting {
    recovery_mechanism {
      name     = "admin_only"
      priority = 1
    }
  }

  password_policy {
    minimum_length                   = 20
    require_lowercase                = true
    require_numbers                  = true
    require_symbols                  = true
    require_uppercase                = true
    temporary_password_validity_days = 1
  }
}

resource "aws_cognito_user_pool_domain" "this" {
  # A domain is unique in its region over all accounts, hence the account's id.
  domain       = "${var.name}-${data.aws_caller_identity.this.account_id}"
  user_pool_id = aws_cognito_user_pool.this.id
}

resource "aws_cognito_resource_server" "this" {
  identifier   = "pmp"
  name         = "pmp"
  user_pool_id = aws_cognito_user_pool.this.id

  dynamic "scope" {
    for_each = local.scopes

    content {
      scope_name        = scope.key
      scope_description = scope.value
    }
  }
}

locals {
  # The same sentences as in the OpenAPI document, so that an administrator who grants a scope sees what it allows.
  scopes = {
    check = "Check consents"
    read  = "Read users, events, consents, imports and vendors; check consents"
    write = "Create and change users, record events, create tokens for users, create and cancel imports"
    admin = "Change the consent catalogue and import mappings; create, read and delete exports; merge and erase users, create tokens for erasures, and find their proof; manage subscriptions and see who was told"
  }
}
