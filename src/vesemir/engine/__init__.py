"""The use cases, on ports: intake, claim and lease, deployment run, batch, target session, outbox."""
