variable "name" {
  description = "Name of the user pool and first part of its domain, such as `pmp-dev`."
  type        = string

  validation {
    condition     = can(regex("^[a-z][a-z0-9-]{1,40}[a-z0-9]$", var.name)) && !can(regex("aws|amazon|cognito", var.name))
    error_message = "name is part of a Cognito domain: 3 to 42 lower-case letters, digits and hyphens, without 'aws', 'amazon' or 'cognito'."
  }
}

variable "enable_deletion_protection" {
  description = "Whether the pool refuses to be deleted. A deleted pool takes every API client with it."
  type        = bool
  default     = true
}

variable "issuer" {
  description = "Issuer of tokens where it is not the pool's own address (an emulated platform); null for the pool's own."
  type        = string
  default     = null

  validation {
    condition     = var.issuer == null || startswith(coalesce(var.issuer, "-"), "https://")
    error_message = "issuer must be an https address."
  }
}

variable "token_url" {
  description = "OAuth2 token endpoint where it is not the pool's own domain (an emulated platform); null for the pool's own."
  type        = string
  default     = null

  validation {
    condition     = var.token_url == null || startswith(coalesce(var.token_url, "-"), "https://")
    error_message = "token_url must be an https address."
  }
}
