"""The wire format that other programs rely on: messages as pydantic models, and the schemas made from them."""
