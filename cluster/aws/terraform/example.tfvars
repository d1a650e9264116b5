# One file is what an installation needs: terraform apply -var-file=example.tfvars, or python -m cluster aws up --var-file …
name            = "sentiment"
namespace       = "sentiment"
region          = "us-east-1"
api_cidrs       = ["203.0.113.0/24"]
admin_role_arns = ["arn:aws:iam::123456789012:role/platform"]
alert_emails    = ["platform@example.com"]
approval        = true
tags            = { team = "platform" }

# Budget of the account: alert_emails are notified at 80 %, at 100 %, and by the forecast. `aws plan` estimates the cost.
monthly_budget_usd = 4000

# Once the service answers: the host of its ingress, and the secret with the probe's API key.
# probe_url                = "https://sentiment.example.com"
# probe_api_key_secret_arn = "arn:aws:secretsmanager:us-east-1:123456789012:secret:sentiment-probe-key-AbCdEf"

# Other places for the same image.
# ecs       = { enabled = true }
# sagemaker = { enabled = true, endpoint = true }
