# 5,000 requests a second: eight vCPUs carry 8,000 transactions of 1 ms. Storage has to be 400 GiB or more, whatever the data
# need: below that gp3 carries 3,000.
module "sizing" {
  source = "../../"

  instance_class       = "db.r6g.2xlarge"
  reserved_concurrency = 300
  storage              = { gib = 400 }
  rate_per_second      = 5000
}
