variable "password_by_role" {
  description = "Passwords of `pmp_app` and `pmp_migrator`; stored nowhere but in their secrets."
  type = object({
    pmp_app      = string
    pmp_migrator = string
  })
  ephemeral = true
  sensitive = true
}
