output "user_pool_id" {
  description = "Id of the Cognito user pool."
  value       = aws_cognito_user_pool.this.id
}

output "issuer" {
  description = "Issuer (`iss`) of the tokens: what the API's JWT authorizer trusts."
  value       = coalesce(var.issuer, "https://cognito-idp.${data.aws_region.this.name}.amazonaws.com/${aws_cognito_user_pool.this.id}")
}

output "token_url" {
  description = "OAuth2 token endpoint for the client credentials grant."
  value       = coalesce(var.token_url, "https://${aws_cognito_user_pool_domain.this.domain}.auth.${data.aws_region.this.name}.amazoncognito.com/oauth2/token")

  # A token can only be had once the scopes exist.
  depends_on = [aws_cognito_resource_server.this]
}
