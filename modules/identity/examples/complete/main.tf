# A user pool that may be deleted, as a test environment has it.
module "identity" {
  source = "../../"

  name                       = "pmp-dev"
  enable_deletion_protection = false
}

output "token_url" {
  description = "Where clients get their tokens."
  value       = module.identity.token_url
}
