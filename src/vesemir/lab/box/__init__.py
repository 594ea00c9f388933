"""What runs on a lab's box: the application, the service manager, and the stand-in for systemctl.

Each is a program of its own, standard library only, copied into the lab and started with ``python3 -I -S``.
"""
