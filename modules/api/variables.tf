variable "name" {
  description = "Name of the API, such as `pmp-dev`."
  type        = string
}

variable "domain_name" {
  description = "Custom domain that the API answers on; it must lie in the hosted zone."
  type        = string

  validation {
    condition     = endswith(var.domain_name, ".${var.hosted_zone.name}")
    error_message = "The API's domain ${var.domain_name} does not lie in the hosted zone ${var.hosted_zone.name}: change service.api.subdomain or the account layer's hosted_zone_name."
  }
}

variable "hosted_zone" {
  description = "Route 53 zone of the domain, reached through the provider `aws.dns`."
  type = object({
    id   = string
    name = string
  })
}

variable "openapi" {
  description = "OpenAPI document (JSON). Its paths become routes, GET also as HEAD, and of the scopes in an operation's security requirements a token must carry one; `security: []` makes a route public, and so does the scheme `person` (users' own tokens), which the function verifies. `x-pmp-throttle: users` gives a public route the limit of those. Browsers may read the headers in `components.headers`, use its methods and send the header parameters in `components.parameters` (CORS)."
  type        = string

  validation {
    condition     = can(jsondecode(var.openapi).paths) && length(try(jsondecode(var.openapi).paths, {})) > 0
    error_message = "openapi must be an OpenAPI document in JSON that has paths."
  }
}

variable "function" {
  description = "Function that answers every route: its name, and the name and ARN of the alias by which the API invokes it. The API gets the permission to invoke the alias."
  type = object({
    name  = string
    alias = string
    arn   = string
  })

  validation {
    condition     = endswith(var.function.arn, ":${var.function.alias}")
    error_message = "function.arn must be the ARN of the alias, which ends with :${var.function.alias}; a release would otherwise get all requests at once."
  }
}

variable "issuer" {
  description = "Issuer whose tokens are trusted."
  type        = string

  validation {
    condition     = startswith(var.issuer, "https://")
    error_message = "issuer must be an https address."
  }
}

variable "audience" {
  description = "OAuth client ids whose tokens are accepted."
  type        = list(string)

  validation {
    condition     = length(var.audience) > 0
    error_message = "No API client exists, so no token could ever be accepted: make one with 'python -m ops client NAME' first."
  }

  # https://docs.aws.amazon.com/apigateway/latest/developerguide/http-api-quotas.html
  validation {
    condition     = length(var.audience) <= 50
    error_message = "There are ${length(var.audience)} API clients, and an authorizer of API Gateway takes 50 audiences, which AWS does not raise: delete clients that nobody uses, or use an issuer with one audience for all of them (ADR 0407)."
  }
}

variable "throttling" {
  description = "Requests per second that the stage lets through, and the burst above it; `by_route` narrows single routes, such as `POST /v1/exports`, `public` each route that needs no token, `users` each route that takes users' own tokens (by default a tenth of the rate and half of the burst), and `unmatched` the requests that match no route (answered by 404 or 405, and needing no token)."
  type = object({
    rate_per_second = number
    burst           = number
    by_route        = optional(map(object({ rate_per_second = number, burst = number })), {})
    users           = optional(object({ rate_per_second = number, burst = number }))
    public          = optional(object({ rate_per_second = number, burst = number }), { rate_per_second = 20, burst = 40 })
    unmatched       = optional(object({ rate_per_second = number, burst = number }), { rate_per_second = 10, burst = 20 })
  })

  validation {
    condition = alltrue([
      for limit in concat([var.throttling, var.throttling.public, coalesce(var.throttling.users, var.throttling.public), var.throttling.unmatched], values(var.throttling.by_route)) : limit.rate_per_second >= 1 && limit.burst >= 1
    ])
    error_message = "throttling: every rate_per_second and burst must be at least 1, else nothing is let through."
  }

  validation {
    condition     = length(setsubtract(keys(var.throttling.by_route), keys(local.operations))) == 0
    error_message = "throttling.by_route names routes that the OpenAPI document does not have: ${join(", ", setsubtract(keys(var.throttling.by_route), keys(local.operations)))}."
  }
}

variable "cors" {
  description = "Origins whose browsers may call the API, such as `https://preferences.example.com`, and the seconds that a browser keeps the answer to a preflight request; null for none."
  type = object({
    allow_origins = list(string)
    max_age       = optional(number, 600)
  })
  default = null

  validation {
    condition     = try(var.cors.max_age, 0) >= 0 && try(var.cors.max_age, 0) <= 86400
    error_message = "cors.max_age must be from 0 to 86400 seconds."
  }

  validation {
    condition     = alltrue([for origin in try(var.cors.allow_origins, []) : can(regex("^https://[^/*]+$", origin))])
    error_message = "cors.allow_origins must be https origins without a path or wildcard: tokens travel with these requests."
  }
}

variable "truststore" {
  description = "Certificate authorities that clients must prove a certificate of (mutual TLS): `uri` (s3://bucket/key.pem) and object `version`; null for none."
  type = object({
    uri     = string
    version = optional(string)
  })
  default = null

  validation {
    condition     = var.truststore == null || can(regex("^s3://[^/]+/.+$", var.truststore.uri))
    error_message = "truststore.uri must be s3://<bucket>/<key>."
  }
}

variable "log_retention_days" {
  description = "Days that access logs are kept."
  type        = number
  default     = 365

  validation {
    condition     = contains([1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, 545, 731, 1096, 1827, 2192, 2557, 2922, 3288, 3653], var.log_retention_days)
    error_message = "log_retention_days must be a retention that CloudWatch Logs knows: 1, 3, 5, 7, 14, 30, 60, 90, 120, 150, 180, 365, 400, …"
  }
}

variable "kms_key_arn" {
  description = "Key of the access logs."
  type        = string
}
