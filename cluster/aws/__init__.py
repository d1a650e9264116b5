"""Infrastructure of the service on AWS, as code."""
