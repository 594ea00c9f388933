"""Out of HAProxy and back."""
