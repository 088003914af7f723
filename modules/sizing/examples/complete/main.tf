# What a db.t4g.medium carries when the function may run 50 times at once.
module "sizing" {
  source = "../../"

  instance_class       = "db.t4g.medium"
  reserved_concurrency = 50
}
