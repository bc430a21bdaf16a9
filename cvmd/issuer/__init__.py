"""What cvmd asks of AWS IoT, and the keys and CSRs that go there. boto3 is imported here only."""
